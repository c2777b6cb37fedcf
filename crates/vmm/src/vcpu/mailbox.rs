//! How other threads speak to a vCPU's thread.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use seawall_kvm::RegId;

use crate::boot::BootRegisters;
use crate::error::VmError;
use crate::event::Injection;
use crate::sea::AbortRequest;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::vcpu::question::Answer;
use crate::vcpu::run_loop::Decisions;
use crate::vm::Reply;

/// Something to do on a parked vCPU.
pub(crate) enum VcpuCommand {
    /// Read a register.
    GetRegister(RegId, Reply<u64>),
    /// Write a register.
    SetRegister(RegId, u64, Reply<()>),
    /// Reset the processor; the registers are those that it starts with, if it is the first.
    Reset(Option<BootRegisters>, Reply<()>),
    /// Inject an abort by hand.
    InjectAbort(AbortRequest, Reply<Injection>),
    /// Inject an SError by hand.
    InjectSError(Option<u32>, Reply<Injection>),
}

/// What a vCPU's thread is to do next.
#[derive(Default)]
struct Requests {
    run: Option<Arc<Decisions>>,
    /// A run has begun, and its end was not told yet.
    running: bool,
    park: bool,
    quit: bool,
    commands: VecDeque<VcpuCommand>,
    /// The virtual machine ends, or its guest starts anew: nobody waits for anything any more.
    ending: bool,
    /// The question that the vCPU waits for an answer to.
    asking: Option<u64>,
    answer: Option<Answer>,
}

/// What ends a wait for an answer, or interrupts it.
pub(super) enum AskWakeup {
    /// The answer is kept for [`Mailbox::end_ask`], so that no other one is taken in its place.
    Answered,
    Command(VcpuCommand),
    Timeout,
    Ending,
}

/// Whether a vCPU is in the guest, or waits for an answer outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    InGuest,
    Asking,
}

/// What a parked vCPU is to do.
pub(crate) enum Wakeup {
    Command(VcpuCommand),
    Run(Arc<Decisions>),
    Quit,
}

/// The requests to one vCPU's thread.
#[derive(Default)]
pub(crate) struct Mailbox {
    requests: Mutex<Requests>,
    changed: Condvar,
    defers: AtomicBool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a parked vCPU run. Whoever calls it has seen it park.
    pub(crate) fn request_run(&self, decisions: Arc<Decisions>) {
        let mut requests = self.lock();
        requests.run = Some(decisions);
        requests.park = false;
        requests.ending = false;
        self.changed.notify_all();
    }

    /// Makes a running vCPU park; the caller kicks it afterwards, unless it asks: then it is out of the guest and stays
    /// there. A parked one stays parked.
    pub(crate) fn request_park(&self) -> Whereabouts {
        let mut requests = self.lock();
        requests.park = true;
        match requests.asking {
            Some(_) => Whereabouts::Asking,
            None => Whereabouts::InGuest,
        }
    }

    /// Ends the run, before it is told why.
    pub(crate) fn end_run(&self) {
        self.lock().running = false;
    }

    /// Whether the vCPU has not come to the end of the last run that it was asked for. Somebody will hear of that end.
    pub(crate) fn is_running(&self) -> bool {
        let requests = self.lock();
        requests.running || requests.run.is_some()
    }

    /// Ends every wait for an answer until the next run: the virtual machine ends, or its guest starts anew.
    pub(crate) fn request_end(&self) {
        self.lock().ending = true;
        self.changed.notify_all();
    }

    /// Whether the vCPU waits for an answer.
    pub(crate) fn is_asking(&self) -> bool {
        self.lock().asking.is_some()
    }

    /// Begins a wait for an answer. `true`: the vCPU was to park, so that somebody waits to hear that it is out of the guest.
    pub(super) fn begin_ask(&self, seq: u64) -> bool {
        let mut requests = self.lock();
        requests.asking = Some(seq);
        requests.answer = None;
        requests.park
    }

    /// Takes an answer, if it is to the question that the vCPU waits for, and the first.
    pub(crate) fn answer(&self, seq: u64, answer: Answer) -> bool {
        let mut requests = self.lock();
        let waits = requests.asking == Some(seq) && requests.answer.is_none();
        if waits {
            requests.answer = Some(answer);
            // Whoever is woken finds the lock free.
            drop(requests);
            self.changed.notify_all();
        }
        waits
    }

    /// Waits for the answer until the deadline.
    pub(super) fn wait_answer(&self, deadline: Instant) -> AskWakeup {
        let mut requests = self.lock();
        loop {
            if requests.answer.is_some() {
                return AskWakeup::Answered;
            }
            if requests.ending || requests.quit {
                return AskWakeup::Ending;
            }
            if let Some(command) = requests.commands.pop_front() {
                return AskWakeup::Command(command);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return AskWakeup::Timeout;
            }
            let woken = self.changed.wait_timeout(requests, left);
            requests = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the wait: from here on no answer is taken. The answer comes back, also one that was taken after the wait was over,
    /// and `true` where the vCPU has to park. A run that was asked for meanwhile is the one that goes on.
    pub(super) fn end_ask(&self) -> (Option<Answer>, bool) {
        let mut requests = self.lock();
        requests.asking = None;
        requests.run = None;
        (requests.answer.take(), requests.park)
    }

    /// Ends the thread as soon as the vCPU is parked; the caller kicks it afterwards.
    pub(crate) fn request_quit(&self) {
        let mut requests = self.lock();
        requests.park = true;
        requests.quit = true;
        self.changed.notify_all();
    }

    /// Hands over something to do while parked.
    pub(crate) fn send(&self, command: VcpuCommand) {
        self.lock().commands.push_back(command);
        self.changed.notify_all();
    }

    /// Whether the running vCPU is to park. Asked after every interruption, not after every exit: a kick follows each
    /// request, and the exit after a kick is an interruption.
    pub(super) fn park_requested(&self) -> bool {
        self.lock().park
    }

    /// Says whether an access of the vCPU runs again without its abort. It goes on in silence, so that the vCPU is kicked now
    /// and then to look whether it has.
    pub(super) fn set_defers(&self, defers: bool) {
        self.defers.store(defers, Ordering::Relaxed);
    }

    /// Says that one does. `false`: that was so already, and whoever kicks knows it or has been called.
    pub(super) fn begin_deferral(&self) -> bool {
        !self.defers.swap(true, Ordering::Relaxed)
    }

    /// Whether an access of the vCPU runs again without its abort.
    pub(crate) fn defers(&self) -> bool {
        self.defers.load(Ordering::Relaxed)
    }

    /// Waits for something to do.
    pub(super) fn wait(&self) -> Wakeup {
        let mut requests = self.lock();
        loop {
            // Commands first: what was asked before a quit or a run is answered before it.
            if let Some(command) = requests.commands.pop_front() {
                return Wakeup::Command(command);
            }
            if requests.quit {
                return Wakeup::Quit;
            }
            if let Some(decisions) = requests.run.take() {
                requests.running = true;
                return Wakeup::Run(decisions);
            }
            requests = self
                .changed
                .wait(requests)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl VcpuCommand {
    /// Answers the command with an error.
    pub(crate) fn refuse(self, error: VmError) {
        match self {
            Self::GetRegister(_, reply) => reply(Err(error)),
            Self::SetRegister(_, _, reply) | Self::Reset(_, reply) => reply(Err(error)),
            Self::InjectAbort(_, reply) => reply(Err(error)),
            Self::InjectSError(_, reply) => reply(Err(error)),
        }
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::sea::Decision;

    fn command(order: &mpsc::Sender<u32>, number: u32) -> VcpuCommand {
        let order = order.clone();
        VcpuCommand::SetRegister(RegId::PC, 0, Box::new(move |_| order.send(number).unwrap_or(())))
    }

    fn next(mailbox: &Mailbox) -> &'static str {
        match mailbox.wait() {
            Wakeup::Command(VcpuCommand::SetRegister(_, _, reply)) => {
                reply(Ok(()));
                "command"
            }
            Wakeup::Command(_) => "another command",
            Wakeup::Run(_) => "run",
            Wakeup::Quit => "quit",
        }
    }

    #[test]
    fn commands_come_before_a_run_and_in_order() {
        let mailbox = Mailbox::default();
        let (order, done) = mpsc::channel();
        mailbox.send(command(&order, 1));
        mailbox.request_run(Arc::default());
        mailbox.send(command(&order, 2));
        assert_eq!(
            [next(&mailbox), next(&mailbox), next(&mailbox)],
            ["command", "command", "run"]
        );
        assert_eq!(done.try_iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn commands_are_answered_before_a_quit_and_a_quit_beats_a_run() {
        let mailbox = Mailbox::default();
        let (order, done) = mpsc::channel();
        mailbox.request_run(Arc::default());
        mailbox.request_quit();
        mailbox.send(command(&order, 1));
        assert_eq!(
            [next(&mailbox), next(&mailbox), next(&mailbox)],
            ["command", "quit", "quit"]
        );
        assert_eq!(done.try_iter().count(), 1);
    }

    #[test]
    fn one_request_is_one_run() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.request_run(Arc::default());
        mailbox.request_run(Arc::default());
        assert_eq!(next(&mailbox), "run");
        let waiting = Arc::clone(&mailbox);
        let waiter = std::thread::spawn(move || next(&waiting));
        assert!(!waiter.is_finished(), "nothing is left to do");
        mailbox.request_quit();
        assert_eq!(waiter.join().expect("no panic"), "quit");
    }

    #[test]
    fn a_run_forgets_the_park_before_it_and_a_park_after_it_stays() {
        let mailbox = Mailbox::default();
        mailbox.request_park();
        assert!(mailbox.park_requested());
        mailbox.request_run(Arc::default());
        assert!(!mailbox.park_requested());
        mailbox.request_park();
        assert!(mailbox.park_requested());
        assert_eq!(next(&mailbox), "run", "it runs, finds the request, and parks");
    }

    #[test]
    fn an_answer_that_is_taken_in_the_moment_of_the_deadline_is_not_lost() {
        let answer = || Answer::Decision(Decision::Stop);
        let mailbox = Mailbox::default();
        mailbox.begin_ask(1);
        assert!(matches!(mailbox.wait_answer(Instant::now()), AskWakeup::Timeout));
        assert!(mailbox.answer(1, answer()));
        assert_eq!(mailbox.end_ask(), (Some(answer()), false));
        assert!(!mailbox.answer(1, answer()), "nobody asks any more");
    }

    #[test]
    fn a_second_answer_is_refused_also_once_the_first_was_seen() {
        let mailbox = Mailbox::default();
        mailbox.begin_ask(1);
        assert!(mailbox.answer(1, Answer::Decision(Decision::Pause)));
        assert!(!mailbox.answer(1, Answer::Decision(Decision::Stop)));
        drop(mailbox.wait_answer(Instant::now()));
        assert!(
            !mailbox.answer(1, Answer::Decision(Decision::Stop)),
            "it is taken"
        );
    }

    #[test]
    fn a_run_lasts_from_the_request_to_its_end() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.is_running());
        mailbox.request_run(Arc::default());
        assert!(mailbox.is_running(), "it is about to begin");
        assert_eq!(next(&mailbox), "run");
        assert!(mailbox.is_running());
        mailbox.request_run(Arc::default());
        mailbox.end_run();
        assert!(mailbox.is_running(), "the next one was asked for");
        assert_eq!(next(&mailbox), "run");
        mailbox.end_run();
        assert!(!mailbox.is_running());
    }

    #[test]
    fn a_quit_makes_a_running_vcpu_park() {
        let mailbox = Mailbox::default();
        mailbox.request_run(Arc::default());
        assert_eq!(next(&mailbox), "run");
        mailbox.request_quit();
        assert!(mailbox.park_requested());
    }
}
