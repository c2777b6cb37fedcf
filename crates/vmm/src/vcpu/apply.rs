//! Carrying out an injection on a vCPU, and looking whether it happened.
//!
//! The kernel does the exception entry (vector, PSTATE, ELR, SPSR) when it injects a data abort, and drops most of the
//! syndrome: ESR_EL1 and FAR_EL1 are written again with what the processor reported. But it may do nothing and say success,
//! after an abort on a stage-1 table walk; before Linux 6.17 it writes the syndrome at once and moves PC at the next
//! `KVM_RUN`. Where PC has not moved, a sentinel in ESR_EL1 tells the two apart: where it stays, the whole entry is made of
//! register writes, from the registers that the access was interrupted with.
//!
//! Each call costs as much as a seventh of the shortest way through the kernel, so that there are few.

use seawall_arm64::{
    AbortKind, EntryState, Esr, Exception, ExceptionEntry, FarUpdate, Gva, Pstate, take_exception,
};
use seawall_kvm::{Errno, KvmError, RegId, VcpuEvents};

use crate::backend::VcpuBackend;
use crate::error::InjectionError;
use crate::event::{Injection, InjectionMethod};
use crate::mode;
use crate::sea::{Consumer, Fidelity, InjectionPlan};

/// A value that no processor and no kernel writes to ESR_EL1: bits 63:56 are reserved.
const SENTINEL: u64 = 0xa5a5_5ea1_5ea1_5ea1;

/// Reads the registers that an exception would interrupt.
pub(super) fn interrupted(vcpu: &mut dyn VcpuBackend) -> Result<Consumer, KvmError> {
    Ok(Consumer {
        pc: Gva::from_bits(vcpu.get_register(RegId::PC)?),
        pstate: Pstate::from_bits(vcpu.get_register(RegId::PSTATE)?),
    })
}

/// Injects an abort as planned into a vCPU with these registers. Never loses one in silence: what did not happen is in the
/// answer.
pub(crate) fn inject(vcpu: &mut dyn VcpuBackend, plan: &InjectionPlan, interrupted: Consumer) -> Injection {
    match try_inject(vcpu, plan, interrupted) {
        Ok((method, esr)) => Injection {
            method,
            esr: Some(esr),
            error: None,
        },
        Err((method, error)) => Injection {
            method,
            esr: None,
            error: Some(error),
        },
    }
}

/// Injects an SError. The guest takes it at once, or when it unmasks it.
pub(crate) fn inject_serror(vcpu: &mut dyn VcpuBackend, iss: Option<u32>) -> Injection {
    let injected = vcpu
        .get_register(RegId::PSTATE)
        .map_err(InjectionError::from)
        .and_then(|pstate| supported_mode(Pstate::from_bits(pstate)))
        .and_then(|()| Ok(vcpu.set_events(VcpuEvents::SError { iss })?));
    Injection {
        method: InjectionMethod::SError,
        esr: None,
        error: injected.err(),
    }
}

/// Refuses what would compute nonsense: the kernel's exception entry from such a mode is another one.
fn supported_mode(pstate: Pstate) -> Result<(), InjectionError> {
    mode::check(pstate).map_err(InjectionError::Mode)
}

/// ESR_ELx.FnV: FAR_ELx is not valid (Arm ARM, ESR_ELx, ISS encoding of aborts).
const FNV: u64 = 1 << 10;

type Failed = (InjectionMethod, InjectionError);

fn try_inject(
    vcpu: &mut dyn VcpuBackend,
    plan: &InjectionPlan,
    interrupted: Consumer,
) -> Result<(InjectionMethod, Esr), Failed> {
    supported_mode(interrupted.pstate).map_err(|error| (InjectionMethod::Registers, error))?;
    // Else the address the kernel would use is that of some access before.
    let by_events = |error: KvmError| (InjectionMethod::VcpuEvents, InjectionError::from(error));
    if !plan.after_access || !enter_by_events(vcpu, interrupted.pc).map_err(by_events)? {
        return enter_by_registers(vcpu, plan, interrupted)
            .map_err(|error| (InjectionMethod::Registers, error));
    }
    let entered = |error| (InjectionMethod::VcpuEventsAndRegisters, error);
    let found = vcpu
        .get_register(RegId::ESR_EL1)
        .map_err(|error| entered(error.into()))?;
    finish_by_registers(vcpu, plan, Esr::from_bits(found)).map_err(|error| {
        // The abort was taken, so its handler reads at least what the kernel wrote.
        drop(vcpu.set_register(RegId::ESR_EL1, found));
        entered(error)
    })
}

/// Has the kernel inject a data abort, and looks whether it did. Where that cannot be read nobody knows, and a second abort
/// must not follow.
fn enter_by_events(vcpu: &mut dyn VcpuBackend, pc: Gva) -> Result<bool, KvmError> {
    if !may_be_vector(pc) {
        if vcpu.set_events(VcpuEvents::ExternalDataAbort).is_err() {
            return Ok(false);
        }
        if vcpu.get_register(RegId::PC)? != pc.bits() {
            return Ok(true);
        }
        // Nothing happened, or it happens at the next KVM_RUN, as before Linux 6.17. To ask again changes neither.
    }
    // An access at the vector that the abort goes to, such as of a lost stack, leaves PC where it is too.
    let saved = vcpu.get_register(RegId::ESR_EL1)?;
    vcpu.set_register(RegId::ESR_EL1, SENTINEL)?;
    let found = match vcpu.set_events(VcpuEvents::ExternalDataAbort) {
        Ok(()) => vcpu.get_register(RegId::ESR_EL1),
        Err(_) => Ok(SENTINEL),
    };
    if found.as_ref().is_ok_and(|found| *found != SENTINEL) {
        return Ok(true);
    }
    // The guest must not see the sentinel, whatever happens next.
    vcpu.set_register(RegId::ESR_EL1, saved)?;
    found.map(|_| false)
}

/// Whether a vector table can have an entry here: the table is aligned to 2 KiB, and each entry has 128 bytes (Arm ARM
/// D1.4.1.5).
const fn may_be_vector(pc: Gva) -> bool {
    pc.bits().is_multiple_of(128)
}

/// Replaces the bare syndrome the kernel wrote by the one the processor reported.
fn finish_by_registers(
    vcpu: &mut dyn VcpuBackend,
    plan: &InjectionPlan,
    found: Esr,
) -> Result<(InjectionMethod, Esr), InjectionError> {
    let as_kernel = plan.fidelity == Fidelity::Kvm && plan.abort.far == FarUpdate::Keep;
    let complete = found == plan.abort.esr && plan.abort.far == FarUpdate::Keep;
    if complete || (as_kernel && found.exception_class() == plan.abort.esr.exception_class()) {
        return Ok((InjectionMethod::VcpuEvents, found));
    }
    vcpu.set_register(RegId::ESR_EL1, plan.abort.esr.bits())?;
    match plan.abort.far {
        FarUpdate::Keep => {}
        FarUpdate::Zero => vcpu.set_register(RegId::FAR_EL1, 0)?,
        FarUpdate::Write(far) => vcpu.set_register(RegId::FAR_EL1, far.bits())?,
    }
    verify(vcpu, plan.abort.esr)?;
    Ok((InjectionMethod::VcpuEventsAndRegisters, plan.abort.esr))
}

/// Takes the exception by register writes alone.
fn enter_by_registers(
    vcpu: &mut dyn VcpuBackend,
    plan: &InjectionPlan,
    interrupted: Consumer,
) -> Result<(InjectionMethod, Esr), InjectionError> {
    let state = EntryState {
        pc: interrupted.pc,
        pstate: interrupted.pstate,
        vbar_el1: Gva::from_bits(vcpu.get_register(RegId::VBAR_EL1)?),
        sctlr_el1: vcpu.get_register(RegId::SCTLR_EL1)?,
        sctlr2_el1: optional(vcpu.get_register(RegId::SCTLR2_EL1))?,
        // No virtual machine of ours enables KVM_CAP_ARM_MTE.
        mte: false,
    };
    let exception = Exception::ExternalAbort {
        kind: AbortKind::Data,
        far: plan.gva.unwrap_or(Gva::from_bits(0)),
    };
    let mut entry = take_exception(&state, exception).with_abort(plan.abort);
    if plan.gva.is_none() {
        // Only the kernel knows the address. What is not known must not be trusted.
        entry.esr_el1 = Esr::from_bits(entry.esr_el1.bits() | FNV);
    }
    // A way that fails leaves the guest as it was.
    let mut replaced = Vec::new();
    let entered = write_entry(vcpu, &entry, &mut replaced);
    if entered.is_err() {
        for (register, value) in replaced.into_iter().rev() {
            drop(vcpu.set_register(register, value));
        }
    }
    entered.map(|()| (InjectionMethod::Registers, entry.esr_el1))
}

/// Writes the registers of an exception entry, and keeps what was in them in `replaced`.
fn write_entry(
    vcpu: &mut dyn VcpuBackend,
    entry: &ExceptionEntry,
    replaced: &mut Vec<(RegId, u64)>,
) -> Result<(), InjectionError> {
    // PSTATE first: while it says AArch32, the kernel cuts PC and X0 to X14 to 32 bits on every write of a core register.
    for (register, value) in [
        (RegId::PSTATE, entry.pstate.bits()),
        (RegId::ELR_EL1, entry.elr_el1.bits()),
        (RegId::SPSR_EL1, entry.spsr_el1.bits()),
        (RegId::PC, entry.pc.bits()),
        (RegId::ESR_EL1, entry.esr_el1.bits()),
        (RegId::FAR_EL1, entry.far_el1.map_or(0, Gva::bits)),
    ] {
        replaced.push((register, vcpu.get_register(register)?));
        vcpu.set_register(register, value)?;
    }
    verify(vcpu, entry.esr_el1)
}

fn verify(vcpu: &mut dyn VcpuBackend, expected: Esr) -> Result<(), InjectionError> {
    let found = vcpu.get_register(RegId::ESR_EL1)?;
    if found == expected.bits() {
        Ok(())
    } else {
        Err(InjectionError::NotObserved {
            expected: expected.bits(),
            found,
        })
    }
}

/// A register that a processor may not have.
fn optional(value: Result<u64, KvmError>) -> Result<Option<u64>, KvmError> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(KvmError::Register {
            errno: Errno::NO_ENTRY,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
