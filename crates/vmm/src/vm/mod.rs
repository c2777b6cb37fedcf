//! A virtual machine, as the rest of the process sees it.
//!
//! ```text
//! created ──start──> running <──resume── paused
//!    │                 │  ╰────pause──────^ │
//!    ╰─────stop────────┼────────stop────────╯
//!                      v
//!              stopped │ failed ──close──> closed      (close works from every state)
//! ```
//!
//! One thread, `vm-control`, owns the state: every operation is a message to it, and every change an event.

mod close;
mod control;
mod create;
mod goal;
mod lookout;
mod lost_page;
mod memory;
mod message;
mod restart;
mod state;
mod thread;
mod vcpus;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Duration;

use seawall_kvm::{Errno, GuestMemory, MemoryErrorWatch};

use crate::devices::Bus;
use crate::error::VmError;
use crate::event::{Event, EventKind, MemoryFailure, Outbox, Wake};
use crate::options::VmOptions;
use crate::sea::{Decision, Ledger};
use crate::statistics::{Statistics, VmStats};
use crate::vcpu::{Answer, AnswerOutcome, Ask, RunContext};
use state::StateCell;

pub(crate) use message::Message;
pub use message::Reply;
use message::answered;
pub use state::{ClosedVm, ExitReason, VmExit, VmState};
pub use thread::VmThread;

/// A virtual machine. Every operation is asynchronous: its answer goes to a [`Reply`], on another thread.
#[derive(Debug)]
pub struct Vm {
    control: mpsc::Sender<Message>,
    shared: Arc<Shared>,
    vcpus: u32,
}

/// What the handle reads without asking the control thread.
#[derive(Debug)]
struct Shared {
    state: StateCell,
    outbox: Arc<Outbox>,
    ledger: Arc<Mutex<Ledger>>,
    statistics: Arc<Statistics>,
    /// Present until the VM is closed.
    resources: RwLock<Option<Resources>>,
}

#[derive(Debug)]
struct Resources {
    /// Before the memory, so that it goes first.
    _watch: Option<MemoryErrorWatch>,
    memory: Arc<GuestMemory>,
    context: Arc<RunContext>,
}

impl Shared {
    /// Of a virtual machine that was just created.
    fn new(watch: Option<MemoryErrorWatch>, memory: Arc<GuestMemory>, context: Arc<RunContext>) -> Self {
        Self {
            state: StateCell::new(),
            outbox: Arc::clone(&context.outbox),
            ledger: Arc::clone(&context.ledger),
            statistics: Arc::clone(&context.statistics),
            resources: RwLock::new(Some(Resources {
                _watch: watch,
                memory,
                context,
            })),
        }
    }
}

impl Vm {
    /// Creates a virtual machine, with its memory filled and its vCPUs parked before the first instruction.
    ///
    /// `wake` is called when there are events or console output to [take](Self::take_events), from any thread; it must not
    /// block. `ask`, where there is one, is called with each memory error that is to be decided; [`answer`](Self::answer) takes
    /// the answer. The handle goes to `reply`, on the VM's control thread, which is returned where it could be started.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use seawall_vmm::{
    ///     BackendOptions, Boot, Image, MemoryFailurePolicy, NotifyGuest, OnReset, RecoverablePolicy, Script, Step,
    ///     SystemEventKind, UnclaimedAccessPolicy, UncontainablePolicy, Vm, VmOptions,
    /// };
    ///
    /// let script = Script::new(vec![vec![Step::SystemEvent(SystemEventKind::Shutdown)]]).expect("playable");
    /// let options = VmOptions {
    ///     id: "example".to_owned(),
    ///     name: None,
    ///     memory: 2 << 20,
    ///     vcpus: 1,
    ///     huge_page: None,
    ///     backend: BackendOptions::Simulated(script),
    ///     boot: Boot::Flat { image: Image::Bytes(vec![0; 4]), load_address: None, entry: None },
    ///     on_reset: OnReset::Exit,
    ///     arm_sea_to_user: true,
    ///     arm_nisv_to_user: true,
    ///     memory_failure: MemoryFailurePolicy {
    ///         recoverable: RecoverablePolicy::Inject,
    ///         uncontainable: UncontainablePolicy::Stop,
    ///         quarantine: true,
    ///         threshold: None,
    ///         same_fault_limit: 3,
    ///         notify_guest: NotifyGuest::Ghes,
    ///         defer: std::time::Duration::from_millis(200),
    ///     },
    ///     unclaimed_access: UnclaimedAccessPolicy::Abort,
    ///     decision_timeout: std::time::Duration::from_millis(100),
    ///     redact: false,
    /// };
    /// let (reply, created) = mpsc::channel();
    /// Vm::create(options, Box::new(|| {}), None, Box::new(move |vm| reply.send(vm).expect("somebody waits")));
    /// let vm = created.recv().expect("an answer").expect("a virtual machine");
    /// let (reply, exited) = mpsc::channel();
    /// vm.start(Box::new(|started| started.expect("it was created")));
    /// vm.wait(Box::new(move |exit| reply.send(exit).expect("somebody waits")));
    /// println!("{:?}", exited.recv().expect("an answer"));
    /// ```
    pub fn create(
        options: VmOptions,
        wake: Wake,
        ask: Option<Ask>,
        reply: Box<dyn FnOnce(Result<Self, VmError>) + Send>,
    ) -> Option<VmThread> {
        // Shared, because the reply must still be there when no thread can be started.
        let reply = Arc::new(std::sync::Mutex::new(Some(reply)));
        let answer = Arc::clone(&reply);
        let answer = move |result| {
            if let Some(reply) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                reply(result);
            }
        };
        let from_thread = answer.clone();
        match VmThread::spawn(move || create::create_and_serve(options, wake, ask, from_thread)) {
            Ok(thread) => Some(thread),
            Err(error) => {
                let errno = Errno::of(&error);
                answer(Err(VmError::Thread {
                    thread: "vm-control".to_owned(),
                    errno,
                }));
                None
            }
        }
    }

    fn send(&self, message: Message) {
        // The control thread is gone once the VM is closed; a message that is dropped says so.
        drop(self.control.send(message));
    }

    /// Lets the vCPUs run. Only from [`VmState::Created`].
    pub fn start(&self, reply: Reply<()>) {
        self.send(Message::Start(answered("start()", reply)));
    }

    /// Takes every vCPU out of the guest. Only from [`VmState::Running`].
    pub fn pause(&self, reply: Reply<()>) {
        self.send(Message::Pause(answered("pause()", reply)));
    }

    /// Lets the vCPUs go on. Failures that wait are settled first: as `decisions` say, by the number of their event, and
    /// injected where they say nothing. Only from [`VmState::Paused`].
    pub fn resume(&self, decisions: BTreeMap<u64, Decision>, reply: Reply<()>) {
        self.send(Message::Resume(decisions, answered("resume()", reply)));
    }

    /// Answers a question. An answer that comes late is told by an event and changes nothing.
    pub fn answer(&self, failure: u64, answer: Answer) -> AnswerOutcome {
        let resources = self
            .shared
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let questions = resources
            .as_ref()
            .and_then(|held| held.context.questions.as_ref());
        let outcome = questions.map_or(AnswerOutcome::Unknown, |questions| {
            questions.answer(failure, answer)
        });
        if let AnswerOutcome::Late(after) = outcome {
            self.shared.statistics.count_late();
            self.shared
                .outbox
                .push(EventKind::DecisionLate { failure, after });
        }
        outcome
    }

    /// The failures whose abort waits, with the number of their event.
    #[must_use]
    pub fn pending_failures(&self) -> Vec<(u64, MemoryFailure)> {
        let resources = self
            .shared
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let pending = resources.as_ref().map(|held| held.context.pending().clone());
        pending.unwrap_or_default().into_iter().collect()
    }

    /// Ends the virtual machine and says how it ended; at once where it has ended already.
    pub fn stop(&self, reply: Reply<VmExit>) {
        self.send(Message::Stop(answered("stop()", reply)));
    }

    /// Answers when the virtual machine has ended, with how.
    pub fn wait(&self, reply: Reply<VmExit>) {
        self.send(Message::Wait(answered("wait()", reply)));
    }

    /// Ends the virtual machine and gives everything back. Answers also where it was closed before.
    pub fn close(&self, reply: Reply<ClosedVm>) {
        let shared = Arc::clone(&self.shared);
        let reply: Reply<ClosedVm> = Box::new(move |result| {
            reply(match result {
                Err(VmError::Closed { .. }) if shared.state.get() == VmState::Closed => {
                    Ok(shared.state.closed())
                }
                result => result,
            });
        });
        self.send(Message::Close(answered("close()", reply)));
    }

    /// Closes the virtual machine and waits for it, at most `limit`. Says whether it closed in time.
    pub fn close_blocking(&self, limit: Duration) -> bool {
        let (sender, receiver) = mpsc::channel();
        // Whoever waited may have given up.
        self.close(Box::new(move |_| sender.send(()).unwrap_or(())));
        receiver.recv_timeout(limit).is_ok()
    }

    /// The state, as of now.
    #[must_use]
    pub fn state(&self) -> VmState {
        self.shared.state.get()
    }

    /// How many vCPUs there are.
    #[must_use]
    pub const fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// Takes the events that nobody has taken yet.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        self.shared.outbox.take_events()
    }

    /// Takes the oldest `max` events, and says which were lost before them: for a reader that has more to do. It must look
    /// again by itself, as only what is new calls `wake`.
    #[must_use]
    pub fn take_events_up_to(&self, max: usize) -> Vec<Event> {
        self.shared.outbox.take_events_up_to(max)
    }

    /// Takes console output, up to `max` bytes. Where there is none, `wake` is called when there is some.
    ///
    /// Until the first call nobody reads the console: the last 1 MiB is kept. From then on a guest that waits for its
    /// transmitter loses nothing, and waits while 1 MiB is not taken; of one that does not wait up to 2 MiB are kept.
    #[must_use]
    pub fn take_console(&self, max: usize) -> Vec<u8> {
        self.with_bus(|bus| bus.take_console(max))
            .unwrap_or_else(|| self.shared.outbox.take_console(max))
    }

    /// Says that nobody reads the console any more: it is as if nobody ever had.
    pub fn release_console(&self) {
        self.with_bus(Bus::release_console)
            .unwrap_or_else(|| self.shared.outbox.release_console());
    }

    /// Does something with the devices, unless the VM is closed.
    fn with_bus<T>(&self, operation: impl FnOnce(&Bus) -> T) -> Option<T> {
        let resources = self
            .shared
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        resources.as_ref().map(|held| operation(&held.context.bus))
    }

    /// What was counted so far; once the VM is closed, all of it.
    #[must_use]
    pub fn stats(&self) -> VmStats {
        let ledger = self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = ledger.totals().failures;
        drop(ledger);
        let events = self.shared.outbox.totals();
        VmStats {
            exits: self.shared.statistics.exits(),
            failures,
            delivered: events.delivered,
            lost: events.lost,
            console_bytes_lost: events.console_bytes_lost,
            decisions: self.shared.statistics.decisions(),
        }
    }

    /// Hands input to the guest's console; returns how many bytes its UART took. Where that is not all, `wake` is called when
    /// the guest has taken everything, and there is room again.
    ///
    /// # Errors
    /// [`VmError::Closed`].
    pub fn console_input(&self, input: &[u8]) -> Result<usize, VmError> {
        self.with_bus(|bus| bus.console_input(input))
            .ok_or(VmError::Closed {
                operation: "console.write()",
            })
    }

    /// For how many bytes of console input the guest's UART has room: where there was too little, for none until the guest has
    /// taken everything. None, once the VM is closed.
    #[must_use]
    pub fn console_input_room(&self) -> usize {
        self.with_bus(Bus::console_input_room).unwrap_or(0)
    }
}

impl Drop for Vm {
    /// A virtual machine whose handle is gone can be reached by nobody: it is closed, in its own time.
    fn drop(&mut self) {
        self.close(Box::new(|_| {}));
    }
}
