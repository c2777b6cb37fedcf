//! What a virtual machine counts, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seawall_kvm::VcpuExit;

/// What has happened to a virtual machine so far. Readable also when it is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmStats {
    /// How often its vCPUs left the guest, by reason; every reason is there, also one that never occurred.
    pub exits: Vec<(&'static str, u64)>,
    /// Memory failures, also those whose page is not known.
    pub failures: u64,
    /// Events handed to the reader.
    pub delivered: u64,
    /// Events dropped because the reader was too slow.
    pub lost: u64,
    /// Bytes of console output dropped: nobody read the console, or the guest did not wait for its transmitter.
    pub console_bytes_lost: u64,
    /// What became of the questions to the owner.
    pub decisions: DecisionStats,
}

/// What became of the questions to the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecisionStats {
    /// Failures that the owner was to decide.
    pub asked: u64,
    /// Answers that came after their deadline.
    pub late: u64,
    /// Questions that the policy answered, because the owner did not, or not with what can be done.
    pub fallback: u64,
    /// How long vCPUs waited for answers, in all.
    pub waited: Duration,
}

/// The counters behind [`VmStats`] that have no other home.
#[derive(Debug)]
pub(crate) struct Statistics {
    exits: Box<[ExitCounters]>,
    asked: AtomicU64,
    late: AtomicU64,
    fallback: AtomicU64,
    waited_ns: AtomicU64,
}

impl Statistics {
    pub(crate) fn new(vcpus: usize) -> Self {
        Self {
            exits: (0..vcpus).map(|_| ExitCounters::default()).collect(),
            asked: AtomicU64::new(0),
            late: AtomicU64::new(0),
            fallback: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
        }
    }

    /// The counters of a vCPU's exits, for its thread alone.
    pub(crate) fn exits_of(&self, vcpu: u32) -> Option<&ExitCounters> {
        self.exits.get(vcpu as usize)
    }

    pub(crate) fn count_asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_fallback(&self) {
        self.fallback.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the time that a vCPU has waited for an answer.
    pub(crate) fn add_waited(&self, waited: Duration) {
        let nanoseconds = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.waited_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn decisions(&self) -> DecisionStats {
        DecisionStats {
            asked: self.asked.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            fallback: self.fallback.load(Ordering::Relaxed),
            waited: Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed)),
        }
    }

    /// The exits of all vCPUs, by reason.
    pub(crate) fn exits(&self) -> Vec<(&'static str, u64)> {
        let sum = |kind: ExitKind| self.exits.iter().map(|counters| counters.get(kind)).sum();
        ExitKind::ALL
            .into_iter()
            .map(|kind| (kind.name(), sum(kind)))
            .collect()
    }
}

/// The exits of one vCPU. Only its own thread writes them, so that no read-modify-write is needed; on cache lines of their
/// own, so that no vCPU slows another down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct ExitCounters([AtomicU64; ExitKind::ALL.len()]);

impl ExitCounters {
    /// Counts an exit.
    pub(crate) fn count(&self, exit: &VcpuExit) {
        let counter = &self.0[ExitKind::of(exit) as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn get(&self, kind: ExitKind) -> u64 {
        self.0[kind as usize].load(Ordering::Relaxed)
    }
}

/// An exit's reason, with nothing else of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitKind {
    Mmio,
    ArmSea,
    ArmNisv,
    ArmLdst64b,
    MemoryFault,
    SystemEvent,
    Intr,
    Sigbus,
    FailEntry,
    InternalError,
    Other,
}

impl ExitKind {
    /// All of them, in the order of their counters.
    const ALL: [Self; 11] = [
        Self::Mmio,
        Self::ArmSea,
        Self::ArmNisv,
        Self::ArmLdst64b,
        Self::MemoryFault,
        Self::SystemEvent,
        Self::Intr,
        Self::Sigbus,
        Self::FailEntry,
        Self::InternalError,
        Self::Other,
    ];

    const fn of(exit: &VcpuExit) -> Self {
        match exit {
            VcpuExit::MmioRead { .. } | VcpuExit::MmioWrite { .. } => Self::Mmio,
            VcpuExit::ArmSea(_) => Self::ArmSea,
            VcpuExit::Nisv { .. } => Self::ArmNisv,
            VcpuExit::Ldst64b { .. } => Self::ArmLdst64b,
            VcpuExit::MemoryFault { .. } => Self::MemoryFault,
            VcpuExit::SystemEvent { .. } => Self::SystemEvent,
            VcpuExit::MemoryErrorSignal(_) => Self::Sigbus,
            VcpuExit::Interrupted => Self::Intr,
            VcpuExit::FailEntry { .. } => Self::FailEntry,
            VcpuExit::InternalError { .. } => Self::InternalError,
            VcpuExit::Unknown { .. } => Self::Other,
        }
    }

    /// `KVM_EXIT_*` in kebab case. Two are ours: `sigbus` is `KVM_EXIT_INTR` by a memory error's signal, `other` is every
    /// reason that this version does not know.
    const fn name(self) -> &'static str {
        match self {
            Self::Mmio => "mmio",
            Self::ArmSea => "arm-sea",
            Self::ArmNisv => "arm-nisv",
            Self::ArmLdst64b => "arm-ldst64b",
            Self::MemoryFault => "memory-fault",
            Self::SystemEvent => "system-event",
            Self::Intr => "intr",
            Self::Sigbus => "sigbus",
            Self::FailEntry => "fail-entry",
            Self::InternalError => "internal-error",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_and_a_name_of_its_own() {
        for (index, kind) in ExitKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?}");
            let same = ExitKind::ALL.iter().filter(|other| other.name() == kind.name());
            assert_eq!(same.count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn the_exits_of_all_vcpus_are_summed() {
        let statistics = Statistics::new(2);
        let vcpus = [0, 1].map(|index| statistics.exits_of(index).expect("a vCPU"));
        vcpus[0].count(&VcpuExit::Interrupted);
        vcpus[1].count(&VcpuExit::Interrupted);
        vcpus[1].count(&VcpuExit::InternalError { suberror: 1 });
        for (name, count) in statistics.exits() {
            let expected = match name {
                "intr" => 2,
                "internal-error" => 1,
                _ => 0,
            };
            assert_eq!(count, expected, "{name}");
        }
    }
}
