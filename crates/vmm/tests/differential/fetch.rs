//! Guests that fetch an instruction from the page behind 1 MiB of RAM: no memory there, or a page that is lost.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seawall_arm64::Pstate;
use seawall_kvm::RegId;
use seawall_vmm::{
    BackendOptions, Boot, Image, MemoryFailurePolicy, NotifyGuest, OnReset, VmOptions, VmState,
};

use crate::difference::Snapshot;
use crate::harness::{INJECT, LIMIT, Machine, options};
use crate::registers::Registers;

const RAM_BASE: u64 = 0x8000_0000;
/// The RAM of a machine without the page.
const RAM_SIZE: u64 = 0x10_0000;
const RAM_WORDS: usize = 0x4_0000;
const PAGE: u64 = RAM_BASE + RAM_SIZE;
const PAGE_SIZE: u64 = 0x1000;
/// `b .`: wherever its vectors lie, a vCPU stays there with the registers it was entered with.
const BRANCH_TO_ITSELF: u32 = 0x1400_0000;

/// SCTLR_EL1 with the MMU off: what has to be 1, and what an entry reads (DSSBS, SPAN).
const SCTLR_FIXED: u64 = 0x3050_0800;
const SCTLR_FREE: u64 = 1 << 44 | 1 << 23;
/// EASE.
const SCTLR2_FREE: u64 = 1 << 5;
/// N, Z, C, V, TCO, DIT, UAO, PAN, SSBS, D, A, I, F and the mode: what does not keep the fetch from happening.
const PSTATE_FREE: u64 = 0xf3c0_13df;
/// The same of AArch32: N, Z, C, V, Q, PAN, GE, A, I, F and the mode.
const PSTATE_FREE_AARCH32: u64 = 0xf84f_01df;

/// The lab's injector. Its rules are for all virtual machines of a process, so one test at a time has it.
#[derive(Debug)]
pub(crate) struct Injector {
    _alone: MutexGuard<'static, ()>,
}

/// The page is lost for as long as this lives.
#[derive(Debug)]
#[must_use]
pub(crate) struct LostPage {
    _rules: File,
}

impl Injector {
    const PATH: &str = "/dev/sea-inject";

    /// None on a host without one.
    pub(crate) fn claim() -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Path::new(Self::PATH).exists().then_some(Self { _alone: alone })
    }

    /// Loses the page, in the injector's words.
    #[expect(clippy::unused_self, reason = "no other test has a rule meanwhile")]
    pub(crate) fn lose_page(&self, rule: &str) -> LostPage {
        let mut rules = File::options()
            .write(true)
            .open(Self::PATH)
            .expect("the injector");
        let line = format!(
            "arm id=1 tgid={} start={PAGE:#x} end={:#x} {rule}\n",
            std::process::id(),
            PAGE + PAGE_SIZE
        );
        rules
            .write_all(line.as_bytes())
            .unwrap_or_else(|error| panic!("{line:?}: {error}"));
        LostPage { _rules: rules }
    }
}

/// The registers of a guest about to fetch from the page: the values, without what keeps it from doing so.
fn about_to_fetch(values: &Registers) -> impl Iterator<Item = (RegId, u64)> {
    let pstate_free = if Pstate::from_bits(values.get(RegId::PSTATE)).is_aarch32() {
        PSTATE_FREE_AARCH32
    } else {
        PSTATE_FREE
    };
    values.in_order().map(move |(register, value)| {
        let value = match register {
            RegId::PC => PAGE | value & (PAGE_SIZE - 4),
            // A table of vectors has 2 KiB.
            RegId::VBAR_EL1 => RAM_BASE | value & (RAM_SIZE - 0x800),
            RegId::SCTLR_EL1 => SCTLR_FIXED | value & SCTLR_FREE,
            RegId::SCTLR2_EL1 => value & SCTLR2_FREE,
            RegId::PSTATE => value & pstate_free,
            _ => value,
        };
        (register, value)
    })
}

/// A guest that fetches from the page, as often as it is told to.
pub(crate) struct Guest {
    pub(crate) machine: Machine,
}

impl Guest {
    /// Where a guest fetches from whose PC is left open.
    pub(crate) const FETCHED: u64 = PAGE;

    /// Creates one whose RAM ends before the page.
    pub(crate) fn without_page() -> Self {
        Self::with_memory(RAM_SIZE, INJECT)
    }

    /// Creates one that has the page.
    pub(crate) fn with_page(policy: MemoryFailurePolicy) -> Self {
        Self::with_memory(RAM_SIZE + PAGE_SIZE, policy)
    }

    fn with_memory(memory: u64, policy: MemoryFailurePolicy) -> Self {
        let policy = MemoryFailurePolicy {
            quarantine: false,
            // It is the same page, again and again.
            same_fault_limit: u32::MAX,
            notify_guest: NotifyGuest::None,
            ..policy
        };
        let machine = Machine::with(VmOptions {
            memory,
            backend: BackendOptions::Kvm,
            boot: Boot::Flat {
                image: Image::Bytes(BRANCH_TO_ITSELF.to_le_bytes().repeat(RAM_WORDS)),
                load_address: None,
                entry: None,
            },
            on_reset: OnReset::Exit,
            ..options(policy, vec![Vec::new()])
        });
        Self { machine }
    }

    /// Lets the guest, which does not run, fetch from the page. Says whether a vCPU can be in that state.
    pub(crate) fn fetch(&self, values: &Registers) -> bool {
        let able = about_to_fetch(values).all(|(register, value)| self.set(register, value));
        if able {
            match self.machine.vm.state() {
                VmState::Created => self.machine.start(),
                _ => self.machine.resume(),
            }
            .expect("a guest that does not run");
        }
        able
    }

    /// Writes a register. Says whether the kernel took it.
    pub(crate) fn set(&self, register: RegId, value: u64) -> bool {
        let name = register.name().expect("a register with a name");
        self.machine.set(0, name, value).is_ok()
    }

    /// What is in those registers that a case sets.
    pub(crate) fn read(&self, values: &Registers) -> Snapshot {
        let read = |register: RegId| {
            let name = register.name().expect("a register with a name");
            self.machine.get(0, name).expect("a vCPU that does not run")
        };
        let registers = values.ids().into_iter();
        registers
            .map(|register| (register, u128::from(read(register))))
            .collect()
    }

    /// Waits until the guest is at a vector, and stops it there.
    pub(crate) fn pause_at_vector(&self) {
        let began = Instant::now();
        loop {
            self.machine.pause().expect("a guest that runs");
            let pc = self.machine.get(0, "pc").expect("paused");
            if (RAM_BASE..PAGE).contains(&pc) {
                return;
            }
            assert!(began.elapsed() < LIMIT, "no abort, the guest is at {pc:#x}");
            self.machine.resume().expect("paused");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
