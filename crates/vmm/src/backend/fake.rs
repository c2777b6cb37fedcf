//! A vCPU for tests of what no script can say: exits of every kind, and a kernel that fails at any step.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use seawall_arm64::{AbortKind, EntryState, Exception, ExceptionEntry, Gva, Pstate, take_exception};
use seawall_kvm::{
    Errno, GuestMemory, KickTarget, KvmError, PowerState, RegId, VcpuEntry, VcpuEvents, VcpuExit,
};

use crate::backend::{Kicker, VcpuBackend};
use crate::devices::Bus;
use crate::event::Outbox;
use crate::options::{BackendKind, UnclaimedAccessPolicy};
use crate::sea::{Granule, Ledger, MemoryFailurePolicy, NotifyGuest, RecoverablePolicy, UncontainablePolicy};
use crate::simulated::SimulatedQuarantine;
use crate::statistics::Statistics;
use crate::vcpu::{GuestGate, Patience, RunContext};

/// What the kernel answers to a refused call.
pub(crate) const EINVAL: Errno = Errno(22);

/// What `KVM_SET_VCPU_EVENTS` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelInjection {
    /// Takes the exception.
    Enters,
    /// Writes the syndrome, and takes the exception when the vCPU runs next, as Linux did before 6.17.
    EntersAtRun,
    /// Says success and does nothing.
    Ignores,
    /// Fails with [`EINVAL`].
    Refuses,
}

/// What happens to one register write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// It fails with [`EINVAL`].
    Fails,
    /// It says success and does nothing.
    IsLost,
}

/// A vCPU of which each answer is chosen.
#[derive(Debug)]
pub(crate) struct FakeVcpu {
    pub(crate) registers: BTreeMap<RegId, u64>,
    /// Every register write, in order, also those that failed.
    pub(crate) writes: Vec<RegId>,
    /// What the guest was entered with, in order.
    pub(crate) entries: Vec<VcpuEntry>,
    pub(crate) injection: KernelInjection,
    /// The write of this number, from 0, does not happen.
    pub(crate) bad_write: Option<(usize, Write)>,
    /// The read of this register fails once the guest's exception was injected.
    pub(crate) unreadable_after_injection: Option<RegId>,
    /// Registers that cannot be read.
    pub(crate) unreadable: Vec<(RegId, Errno)>,
    pub(crate) cannot_enter_thread: bool,
    /// How many runs fail before the first exit.
    pub(crate) failing_runs: u32,
    /// What they fail with: `EFAULT` where nothing else is said.
    pub(crate) run_errno: Errno,
    injected: bool,
    enters_at_run: bool,
    exits: mpsc::Receiver<VcpuExit>,
    kicks: Arc<Kicks>,
}

/// How often a vCPU was kicked.
#[derive(Debug, Default)]
pub(crate) struct Kicks(AtomicUsize);

impl Kicks {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Kicker for Kicks {
    /// A kick is counted, and gets nothing out of the guest.
    fn kick(&self) -> Result<(), KvmError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl FakeVcpu {
    /// A vCPU at EL0, and the way to make it leave the guest. Without exits it stays there; once the sender is gone, each
    /// run is interrupted at once.
    pub(crate) fn new() -> (Self, mpsc::Sender<VcpuExit>) {
        let (sender, exits) = mpsc::channel();
        let registers = BTreeMap::from([
            (RegId::PC, 0x40_1234),
            (RegId::PSTATE, 0x6000_0000),
            (RegId::VBAR_EL1, 0x8000_0800),
            (RegId::SCTLR_EL1, 0x00c5_0078),
            (RegId::ELR_EL1, 0xe1),
            (RegId::SPSR_EL1, 0x51),
            (RegId::ESR_EL1, 0x5600_0000),
            (RegId::FAR_EL1, 0xfa),
        ]);
        let vcpu = Self {
            registers,
            writes: Vec::new(),
            entries: Vec::new(),
            injection: KernelInjection::Enters,
            bad_write: None,
            unreadable_after_injection: None,
            unreadable: vec![(RegId::SCTLR2_EL1, Errno::NO_ENTRY)],
            cannot_enter_thread: false,
            failing_runs: 0,
            run_errno: Errno::FAULT,
            injected: false,
            enters_at_run: false,
            exits,
            kicks: Arc::default(),
        };
        (vcpu, sender)
    }

    /// A vCPU that makes these exits and is interrupted then.
    pub(crate) fn with_exits(exits: impl IntoIterator<Item = VcpuExit>) -> Self {
        let (vcpu, sender) = Self::new();
        for exit in exits {
            sender.send(exit).expect("the vCPU has the receiver");
        }
        vcpu
    }

    pub(crate) fn get(&self, register: RegId) -> u64 {
        self.registers.get(&register).copied().unwrap_or(0)
    }

    pub(crate) fn kicks(&self) -> Arc<Kicks> {
        Arc::clone(&self.kicks)
    }

    /// FAR_EL2, which the kernel knows.
    pub(crate) const FAR: u64 = 0xaaaa_df25_4828;

    fn entry(&self) -> ExceptionEntry {
        let state = EntryState {
            pc: Gva::from_bits(self.get(RegId::PC)),
            pstate: Pstate::from_bits(self.get(RegId::PSTATE)),
            vbar_el1: Gva::from_bits(self.get(RegId::VBAR_EL1)),
            sctlr_el1: self.get(RegId::SCTLR_EL1),
            sctlr2_el1: None,
            mte: false,
        };
        let exception = Exception::ExternalAbort {
            kind: AbortKind::Data,
            far: Gva::from_bits(Self::FAR),
        };
        take_exception(&state, exception)
    }

    fn write_syndrome(&mut self, entry: &ExceptionEntry) {
        self.registers.extend([
            (RegId::ESR_EL1, entry.esr_el1.bits()),
            (RegId::FAR_EL1, Self::FAR),
        ]);
    }

    fn enter(&mut self, entry: &ExceptionEntry) {
        self.registers.extend([
            (RegId::PC, entry.pc.bits()),
            (RegId::PSTATE, entry.pstate.bits()),
            (RegId::ELR_EL1, entry.elr_el1.bits()),
            (RegId::SPSR_EL1, entry.spsr_el1.bits()),
        ]);
    }
}

impl VcpuBackend for FakeVcpu {
    fn run(&mut self, entry: VcpuEntry) -> Result<VcpuExit, KvmError> {
        self.entries.push(entry);
        if std::mem::take(&mut self.enters_at_run) {
            let entry = self.entry();
            self.enter(&entry);
        }
        if self.failing_runs > 0 {
            self.failing_runs -= 1;
            return Err(KvmError::Syscall {
                syscall: "KVM_RUN",
                errno: self.run_errno,
            });
        }
        Ok(self.exits.recv().unwrap_or(VcpuExit::Interrupted))
    }

    fn get_register(&mut self, register: RegId) -> Result<u64, KvmError> {
        let hidden = self.injected && self.unreadable_after_injection == Some(register);
        let unreadable = self
            .unreadable
            .iter()
            .find(|(unreadable, _)| *unreadable == register);
        match unreadable {
            Some((_, errno)) => Err(refused("KVM_GET_ONE_REG", register, *errno)),
            None if hidden => Err(refused("KVM_GET_ONE_REG", register, EINVAL)),
            None => Ok(self.get(register)),
        }
    }

    fn set_register(&mut self, register: RegId, value: u64) -> Result<(), KvmError> {
        let number = self.writes.len();
        self.writes.push(register);
        match self.bad_write.filter(|(bad, _)| *bad == number) {
            Some((_, Write::Fails)) => return Err(refused("KVM_SET_ONE_REG", register, EINVAL)),
            Some((_, Write::IsLost)) => {}
            None => drop(self.registers.insert(register, value)),
        }
        Ok(())
    }

    fn reset(&mut self, _: PowerState) -> Result<(), KvmError> {
        Ok(())
    }

    fn set_events(&mut self, _: VcpuEvents) -> Result<(), KvmError> {
        self.injected = true;
        let entry = self.entry();
        match self.injection {
            KernelInjection::Enters => {
                self.write_syndrome(&entry);
                self.enter(&entry);
            }
            KernelInjection::EntersAtRun => {
                self.write_syndrome(&entry);
                self.enters_at_run = true;
            }
            KernelInjection::Ignores => {}
            KernelInjection::Refuses => {
                return Err(KvmError::Syscall {
                    syscall: "KVM_SET_VCPU_EVENTS",
                    errno: EINVAL,
                });
            }
        }
        Ok(())
    }

    fn kicker(&self) -> Arc<dyn Kicker> {
        self.kicks()
    }

    fn enter_thread(&mut self) -> Result<Option<KickTarget>, KvmError> {
        if self.cannot_enter_thread {
            return Err(KvmError::Syscall {
                syscall: "pthread_sigmask",
                errno: EINVAL,
            });
        }
        Ok(None)
    }
}

fn refused(syscall: &'static str, register: RegId, errno: Errno) -> KvmError {
    KvmError::Register {
        syscall,
        register,
        errno,
    }
}

/// Bytes of guest RAM.
const MEMORY: usize = 2 << 20;

/// What the vCPUs of a test's virtual machine share.
pub(crate) fn context(recoverable: RecoverablePolicy, outbox: Arc<Outbox>) -> RunContext {
    RunContext {
        backend: BackendKind::Simulated,
        policy: MemoryFailurePolicy {
            recoverable,
            uncontainable: UncontainablePolicy::Stop,
            quarantine: true,
            threshold: None,
            same_fault_limit: 3,
            notify_guest: NotifyGuest::Ghes,
            defer: Duration::from_millis(200),
        },
        unclaimed: UnclaimedAccessPolicy::Abort,
        bus: Bus::new(Arc::clone(&outbox), None, None),
        ledger: Arc::new(Mutex::new(Ledger::of_ram(MEMORY as u64))),
        gate: Arc::new(GuestGate::new([])),
        quarantine: Box::new(SimulatedQuarantine::new(&Arc::new(
            GuestMemory::create(MEMORY, None).expect("memory"),
        ))),
        granule: Granule::PAGE,
        outbox,
        patience: Patience::default(),
        notifier: None,
        questions: None,
        control: mpsc::channel().0,
        statistics: Arc::new(Statistics::new(1)),
        redact: false,
        pending: Mutex::default(),
    }
}
