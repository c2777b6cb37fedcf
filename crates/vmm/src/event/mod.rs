//! What happened, in order, as values.

mod console;
mod outbox;
mod ready_list;

use std::time::{Duration, SystemTime};

use seawall_arm64::{Esr, Gpa};

use crate::backend::QuarantineError;
use crate::error::{InjectionError, VmError};
use crate::notifier::{FailedNotification, Notified};
use crate::options::{BackendKind, UnclaimedAccessPolicy};
use crate::sea::{
    FailureAction, FailureSource, LedgerTotals, MemoryError, PageHit, PageState, PoisonedPage, Severity,
    ThresholdAction, VerdictReason,
};
use crate::vcpu::FallbackReason;
use crate::vm::{VmExit, VmState};

pub(crate) use outbox::Outbox;
pub use outbox::Wake;
pub use ready_list::ReadyList;

/// One event of one virtual machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The event's number: one sequence per VM, from 1, with no gap but those an [`EventKind::EventsLost`] names.
    pub seq: u64,
    /// The wall clock.
    pub time: SystemTime,
    /// The host's monotonic clock (`CLOCK_MONOTONIC`).
    pub monotonic: Duration,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A guest consumed a memory error, and this is what was done.
    MemoryFailure(Box<MemoryFailure>),
    /// The virtual machine's state changed.
    StateChanged {
        /// From this.
        from: VmState,
        /// To this.
        to: VmState,
    },
    /// The virtual machine ended.
    Exit(VmExit),
    /// The guest reset itself, and boots again.
    GuestReset,
    /// A guest accessed an address where nothing is.
    UnclaimedAccess(UnclaimedAccess),
    /// The state of a lost page changed after its failure was told.
    PageStateChanged {
        /// The page, as it is now.
        page: PoisonedPage,
        /// What it was.
        from: PageState,
    },
    /// The guest has lost as many pages as the policy's threshold says.
    PoisonThresholdReached {
        /// How many different pages.
        distinct_pages: u64,
        /// What is done about it.
        action: ThresholdAction,
    },
    /// The guest is not told of lost memory by a source. What it was not told stays in quarantine.
    NotificationFailed(FailedNotification),
    /// The policy's own verdict stayed in force although the owner was to be asked.
    DecisionFallback {
        /// The number of the failure's event.
        failure: u64,
        /// Why.
        reason: FallbackReason,
        /// What whoever was asked said of it, for people.
        error: Option<String>,
    },
    /// An answer came after its deadline. Nothing was done about it.
    DecisionLate {
        /// The number of the failure's event.
        failure: u64,
        /// How long after the question.
        after: Duration,
    },
    /// A vCPU cannot go on.
    VcpuFailed {
        /// The vCPU.
        vcpu: u32,
        /// Why.
        error: VmError,
    },
    /// The reader was too slow: these events were dropped, oldest first.
    EventsLost {
        /// The first number that is missing.
        from_seq: u64,
        /// The last number that is missing.
        to_seq: u64,
    },
}

/// A memory error, what was decided, and what was done.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryFailure {
    /// Which backend reported it.
    pub backend: BackendKind,
    /// How it was found.
    pub source: FailureSource,
    /// The error.
    pub error: MemoryError,
    /// How bad it is.
    pub severity: Severity,
    /// The page, where it is known.
    pub page: Option<PageHit>,
    /// What was done.
    pub action: FailureAction,
    /// Who decided.
    pub decided_by: DecidedBy,
    /// Why.
    pub reason: VerdictReason,
    /// Whether the vCPU had not left the last abort's handler: the same instruction and page again.
    pub recursive: bool,
    /// How further accesses are kept off the page, where they are.
    pub quarantine: Option<QuarantineReport>,
    /// Why they are not, where they should be.
    pub quarantine_error: Option<QuarantineError>,
    /// How the guest was told of the page, where it was.
    pub notified: Option<Notified>,
    /// How long the access ran again without an abort, where that is over.
    pub deferral: Option<DeferralReport>,
    /// The injection, where there was one.
    pub injection: Option<Injection>,
    /// The sums of the ledger, with this failure counted.
    pub ledger: LedgerTotals,
}

impl MemoryFailure {
    /// Whether something is still to be done about it: it waits, or its access runs again.
    pub(crate) const fn is_unsettled(&self) -> bool {
        self.waits() || matches!(self.action, FailureAction::Defer)
    }

    /// Whether the abort was neither injected nor decided otherwise.
    pub(crate) const fn waits(&self) -> bool {
        matches!(self.action, FailureAction::Pause | FailureAction::Stop) && self.error.vcpu.is_some()
    }
}

/// How long an access ran again without an abort, and what ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeferralReport {
    /// How often it ran again.
    pub retries: u32,
    /// For how long.
    pub time: Duration,
    /// What ended it.
    pub outcome: DeferralOutcome,
}

/// What ended the retries of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeferralOutcome {
    /// The vCPU went on: the guest does not need the page any more.
    Retired,
    /// The time was over.
    Deadline,
}

/// Who decided what to do with a memory error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The policy.
    Policy,
    /// The owner of the virtual machine.
    Decide,
    /// The policy, because the owner was asked and did not answer, or not with what can be done.
    Fallback,
}

/// How further accesses are kept off a lost page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineReport {
    /// How.
    pub method: QuarantineMethod,
    /// The size of what is out of reach, in bytes.
    pub granule: u64,
}

/// How further accesses are kept off a lost page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineMethod {
    /// By a poison marker in this process's page table.
    Userfaultfd,
    /// By a hole in the guest's memory slots.
    MemslotHole,
    /// By the host's kernel, which had lost the page first.
    Hwpoison,
}

/// How an exception was injected, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// How.
    pub method: InjectionMethod,
    /// What ESR_EL1 reads now; absent where it is not known.
    pub esr: Option<Esr>,
    /// Why it did not happen, if so.
    pub error: Option<InjectionError>,
}

impl Injection {
    /// Whether the vCPU is in the guest's handler now: also where its registers could not be completed after the kernel
    /// had taken the exception.
    pub(crate) const fn entered(&self) -> bool {
        match (&self.error, self.method) {
            (None, _) | (Some(_), InjectionMethod::VcpuEventsAndRegisters) => true,
            (Some(_), InjectionMethod::VcpuEvents | InjectionMethod::Registers | InjectionMethod::SError) => {
                false
            }
        }
    }
}

/// How an exception was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectionMethod {
    /// `KVM_SET_VCPU_EVENTS` alone.
    VcpuEvents,
    /// `KVM_SET_VCPU_EVENTS`, then ESR_EL1 and FAR_EL1 by `KVM_SET_ONE_REG`.
    VcpuEventsAndRegisters,
    /// `KVM_SET_ONE_REG` alone: the whole exception entry.
    Registers,
    /// An SError, by `KVM_SET_VCPU_EVENTS`.
    SError,
}

/// An access to a guest-physical address that no device claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnclaimedAccess {
    /// The vCPU.
    pub vcpu: u32,
    /// What kind of exit it was.
    pub kind: AccessKind,
    /// The first byte.
    pub gpa: Gpa,
    /// Whether it was a store; absent where the kernel does not say.
    pub write: Option<bool>,
    /// What was done.
    pub action: UnclaimedAccessPolicy,
}

/// What kind of exit an unclaimed access was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// `KVM_EXIT_MMIO`.
    Mmio,
    /// `KVM_EXIT_ARM_NISV`.
    Nisv,
    /// `KVM_EXIT_ARM_LDST64B`.
    Ldst64b,
}
