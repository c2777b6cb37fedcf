//! What JavaScript decides and asks for, to Rust.

use napi::Status;
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use seawall_arm64::{AbortKind, FaultStatusCode, Gva, SynchronousErrorType};
use seawall_vmm::FallbackReason;
use seawall_vmm::sea::{AbortRequest, Decision, Fidelity};

use crate::esr::word;

/// A decision about a failure that waits, by the number of its event.
#[napi(object, object_to_js = false)]
pub struct NativeDecision {
    pub failure: u32,
    /// As [`from_number`] reads it.
    pub decision: f64,
}

/// Why there is no decision.
#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeFallbackReason {
    Threw,
    Rejected,
    Invalid,
}

impl From<NativeFallbackReason> for FallbackReason {
    fn from(reason: NativeFallbackReason) -> Self {
        match reason {
            NativeFallbackReason::Threw => Self::Threw,
            NativeFallbackReason::Rejected => Self::Rejected,
            NativeFallbackReason::Invalid => Self::Invalid,
        }
    }
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeAbortKind {
    Data,
    Instruction,
}

#[napi(string_enum = "kebab-case")]
#[derive(Debug)]
pub enum NativeErrorType {
    Uer,
    Uc,
    Ueo,
}

/// An abort asked for by hand. What is `null` is taken from the vCPU's last access.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct NativeAbortRequest {
    pub kind: NativeAbortKind,
    /// False: what the kernel writes by itself.
    pub restored: bool,
    pub fault_status: Option<u8>,
    pub far: Option<BigInt>,
    /// True: the address is not valid, whatever `far` says.
    pub far_invalid: bool,
    pub set: Option<NativeErrorType>,
    pub write: Option<bool>,
}

impl From<NativeAbortKind> for AbortKind {
    fn from(kind: NativeAbortKind) -> Self {
        match kind {
            NativeAbortKind::Data => Self::Data,
            NativeAbortKind::Instruction => Self::Instruction,
        }
    }
}

impl From<NativeAbortRequest> for AbortRequest {
    fn from(request: NativeAbortRequest) -> Self {
        let far = request.far.map(|far| Some(Gva::from_bits(word(&far))));
        Self {
            kind: request.kind.into(),
            fidelity: if request.restored {
                Fidelity::Restored
            } else {
                Fidelity::Kvm
            },
            fault_status: request.fault_status.map(FaultStatusCode::from_bits),
            far: if request.far_invalid { Some(None) } else { far },
            set: request.set.map(|set| match set {
                NativeErrorType::Uer => SynchronousErrorType::Recoverable,
                NativeErrorType::Uc => SynchronousErrorType::Uncontainable,
                NativeErrorType::Ueo => SynchronousErrorType::Restartable,
            }),
            write: request.write,
        }
    }
}

impl TryFrom<NativeDecision> for (u64, Decision) {
    type Error = napi::Error;

    fn try_from(NativeDecision { failure, decision }: NativeDecision) -> napi::Result<Self> {
        let wrong = || {
            let reason = format!("Expected the number of a decision but received {decision}");
            napi::Error::new(Status::InvalidArg, reason)
        };
        Ok((failure.into(), from_number(decision).ok_or_else(wrong)?))
    }
}

/// The actions and the kinds of abort, by the numbers that decisions are written with; `ts/decision.ts` has the same.
const ACTIONS: u64 = 8;

/// A decision in one number: that of its action, and 8 times what it needs, which is 0 where it needs nothing, and one more than
/// an ISS otherwise. Less than 0: there is none.
pub(crate) fn from_number(number: f64) -> Option<Decision> {
    if !(0.0..=MOST).contains(&number) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to 2^32 by now, and a fraction would be a defect"
    )]
    let number = number as u64;
    let detail = u32::try_from(number / ACTIONS).ok()?;
    match (number % ACTIONS, detail) {
        (0, 0) => Some(Decision::Inject(None)),
        (0, 1) => Some(Decision::Inject(Some(AbortKind::Data))),
        (0, 2) => Some(Decision::Inject(Some(AbortKind::Instruction))),
        (1, iss) => Some(Decision::InjectSError(iss.checked_sub(1))),
        (2, 0) => Some(Decision::Pause),
        (3, 0) => Some(Decision::Stop),
        (4, 0) => Some(Decision::Defer),
        (5, 0) => Some(Decision::Resume),
        _ => None,
    }
}

/// More than any decision: an ISS has 25 bits.
const MOST: f64 = 4_294_967_296.0;
