//! What to do with a memory error: a function from the error, what came before it and the policy to a verdict.

use std::fmt;
use std::time::Duration;

use seawall_arm64::SynchronousErrorType;

use crate::sea::memory_error::{ConsumerMode, ErrorReport, MemoryError, SignalCode};

/// What to do with memory errors. Policy is data; nothing is asked while a vCPU waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryFailurePolicy {
    /// For errors that software can contain: SET is UER or UEO, or is not known.
    pub recoverable: RecoverablePolicy,
    /// For errors that nobody can contain: SET is UC or reserved.
    pub uncontainable: UncontainablePolicy,
    /// Whether lost pages are taken out of everybody's reach.
    pub quarantine: bool,
    /// What to do when a guest has lost many pages.
    pub threshold: Option<Threshold>,
    /// How often the guest's kernel may get the same abort in a row (same page, same instruction) before the VM stops.
    pub same_fault_limit: u32,
    /// How the guest is told which of its pages are lost, so that it retires them.
    pub notify_guest: NotifyGuest,
    /// How long an access whose abort is deferred may run again before it gets the abort; 0 is never.
    pub defer: Duration,
}

/// How a guest is told which of its pages are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyGuest {
    /// Not at all.
    None,
    /// By error records of ACPI, where it is a Linux guest that is booted with ACPI.
    Ghes,
    /// By an agent of its own, where it is a Linux guest that is booted without ACPI: it finds a second UART for that.
    Agent,
}

/// What to do when a guest has lost many pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// From how many different lost pages on.
    pub distinct_pages: u64,
    /// What to do with each further page.
    pub action: ThresholdAction,
}

/// What to do when a guest has lost many pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThresholdAction {
    /// Pause the virtual machine; the abort waits.
    Pause,
    /// Stop the virtual machine.
    Stop,
    /// Say so, and go on.
    Report,
}

/// What to do with a memory error that software can contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoverablePolicy {
    /// Inject the abort into the guest.
    Inject,
    /// Pause the virtual machine; the abort waits.
    Pause,
    /// Stop the virtual machine.
    Stop,
}

/// What to do with a memory error that nobody can contain. The vCPU never goes on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UncontainablePolicy {
    /// Pause the virtual machine; the abort waits.
    Pause,
    /// Stop the virtual machine.
    Stop,
}

/// How bad a memory error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The processor's state is good: whoever touched the page can be told.
    Recoverable,
    /// The processor's state cannot be trusted.
    Fatal,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureAction {
    /// Inject the abort.
    Inject,
    /// Inject an SError, with an ISS where the host has FEAT_RAS.
    InjectSError(Option<u32>),
    /// Pause the virtual machine.
    Pause,
    /// Stop the virtual machine.
    Stop,
    /// Let the access run again without an abort, for a while.
    Defer,
    /// Let the access run again: the page was replaced.
    Resume,
    /// Nothing: nobody needs the page yet.
    Ignore,
}

/// What came before a memory error, as far as the verdict depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// How many different pages the guest has lost, this one counted.
    pub distinct_pages: u64,
    /// Whether this error is its page's first.
    pub first: bool,
    /// How often, in a row before this error, this vCPU got the abort of the same page at the same instruction.
    pub same_fault: u32,
}

/// What is to be done, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How bad it is.
    pub severity: Severity,
    /// What is to be done.
    pub action: FailureAction,
    /// Why.
    pub reason: VerdictReason,
    /// The threshold, where this error reaches it.
    pub threshold: Option<Threshold>,
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictReason {
    /// The severity the processor gave, in its own words.
    ErrorType(SynchronousErrorType),
    /// The processor gives no severity for this kind of abort; recoverable is assumed.
    NoErrorType,
    /// The host's kernel had lost the page before the guest needed it, so that nothing was consumed.
    Signal,
    /// The page is out of the guest's reach; nothing was consumed.
    Quarantined,
    /// Nobody needs the page yet.
    InAdvance,
    /// A copy of our own met the error, and ended there.
    OwnCopy,
    /// The kernel reported something that is no abort.
    NoAbort,
    /// The registers of the vCPU that needed the memory cannot be read, so that nothing can be done about it.
    UnreadableVcpu,
    /// The guest's kernel got this abort again and again.
    SameFault {
        /// How often, in a row.
        injections: u32,
    },
    /// The owner was asked and decided.
    Decided,
    /// The abort waited while the VM was paused.
    Resumed {
        /// The number of the event that said so.
        failure: u64,
    },
    /// The access of an earlier failure ran again, for a while.
    Deferred {
        /// The number of the event that said so.
        failure: u64,
    },
    /// The guest has lost too many pages.
    Threshold {
        /// How many.
        distinct_pages: u64,
    },
}

impl fmt::Display for VerdictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorType(error_type) => write!(f, "the processor says: {}", error_type.description()),
            Self::NoErrorType => {
                f.write_str("the processor gives no severity for this abort; taken as recoverable")
            }
            Self::Signal => {
                f.write_str("the host had lost the page before the guest needed it; nothing was consumed")
            }
            Self::Quarantined => f.write_str(
                "the page is in quarantine: the access did not reach it, and nothing was consumed",
            ),
            Self::InAdvance => f.write_str("nobody has needed the page yet"),
            Self::OwnCopy => f.write_str("a copy of guest memory by Seawall met the error and ended there"),
            Self::NoAbort => f.write_str("the reported exception class is no abort"),
            Self::UnreadableVcpu => f.write_str("the registers of the vCPU cannot be read"),
            Self::SameFault { injections } => {
                write!(
                    f,
                    "the guest's kernel got this abort {injections} times in a row and touched the page again"
                )
            }
            Self::Decided => f.write_str("the owner decided"),
            Self::Resumed { failure } => {
                write!(f, "the abort of event {failure} waited while the VM was paused")
            }
            Self::Deferred { failure } => {
                write!(f, "the access of event {failure} ran again without an abort")
            }
            Self::Threshold { distinct_pages } => {
                write!(f, "the guest has lost {distinct_pages} different pages")
            }
        }
    }
}

/// Decides. No clock, no lock, no log: the same arguments always give the same verdict.
#[must_use]
pub fn decide(error: &MemoryError, history: &History, policy: &MemoryFailurePolicy) -> Verdict {
    let (severity, reason) = assess(error);
    let threshold = policy
        .threshold
        .filter(|threshold| history.first && history.distinct_pages >= threshold.distinct_pages);
    let verdict = |action, reason| Verdict {
        severity,
        action,
        reason,
        threshold,
    };
    if severity == Severity::Fatal {
        return match policy.uncontainable {
            UncontainablePolicy::Pause => verdict(FailureAction::Pause, reason),
            UncontainablePolicy::Stop => verdict(FailureAction::Stop, reason),
        };
    }
    // A user process that survives its signal may touch the page for ever: that is its own time it wastes.
    let by_kernel = error.consumer.map(|consumer| consumer.mode()) == Some(ConsumerMode::Kernel);
    if by_kernel && history.same_fault >= policy.same_fault_limit {
        let reason = VerdictReason::SameFault {
            injections: history.same_fault,
        };
        return verdict(FailureAction::Stop, reason);
    }
    let too_many = VerdictReason::Threshold {
        distinct_pages: history.distinct_pages,
    };
    match threshold.map(|threshold| threshold.action) {
        Some(ThresholdAction::Pause) => return verdict(FailureAction::Pause, too_many),
        Some(ThresholdAction::Stop) => return verdict(FailureAction::Stop, too_many),
        Some(ThresholdAction::Report) | None => {}
    }
    if error.vcpu.is_none() {
        return verdict(FailureAction::Ignore, reason);
    }
    match policy.recoverable {
        RecoverablePolicy::Inject => verdict(FailureAction::Inject, reason),
        RecoverablePolicy::Pause => verdict(FailureAction::Pause, reason),
        RecoverablePolicy::Stop => verdict(FailureAction::Stop, reason),
    }
}

/// How bad an error is.
#[must_use]
pub fn severity(error: &MemoryError) -> Severity {
    assess(error).0
}

fn assess(error: &MemoryError) -> (Severity, VerdictReason) {
    match (error.report, error.abort()) {
        (ErrorReport::Signal { code, .. }, _) => {
            let reason = match (code, error.vcpu) {
                (SignalCode::ActionOptional, _) => VerdictReason::InAdvance,
                (_, None) => VerdictReason::OwnCopy,
                (_, Some(_)) => VerdictReason::Signal,
            };
            (Severity::Recoverable, reason)
        }
        (ErrorReport::MemoryFault, _) => (Severity::Recoverable, VerdictReason::Signal),
        (ErrorReport::Hole { .. }, _) => (Severity::Recoverable, VerdictReason::Quarantined),
        (ErrorReport::Owner, _) => (Severity::Recoverable, VerdictReason::InAdvance),
        (ErrorReport::Sea { .. }, None) => (Severity::Fatal, VerdictReason::NoAbort),
        (ErrorReport::Sea { .. }, Some(abort)) => match abort.set {
            None => (Severity::Recoverable, VerdictReason::NoErrorType),
            Some(set) => {
                let severity = match set {
                    SynchronousErrorType::Recoverable | SynchronousErrorType::Restartable => {
                        Severity::Recoverable
                    }
                    // A reserved value may mean anything, so the worst is assumed.
                    SynchronousErrorType::Uncontainable | SynchronousErrorType::Reserved => Severity::Fatal,
                };
                (severity, VerdictReason::ErrorType(set))
            }
        },
    }
}

#[cfg(test)]
mod tests;
