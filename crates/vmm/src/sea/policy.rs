//! What to do with a memory error: a function from the fault, the page's history and the policy to a verdict.

use std::fmt;

use seawall_arm64::SynchronousErrorType;

use crate::sea::fault::SeaFault;

/// What to do with memory errors. Policy is data; nothing is asked while a vCPU waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryFailurePolicy {
    /// For errors that software can contain: SET is UER or UEO, or is not known.
    pub recoverable: RecoverablePolicy,
    /// For errors that nobody can contain: SET is UC or reserved.
    pub uncontainable: UncontainablePolicy,
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
    /// Pause the virtual machine.
    Pause,
    /// Stop the virtual machine.
    Stop,
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
}

/// Why a verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictReason {
    /// The severity the processor gave, in its own words.
    ErrorType(SynchronousErrorType),
    /// The processor gives no severity for this kind of abort; recoverable is assumed.
    NoErrorType,
    /// The kernel reported something that is no abort.
    NoAbort,
}

impl fmt::Display for VerdictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorType(error_type) => write!(f, "the processor says: {}", error_type.description()),
            Self::NoErrorType => {
                f.write_str("the processor gives no severity for this abort; taken as recoverable")
            }
            Self::NoAbort => f.write_str("the reported exception class is no abort"),
        }
    }
}

/// Decides. No clock, no lock, no log: the same arguments always give the same verdict.
#[must_use]
pub fn decide(fault: &SeaFault, policy: &MemoryFailurePolicy) -> Verdict {
    let (severity, reason) = match fault.abort() {
        None => (Severity::Fatal, VerdictReason::NoAbort),
        Some(abort) => match abort.set {
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
    };
    let action = match severity {
        Severity::Recoverable => match policy.recoverable {
            RecoverablePolicy::Inject => FailureAction::Inject,
            RecoverablePolicy::Pause => FailureAction::Pause,
            RecoverablePolicy::Stop => FailureAction::Stop,
        },
        Severity::Fatal => match policy.uncontainable {
            UncontainablePolicy::Pause => FailureAction::Pause,
            UncontainablePolicy::Stop => FailureAction::Stop,
        },
    };
    Verdict {
        severity,
        action,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use seawall_arm64::{Esr, Gpa, Gva, Pstate};

    use super::*;
    use crate::sea::fault::Consumer;

    const INJECT: MemoryFailurePolicy = MemoryFailurePolicy {
        recoverable: RecoverablePolicy::Inject,
        uncontainable: UncontainablePolicy::Stop,
    };

    fn fault(esr: u64) -> SeaFault {
        SeaFault {
            vcpu: 0,
            esr: Esr::from_bits(esr),
            gva: None,
            gpa: Some(Gpa::from_bits(0x8010_0000)),
            consumer: Consumer {
                pc: Gva::from_bits(0x8000_0000),
                pstate: Pstate::from_bits(0),
            },
        }
    }

    #[test]
    fn severity_follows_the_error_type() {
        for (set, severity, action) in [
            (0b00, Severity::Recoverable, FailureAction::Inject),
            (0b01, Severity::Fatal, FailureAction::Stop),
            (0b10, Severity::Fatal, FailureAction::Stop),
            (0b11, Severity::Recoverable, FailureAction::Inject),
        ] {
            let verdict = decide(&fault(0x9200_0010 | set << 11), &INJECT);
            assert_eq!(
                (verdict.severity, verdict.action),
                (severity, action),
                "SET {set:#b}"
            );
        }
    }

    #[test]
    fn uncontainable_error_is_never_injected() {
        for recoverable in [
            RecoverablePolicy::Inject,
            RecoverablePolicy::Pause,
            RecoverablePolicy::Stop,
        ] {
            for uncontainable in [UncontainablePolicy::Pause, UncontainablePolicy::Stop] {
                for esr in [0x9200_1010, 0x9200_0810, 0x8200_1010, 0x5600_0000] {
                    let verdict = decide(
                        &fault(esr),
                        &MemoryFailurePolicy {
                            recoverable,
                            uncontainable,
                        },
                    );
                    assert_eq!(verdict.severity, Severity::Fatal);
                    assert_ne!(verdict.action, FailureAction::Inject, "{esr:#x}");
                }
            }
        }
    }

    #[test]
    fn aborts_without_a_severity_are_taken_as_recoverable() {
        // On a table walk, and parity or ECC: SET is not defined there, whatever its bits say.
        for esr in [0x9200_0017, 0x9200_1017, 0x9200_0018, 0x9200_101f] {
            let verdict = decide(&fault(esr), &INJECT);
            assert_eq!(verdict.action, FailureAction::Inject, "{esr:#x}");
            assert_eq!(verdict.reason, VerdictReason::NoErrorType);
        }
    }
}
