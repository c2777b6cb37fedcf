//! A scripted vCPU: what KVM does to registers, without a processor.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use seawall_arm64::{
    AbortKind, EntryState, Exception, ExceptionEntry, Gpa, Gva, Pstate, SError, Syndrome, take_exception,
};
use seawall_kvm::{Errno, KickTarget, KvmError, PowerState, RegId, SeaExit, VcpuEntry, VcpuEvents, VcpuExit};

use crate::backend::{Kicker, VcpuBackend};
use crate::memory_layout::SERIAL_BASE;
use crate::options::VmOptions;
use crate::simulated::kick::SimulatedKick;
use crate::simulated::quarantine::SimulatedQuarantine;
use crate::simulated::script::{AbortStep, Piece, Step, template};

/// The values registers have after `KVM_ARM_VCPU_INIT` where they matter: SCTLR_EL1, and EL1h with all masked.
const SCTLR_EL1_RESET: u64 = 0x00c5_0078;
const PSTATE_RESET: u64 = 0x3c5;
/// ESR_ELx.FnV.
const FNV: u64 = 1 << 10;
/// ISS.IDS of an SError: the rest of the syndrome is implementation defined. What KVM injects by itself.
const SERROR_IDS: u32 = 1 << 24;
/// DFSC and IFSC.
const FAULT_STATUS: u64 = 0x3f;

/// A vCPU that follows a script.
#[derive(Debug)]
pub(crate) struct SimulatedVcpu {
    index: u32,
    steps: VecDeque<Step>,
    registers: BTreeMap<RegId, u64>,
    console: VecDeque<u8>,
    kick: Arc<SimulatedKick>,
    sea_to_user: bool,
    nisv_to_user: bool,
    quarantine: SimulatedQuarantine,
    /// The SError that waits for the guest to unmask it.
    serror: Option<SError>,
    /// The abort that the last exit reported and that nothing was done about yet.
    unresolved: Option<AbortStep>,
    /// FAR_EL2 of the last abort.
    far: Gva,
    /// What the next `KVM_SET_VCPU_EVENTS` fails with.
    refused_injection: Option<Errno>,
    /// What every `KVM_SET_ONE_REG` of a register fails with.
    refused_registers: BTreeMap<RegId, Errno>,
}

/// What `KVM_ARM_VCPU_INIT` leaves. The affinity is the one KVM gives: 16 vCPUs at level 0, then 256 at each further level.
fn registers_at_reset(index: u32) -> BTreeMap<RegId, u64> {
    let index = u64::from(index);
    let mpidr = 1 << 31 | (index >> 12 & 0xff) << 16 | (index >> 4 & 0xff) << 8 | index & 0xf;
    BTreeMap::from([
        (RegId::SCTLR_EL1, SCTLR_EL1_RESET),
        (RegId::PSTATE, PSTATE_RESET),
        (RegId::MPIDR_EL1, mpidr),
    ])
}

impl SimulatedVcpu {
    pub(crate) fn new(
        index: u32,
        steps: Vec<Step>,
        options: &VmOptions,
        quarantine: SimulatedQuarantine,
    ) -> Self {
        Self {
            index,
            steps: steps.into(),
            registers: registers_at_reset(index),
            console: VecDeque::new(),
            kick: Arc::default(),
            sea_to_user: options.arm_sea_to_user,
            nisv_to_user: options.arm_nisv_to_user,
            quarantine,
            serror: None,
            unresolved: None,
            far: Gva::from_bits(0),
            refused_injection: None,
            refused_registers: BTreeMap::new(),
        }
    }

    fn get(&self, register: RegId) -> u64 {
        self.registers.get(&register).copied().unwrap_or(0)
    }

    fn set(&mut self, register: RegId, value: u64) {
        self.registers.insert(register, value);
    }

    /// The processor has no FEAT_SCTLR2, unless the script wrote the register.
    fn check_exists(&self, register: RegId, syscall: &'static str) -> Result<(), KvmError> {
        if register == RegId::SCTLR2_EL1 && !self.registers.contains_key(&register) {
            let errno = Errno::NO_ENTRY;
            return Err(KvmError::Register {
                syscall,
                register,
                errno,
            });
        }
        Ok(())
    }

    /// The guest gets to an instruction that aborts.
    fn reach(&mut self, abort: &AbortStep) {
        self.set(RegId::PC, abort.pc.bits());
        self.set(RegId::PSTATE, abort.pstate.bits());
        self.far = abort.far;
    }

    fn abort(&mut self, abort: AbortStep) -> VcpuExit {
        self.reach(&abort);
        self.unresolved = Some(abort);
        if let Some(signal) = self.quarantine.signal(abort.gpa) {
            return VcpuExit::MemoryErrorSignal(signal);
        }
        if self.sea_to_user {
            let gva = (abort.esr.bits() & FNV == 0).then_some(abort.far);
            return VcpuExit::ArmSea(SeaExit {
                esr: abort.esr,
                gva,
                gpa: abort.gpa,
            });
        }
        // Without the capability KVM makes an SError of it. Masked, it stays pending, and the access runs again for ever.
        self.pend_serror(SError::decode(SERROR_IDS));
        if self.serror.is_some() {
            self.kick.wait();
        }
        VcpuExit::Interrupted
    }

    /// What KVM's exception entry does. The interrupted access never completes.
    fn enter(&mut self, exception: Exception) {
        self.unresolved = None;
        let state = EntryState {
            pc: Gva::from_bits(self.get(RegId::PC)),
            pstate: Pstate::from_bits(self.get(RegId::PSTATE)),
            vbar_el1: Gva::from_bits(self.get(RegId::VBAR_EL1)),
            sctlr_el1: self.get(RegId::SCTLR_EL1),
            sctlr2_el1: self.registers.get(&RegId::SCTLR2_EL1).copied(),
            mte: false,
        };
        let ExceptionEntry {
            pc,
            pstate,
            elr_el1,
            spsr_el1,
            esr_el1,
            far_el1,
            ..
        } = take_exception(&state, exception);
        self.set(RegId::PC, pc.bits());
        self.set(RegId::PSTATE, pstate.bits());
        self.set(RegId::ELR_EL1, elr_el1.bits());
        self.set(RegId::SPSR_EL1, spsr_el1.bits());
        self.set(RegId::ESR_EL1, esr_el1.bits());
        if let Some(far) = far_el1 {
            self.set(RegId::FAR_EL1, far.bits());
        }
    }

    /// An abort without an exit. The kernel writes a bare one; after a walk it says the level.
    fn abort_by_kernel(&mut self, abort: &AbortStep) {
        self.reach(abort);
        let Some(found) = Syndrome::decode(abort.esr).abort() else {
            return;
        };
        self.enter(Exception::ExternalAbort {
            kind: found.kind,
            far: abort.far,
        });
        let bare = self.get(RegId::ESR_EL1) & !FAULT_STATUS;
        self.set(RegId::ESR_EL1, bare | abort.esr.bits() & FAULT_STATUS);
    }

    /// Makes an SError pending, which the guest takes once it is not masked.
    fn pend_serror(&mut self, serror: SError) {
        self.serror = Some(serror);
        self.take_serror();
    }

    /// Takes the SError that waits, if it may.
    fn take_serror(&mut self) {
        if !Pstate::from_bits(self.get(RegId::PSTATE)).serror_masked()
            && let Some(serror) = self.serror.take()
        {
            self.enter(Exception::SError(serror));
        }
    }

    fn render(&self, text: &str) -> Vec<u8> {
        let mut rendered = String::new();
        // Checked when the script was made.
        for piece in template(text).unwrap_or_default() {
            match piece {
                Piece::Literal(literal) => rendered.push_str(literal),
                Piece::Register(register) => rendered.push_str(&format!("{:#018x}", self.get(register))),
            }
        }
        rendered.into_bytes()
    }
}

impl VcpuBackend for SimulatedVcpu {
    fn run(&mut self, entry: VcpuEntry) -> Result<VcpuExit, KvmError> {
        if let VcpuEntry::MmioRead(data) = entry {
            self.registers
                .insert(RegId::x(0).unwrap_or(RegId::PC), u64::from_le_bytes(data));
        }
        loop {
            if self.kick.take() {
                return Ok(VcpuExit::Interrupted);
            }
            if let Some(byte) = self.console.pop_front() {
                let data = [byte, 0, 0, 0, 0, 0, 0, 0];
                return Ok(VcpuExit::MmioWrite {
                    gpa: Gpa::from_bits(SERIAL_BASE),
                    data,
                    len: 1,
                });
            }
            self.take_serror();
            if let Some(abort) = self.unresolved
                && self.get(RegId::PC) == abort.pc.bits()
            {
                // Nothing was done about the abort, so the access runs again: it aborts again, or finds good memory now.
                if !self.quarantine.is_replaced(abort.gpa) {
                    return Ok(self.abort(abort));
                }
                self.set(RegId::PC, abort.pc.bits().wrapping_add(4));
            }
            self.unresolved = None;
            let Some(step) = self.steps.pop_front() else {
                self.kick.wait();
                continue;
            };
            match step {
                Step::Sea(abort) => match self.abort(abort) {
                    VcpuExit::Interrupted => {}
                    exit => return Ok(exit),
                },
                Step::KernelAbort(abort) => self.abort_by_kernel(&abort),
                Step::Print(text) => self.console = self.render(&text).into(),
                Step::MmioRead { gpa, len } => {
                    self.far = Gva::from_bits(gpa.bits());
                    return Ok(VcpuExit::MmioRead { gpa, len });
                }
                Step::MmioWrite { gpa, data } => {
                    self.far = Gva::from_bits(gpa.bits());
                    let mut bytes = [0; 8];
                    bytes[..data.len()].copy_from_slice(&data);
                    let len = u8::try_from(data.len()).unwrap_or(8);
                    return Ok(VcpuExit::MmioWrite {
                        gpa,
                        data: bytes,
                        len,
                    });
                }
                Step::Nisv { gpa, esr_iss } => {
                    self.far = Gva::from_bits(gpa.bits());
                    if !self.nisv_to_user {
                        return Err(KvmError::Syscall {
                            syscall: "KVM_RUN",
                            errno: Errno::NOT_IMPLEMENTED,
                        });
                    }
                    return Ok(VcpuExit::Nisv { esr_iss, gpa });
                }
                Step::SetRegister { register, value } => self.set(register, value),
                Step::RefuseInjection { errno } => self.refused_injection = Some(errno),
                Step::RefuseRegister { register, errno } => {
                    self.refused_registers.insert(register, errno);
                }
                Step::SystemEvent(kind) => return Ok(VcpuExit::SystemEvent { kind, flags: Some(0) }),
                Step::Run { time } => {
                    let left = self.kick.wait_until(Instant::now() + time);
                    if !left.is_zero() {
                        self.steps.push_front(Step::Run { time: left });
                    }
                }
                Step::Spin => {
                    self.steps.push_front(Step::Spin);
                    self.kick.wait();
                }
                Step::Exit { reason } => {
                    return Ok(VcpuExit::Unknown {
                        reason,
                        payload: [0; 4],
                    });
                }
                Step::Fail { errno } => {
                    return Err(KvmError::Syscall {
                        syscall: "KVM_RUN",
                        errno,
                    });
                }
            }
        }
    }

    fn get_register(&mut self, register: RegId) -> Result<u64, KvmError> {
        self.check_exists(register, "KVM_GET_ONE_REG")?;
        Ok(self.get(register))
    }

    fn set_register(&mut self, register: RegId, value: u64) -> Result<(), KvmError> {
        self.check_exists(register, "KVM_SET_ONE_REG")?;
        if let Some(errno) = self.refused_registers.get(&register) {
            return Err(KvmError::Register {
                syscall: "KVM_SET_ONE_REG",
                register,
                errno: *errno,
            });
        }
        self.set(register, value);
        Ok(())
    }

    /// A script has no CPU_ON: it says itself when its vCPU does something.
    fn reset(&mut self, _: PowerState) -> Result<(), KvmError> {
        self.registers = registers_at_reset(self.index);
        self.serror = None;
        self.unresolved = None;
        self.console.clear();
        Ok(())
    }

    fn set_events(&mut self, events: VcpuEvents) -> Result<(), KvmError> {
        if let Some(errno) = self.refused_injection.take() {
            return Err(KvmError::Syscall {
                syscall: "KVM_SET_VCPU_EVENTS",
                errno,
            });
        }
        if self.unresolved.is_some_and(|abort| abort.ignores_injection) {
            return Ok(());
        }
        match events {
            VcpuEvents::ExternalDataAbort => {
                self.enter(Exception::ExternalAbort {
                    kind: AbortKind::Data,
                    far: self.far,
                });
            }
            VcpuEvents::SError { iss } => {
                self.pend_serror(SError::decode(iss.unwrap_or(SERROR_IDS)));
            }
        }
        Ok(())
    }

    fn kicker(&self) -> Arc<dyn Kicker> {
        Arc::clone(&self.kick) as Arc<dyn Kicker>
    }

    fn enter_thread(&mut self) -> Result<Option<KickTarget>, KvmError> {
        Ok(None)
    }
}
