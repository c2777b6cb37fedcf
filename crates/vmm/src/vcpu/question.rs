//! Asking the owner of a virtual machine what to do with a memory error, while the vCPU waits.
//!
//! ```text
//! vCPU thread                        whoever decides
//!   ask ──────────────────────────────> …
//!   waits: an answer, the deadline, or the end of the VM; registers are served meanwhile
//!   <──────────── answer(seq): accepted │ late │ unknown
//! ```
//!
//! Every wait ends. Where no answer comes, or one that cannot be carried out, the policy's own verdict stays in force; an
//! answer that comes late is counted and never applied to another error.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seawall_arm64::AbortKind;

use crate::backend::VcpuBackend;
use crate::error::VmError;
use crate::event::{DecidedBy, EventKind, MemoryFailure};
use crate::sea::{Decision, VerdictReason};
use crate::vcpu::mailbox::{AskWakeup, Mailbox, VcpuCommand};
use crate::vcpu::run_loop::{ParkReason, RunContext};
use crate::vm::Message;

/// Hands a question over: the number that the failure's event will have, and the failure with what has been done so far.
/// Must not block. `false`: nobody can be asked.
pub type Ask = Box<dyn Fn(u64, &MemoryFailure) -> bool + Send + Sync>;

/// An answer: a decision, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Do this.
    Decision(Decision),
    /// Whoever was asked failed; the words are for people.
    Failed(FallbackReason, String),
}

/// Why the policy's own verdict stayed in force although somebody was to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackReason {
    /// No answer came in time.
    Timeout,
    /// Whoever was asked threw.
    Threw,
    /// Whoever was asked rejected.
    Rejected,
    /// The answer was none, or one that must not be carried out.
    Invalid,
    /// The question could not be handed over.
    QueueFull,
    /// The virtual machine ends.
    Closing,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerOutcome {
    /// The vCPU takes it.
    Accepted,
    /// The deadline had passed, this long after the question.
    Late(Duration),
    /// Nobody asked, or it was answered before.
    Unknown,
}

/// Who is asked, and what was asked.
pub(crate) struct Questions {
    ask: Ask,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the vCPU waits, by the number of the event.
    open: BTreeMap<u64, Arc<Mailbox>>,
    /// When what was not answered in time was asked.
    expired: BTreeMap<u64, Instant>,
}

/// How many unanswered questions are remembered, so that a late answer can be told from nonsense.
const REMEMBERED: usize = 1024;

impl Questions {
    pub(crate) fn new(ask: Ask, timeout: Duration) -> Self {
        Self {
            ask,
            timeout,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a vCPU, which waits for the answer afterwards.
    fn ask(&self, mailbox: &Arc<Mailbox>, seq: u64, failure: &MemoryFailure) -> bool {
        self.lock().open.insert(seq, Arc::clone(mailbox));
        (self.ask)(seq, failure)
    }

    /// The vCPU waits no more. Says what [`Mailbox::end_ask`] says.
    fn close(&self, seq: u64, asked: Instant, timed_out: bool, mailbox: &Mailbox) -> (Option<Answer>, bool) {
        let mut questions = self.lock();
        questions.open.remove(&seq);
        // With the lock held: whoever was told that an answer is accepted has its question answered here.
        let (answer, must_park) = mailbox.end_ask();
        if timed_out && answer.is_none() {
            questions.expired.insert(seq, asked);
            if questions.expired.len() > REMEMBERED {
                questions.expired.pop_first();
            }
        }
        (answer, must_park)
    }

    /// Takes an answer.
    pub(crate) fn answer(&self, seq: u64, answer: Answer) -> AnswerOutcome {
        let mailbox = self.lock().open.get(&seq).map(Arc::clone);
        if mailbox.is_some_and(|mailbox| mailbox.answer(seq, answer)) {
            return AnswerOutcome::Accepted;
        }
        match self.lock().expired.remove(&seq) {
            Some(asked) => AnswerOutcome::Late(asked.elapsed()),
            None => AnswerOutcome::Unknown,
        }
    }
}

/// A question that one vCPU asks.
pub(super) struct Asked<'a> {
    /// The vCPU.
    pub(super) index: u32,
    /// The number that the failure's event will have.
    pub(super) seq: u64,
    pub(super) questions: &'a Questions,
}

impl Asked<'_> {
    /// Asks the owner. What it answers replaces the policy's action; the kind of abort it wants comes back, and whether the
    /// vCPU has to park instead of going on.
    pub(super) fn decide(
        &self,
        failure: &mut MemoryFailure,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
    ) -> (Option<AbortKind>, bool) {
        let asked = Instant::now();
        context.statistics.count_asked();
        if mailbox.begin_ask(self.seq) {
            let parked = Message::Parked {
                vcpu: self.index,
                reason: ParkReason::Asks,
            };
            drop(context.control.send(parked));
        }
        let waited = if self.questions.ask(mailbox, self.seq, failure) {
            wait(asked + self.questions.timeout, vcpu, mailbox)
        } else {
            Err(FallbackReason::QueueFull)
        };
        context.statistics.add_waited(asked.elapsed());
        let timed_out = waited == Err(FallbackReason::Timeout);
        let (answer, must_park) = self.questions.close(self.seq, asked, timed_out, mailbox);
        // Whoever answered in the moment in which the wait ended was told that the answer is accepted, so it is.
        let answer = answer.unwrap_or_else(|| {
            let reason = waited.err().unwrap_or(FallbackReason::Timeout);
            Answer::Failed(reason, String::new())
        });
        let (reason, error) = match answer {
            Answer::Decision(decision)
                if decision.allowed(failure.severity, context.page_state(failure.error.gpa)) =>
            {
                let (action, kind) = decision.action();
                failure.action = action;
                failure.decided_by = DecidedBy::Decide;
                failure.reason = VerdictReason::Decided;
                return (kind, must_park);
            }
            Answer::Decision(decision) => {
                let error = match decision {
                    Decision::Resume => "resume, without replacePage() for the page".to_owned(),
                    _ => format!("{decision:?}, for an error that is {:?}", failure.severity),
                };
                (FallbackReason::Invalid, Some(error))
            }
            Answer::Failed(reason, error) => (reason, (!error.is_empty()).then_some(error)),
        };
        failure.decided_by = DecidedBy::Fallback;
        context.statistics.count_fallback();
        let failure = self.seq;
        context.outbox.push(EventKind::DecisionFallback {
            failure,
            reason,
            error,
        });
        (None, must_park)
    }
}

/// Waits for an answer, and serves what does not need the guest meanwhile.
fn wait(deadline: Instant, vcpu: &mut dyn VcpuBackend, mailbox: &Mailbox) -> Result<(), FallbackReason> {
    loop {
        match mailbox.wait_answer(deadline) {
            AskWakeup::Answered => return Ok(()),
            AskWakeup::Timeout => return Err(FallbackReason::Timeout),
            AskWakeup::Ending => return Err(FallbackReason::Closing),
            AskWakeup::Command(VcpuCommand::GetRegister(register, reply)) => {
                reply(vcpu.get_register(register).map_err(VmError::from));
            }
            AskWakeup::Command(VcpuCommand::SetRegister(register, value, reply)) => {
                reply(vcpu.set_register(register, value).map_err(VmError::from));
            }
            // Nobody resets a vCPU before it has parked.
            AskWakeup::Command(
                command @ (VcpuCommand::InjectAbort(..)
                | VcpuCommand::InjectSError(..)
                | VcpuCommand::Reset(..)),
            ) => {
                command.refuse(VmError::InvalidInjection {
                    operation: "an injection by hand",
                    last_exit: "a memory error whose decision is asked for",
                });
            }
        }
    }
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions")
            .field("timeout", &self.timeout)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_in_the_moment_of_the_deadline_has_no_late_answer() {
        let answer = || Answer::Decision(Decision::Stop);
        let questions = Questions::new(Box::new(|_, _| true), Duration::ZERO);
        let mailbox = Arc::new(Mailbox::default());
        mailbox.begin_ask(1);
        questions.lock().open.insert(1, Arc::clone(&mailbox));
        let asked = Instant::now();
        assert!(matches!(mailbox.wait_answer(asked), AskWakeup::Timeout));
        assert_eq!(questions.answer(1, answer()), AnswerOutcome::Accepted);
        assert_eq!(questions.close(1, asked, true, &mailbox), (Some(answer()), false));
        assert_eq!(questions.answer(1, answer()), AnswerOutcome::Unknown);
    }

    #[test]
    fn what_was_not_answered_in_time_has_one_late_answer() {
        let answer = || Answer::Decision(Decision::Stop);
        let questions = Questions::new(Box::new(|_, _| true), Duration::ZERO);
        let mailbox = Arc::new(Mailbox::default());
        mailbox.begin_ask(1);
        questions.lock().open.insert(1, Arc::clone(&mailbox));
        assert_eq!(questions.close(1, Instant::now(), true, &mailbox), (None, false));
        assert!(matches!(questions.answer(1, answer()), AnswerOutcome::Late(_)));
        assert_eq!(questions.answer(1, answer()), AnswerOutcome::Unknown);
    }
}
