//! What an injection is to leave behind in the guest's registers.

use seawall_arm64::{
    AbortKind, Esr, FarUpdate, Gva, Pstate, Syndrome, SynthesizedAbort, kernel_injected_esr, synthesize_sea,
};

/// How much of the syndrome the guest is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fidelity {
    /// What the processor reported: FnV, SET, EA, WnR, CM and the level of a table walk.
    #[default]
    Restored,
    /// What the kernel writes by itself: the class and a bare external abort.
    Kvm,
}

/// An abort to inject: what ESR_EL1 and FAR_EL1 must hold afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectionPlan {
    /// The kind of abort; the kernel injects data aborts only, the rest is made of registers.
    pub kind: AbortKind,
    /// The address of the access, where it is known.
    pub gva: Option<Gva>,
    /// What the guest's handler is to read.
    pub abort: SynthesizedAbort,
    /// Whether what the kernel leaves behind is to be replaced by `abort`.
    pub fidelity: Fidelity,
}

/// Plans the injection of an abort the kernel reported as `exit_esr` into a vCPU it interrupted in `interrupted`.
#[must_use]
pub fn plan(exit_esr: Esr, gva: Option<Gva>, interrupted: Pstate, fidelity: Fidelity) -> InjectionPlan {
    let kind = Syndrome::decode(exit_esr)
        .abort()
        .map_or(AbortKind::Data, |abort| abort.kind);
    let abort = match fidelity {
        Fidelity::Restored => synthesize_sea(exit_esr, interrupted),
        Fidelity::Kvm => SynthesizedAbort {
            esr: kernel_injected_esr(AbortKind::Data, interrupted),
            far: FarUpdate::Keep,
        },
    };
    InjectionPlan {
        kind,
        gva,
        abort,
        fidelity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EL1H: Pstate = Pstate::from_bits(0x3c5);
    const EL0T: Pstate = Pstate::from_bits(0);

    #[test]
    fn injected_abort_keeps_fnv_and_set() {
        let plan = plan(Esr::from_bits(0x9200_0610), None, EL1H, Fidelity::Restored);
        assert_eq!(plan.abort.esr.bits(), 0x9600_0610);
        assert_eq!(
            plan.abort.far,
            FarUpdate::Zero,
            "an address that is not valid is not handed on"
        );
    }

    #[test]
    fn an_instruction_abort_stays_one() {
        let plan = plan(Esr::from_bits(0x8200_0010), None, EL0T, Fidelity::Restored);
        assert_eq!(
            (plan.kind, plan.abort.esr.bits()),
            (AbortKind::Instruction, 0x8200_0010)
        );
    }

    #[test]
    fn the_kernels_own_fidelity_is_a_bare_data_abort() {
        let plan = plan(Esr::from_bits(0x9200_0610), None, EL1H, Fidelity::Kvm);
        assert_eq!(
            (plan.abort.esr.bits(), plan.abort.far),
            (0x9600_0010, FarUpdate::Keep)
        );
    }
}
