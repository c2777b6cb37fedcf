//! What an injection is to leave behind in the guest's registers.

use seawall_arm64::{
    AbortKind, DataAbort, Esr, FarUpdate, FaultStatusCode, Gva, InstructionAbort, Pstate,
    SynchronousErrorType, Syndrome, SynthesizedAbort, kernel_injected_esr, synthesize_sea,
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
    /// The address of the access, where it is known.
    pub gva: Option<Gva>,
    /// What the guest's handler is to read.
    pub abort: SynthesizedAbort,
    /// Whether what the kernel leaves behind is to be replaced by `abort`.
    pub fidelity: Fidelity,
    /// Whether the vCPU's last exit was an access: then the kernel can inject, and knows the address.
    pub after_access: bool,
}

/// An abort that somebody asks for by hand. What is left open is taken from the vCPU's last access, if there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortRequest {
    /// Instruction fetch or data access.
    pub kind: AbortKind,
    /// How much of the syndrome the guest is to read.
    pub fidelity: Fidelity,
    /// DFSC or IFSC.
    pub fault_status: Option<FaultStatusCode>,
    /// The address for FAR_EL1; `Some(None)` says that it is not valid.
    pub far: Option<Option<Gva>>,
    /// The severity.
    pub set: Option<SynchronousErrorType>,
    /// Whether it was a write; of no use for an instruction abort.
    pub write: Option<bool>,
}

impl AbortRequest {
    /// An abort of a kind, with everything else left open.
    #[must_use]
    pub const fn of_kind(kind: AbortKind) -> Self {
        Self {
            kind,
            fidelity: Fidelity::Restored,
            fault_status: None,
            far: None,
            set: None,
            write: None,
        }
    }
}

/// The last access of a vCPU, as far as an abort depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its syndrome.
    pub esr: Esr,
    /// Its address, where it is known. The kernel may know it although we do not.
    pub gva: Option<Gva>,
}

/// ESR_EL1 of an external data abort from a lower exception level, with nothing else known.
pub const BARE_DATA_ABORT: Esr = Esr::from_bits(0x9200_0010);
/// FnV, SET, EA and the fault status: what data and instruction aborts have in common.
const COMMON_FIELDS: u32 = 0x1e3f;

/// Plans the injection of the abort of an access into a vCPU that it interrupted in `interrupted`.
#[must_use]
pub fn plan(access: Access, interrupted: Pstate, fidelity: Fidelity) -> InjectionPlan {
    let abort = match fidelity {
        Fidelity::Restored => synthesize_sea(access.esr, interrupted),
        Fidelity::Kvm => SynthesizedAbort {
            esr: kernel_injected_esr(kind(access.esr), interrupted),
            far: FarUpdate::Keep,
        },
    };
    InjectionPlan {
        gva: access.gva,
        abort,
        fidelity,
        after_access: true,
    }
}

/// Plans what somebody asked for by hand.
#[must_use]
pub fn plan_request(request: &AbortRequest, last: Option<Access>, interrupted: Pstate) -> InjectionPlan {
    let esr = requested_esr(request, last);
    let gva = match request.far {
        Some(far) => far,
        None => last.and_then(|access| access.gva),
    };
    let plan = plan(Access { esr, gva }, interrupted, request.fidelity);
    InjectionPlan {
        after_access: last.is_some(),
        abort: SynthesizedAbort {
            far: match request.far {
                Some(Some(far)) => FarUpdate::Write(far),
                Some(None) => FarUpdate::Zero,
                None => plan.abort.far,
            },
            ..plan.abort
        },
        ..plan
    }
}

fn requested_esr(request: &AbortRequest, last: Option<Access>) -> Esr {
    let esr = last.map_or(BARE_DATA_ABORT, |access| access.esr);
    let kept = if kind(esr) == request.kind {
        esr.iss()
    } else {
        esr.iss() & COMMON_FIELDS
    };
    let far_valid = request.far.map(|far| far.is_some());
    match request.kind {
        AbortKind::Data => {
            let mut abort = DataAbort::decode(kept);
            abort = request
                .fault_status
                .map_or(abort, |status| abort.with_fault_status(status));
            abort = request.set.map_or(abort, |set| abort.with_set(set));
            abort = far_valid.map_or(abort, |valid| abort.with_far_valid(valid));
            abort = request.write.map_or(abort, |write| abort.with_write(write));
            abort.esr(Pstate::from_bits(0))
        }
        AbortKind::Instruction => {
            let mut abort = InstructionAbort::decode(kept);
            abort = request
                .fault_status
                .map_or(abort, |status| abort.with_fault_status(status));
            abort = request.set.map_or(abort, |set| abort.with_set(set));
            abort = far_valid.map_or(abort, |valid| abort.with_far_valid(valid));
            abort.esr(Pstate::from_bits(0))
        }
    }
}

/// The kind of an abort; what is no abort becomes a data abort, which is what the kernel injects.
fn kind(esr: Esr) -> AbortKind {
    Syndrome::decode(esr)
        .abort()
        .map_or(AbortKind::Data, |abort| abort.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EL1H: Pstate = Pstate::from_bits(0x3c5);
    const EL0T: Pstate = Pstate::from_bits(0);

    const fn access(esr: u64) -> Access {
        Access {
            esr: Esr::from_bits(esr),
            gva: None,
        }
    }

    #[test]
    fn injected_abort_keeps_fnv_and_set() {
        let plan = plan(access(0x9200_0610), EL1H, Fidelity::Restored);
        assert_eq!(plan.abort.esr.bits(), 0x9600_0610);
        assert_eq!(
            plan.abort.far,
            FarUpdate::Zero,
            "an address that is not valid is not handed on"
        );
    }

    #[test]
    fn an_instruction_abort_stays_one() {
        let plan = plan(access(0x8200_0010), EL0T, Fidelity::Restored);
        assert_eq!(plan.abort.esr.bits(), 0x8200_0010);
    }

    #[test]
    fn the_kernels_own_fidelity_is_a_bare_data_abort() {
        let plan = plan(access(0x9200_0610), EL1H, Fidelity::Kvm);
        assert_eq!(
            (plan.abort.esr.bits(), plan.abort.far),
            (0x9600_0010, FarUpdate::Keep)
        );
    }

    #[test]
    fn what_is_left_open_comes_from_the_last_access() {
        let last = Some(access(0x9200_1e50));
        let plan = plan_request(&AbortRequest::of_kind(AbortKind::Data), last, EL1H);
        assert_eq!(
            (plan.abort.esr.bits(), plan.abort.far),
            (0x9600_1e50, FarUpdate::Zero)
        );
        let plan = plan_request(&AbortRequest::of_kind(AbortKind::Instruction), last, EL1H);
        assert_eq!(plan.abort.esr.bits(), 0x8600_1e10, "a fetch is no write");
    }

    #[test]
    fn what_is_asked_for_replaces_what_was() {
        let wanted = AbortRequest {
            fault_status: Some(FaultStatusCode::from_bits(0x16)),
            far: Some(Some(Gva::from_bits(0x1234))),
            set: Some(SynchronousErrorType::Restartable),
            write: Some(false),
            ..AbortRequest::of_kind(AbortKind::Data)
        };
        let plan = plan_request(&wanted, Some(access(0x9200_0450)), EL0T);
        assert_eq!(plan.abort.esr.bits(), 0x9200_1816);
        assert_eq!(plan.abort.far, FarUpdate::Write(Gva::from_bits(0x1234)));
        let unknown = AbortRequest {
            far: Some(None),
            ..AbortRequest::of_kind(AbortKind::Data)
        };
        let plan = plan_request(&unknown, Some(access(0x9200_0010)), EL0T);
        assert_eq!(
            (plan.abort.esr.bits(), plan.abort.far),
            (0x9200_0410, FarUpdate::Zero)
        );
    }

    #[test]
    fn without_an_access_the_kernel_is_not_asked() {
        assert!(!plan_request(&AbortRequest::of_kind(AbortKind::Data), None, EL0T).after_access);
        assert!(
            plan_request(
                &AbortRequest::of_kind(AbortKind::Data),
                Some(access(0x9200_0010)),
                EL0T
            )
            .after_access
        );
    }
}
