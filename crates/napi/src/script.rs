//! A simulated guest's script, from JavaScript.

use std::time::Duration;

use napi::bindgen_prelude::{BigInt, Uint8Array};
use napi_derive::napi;
use seawall_arm64::{Esr, Gpa, Gva, Pstate};
use seawall_kvm::{Errno, RegId};
use seawall_vmm::{AbortStep, Script, Step, SystemEventKind};

use crate::error::NativeError;
use crate::esr::word;

/// One step of a simulated vCPU.
#[napi(
    discriminant = "step",
    discriminant_case = "kebab-case",
    object_to_js = false,
    use_nullable = true
)]
pub enum NativeStep {
    Sea {
        esr: BigInt,
        far: BigInt,
        gpa: Option<BigInt>,
        pc: BigInt,
        pstate: BigInt,
        ignores_injection: bool,
    },
    KernelAbort {
        esr: BigInt,
        far: BigInt,
        pc: BigInt,
        pstate: BigInt,
    },
    Print {
        text: String,
    },
    MmioRead {
        gpa: BigInt,
        size: u8,
    },
    MmioWrite {
        gpa: BigInt,
        data: Uint8Array,
    },
    Nisv {
        gpa: BigInt,
        iss: BigInt,
    },
    SetRegister {
        name: String,
        value: BigInt,
    },
    RefuseInjection {
        errno: i32,
    },
    RefuseRegister {
        name: String,
        errno: i32,
    },
    Shutdown,
    Reset,
    Crash,
    Run {
        us: u32,
    },
    Spin,
    Exit {
        reason: u32,
    },
    Fail {
        errno: i32,
    },
}

fn gpa(value: &BigInt) -> Gpa {
    Gpa::from_bits(word(value))
}

fn register(name: &str) -> Result<RegId, NativeError> {
    RegId::by_name(name).ok_or_else(|| {
        NativeError::invalid_option(format!(
            "Expected the name of an arm64 register but received {name:?}"
        ))
    })
}

fn step(step: NativeStep) -> Result<Step, NativeError> {
    Ok(match step {
        NativeStep::Sea {
            esr,
            far,
            gpa: page,
            pc,
            pstate,
            ignores_injection,
        } => Step::Sea(AbortStep {
            esr: Esr::from_bits(word(&esr)),
            far: Gva::from_bits(word(&far)),
            gpa: page.as_ref().map(gpa),
            pc: Gva::from_bits(word(&pc)),
            pstate: Pstate::from_bits(word(&pstate)),
            ignores_injection,
        }),
        NativeStep::KernelAbort { esr, far, pc, pstate } => Step::KernelAbort(AbortStep {
            esr: Esr::from_bits(word(&esr)),
            far: Gva::from_bits(word(&far)),
            gpa: None,
            pc: Gva::from_bits(word(&pc)),
            pstate: Pstate::from_bits(word(&pstate)),
            ignores_injection: false,
        }),
        NativeStep::Print { text } => Step::Print(text),
        NativeStep::MmioRead { gpa: address, size } => Step::MmioRead {
            gpa: gpa(&address),
            len: size,
        },
        NativeStep::MmioWrite { gpa: address, data } => Step::MmioWrite {
            gpa: gpa(&address),
            data: data.to_vec(),
        },
        NativeStep::Nisv { gpa: address, iss } => Step::Nisv {
            gpa: gpa(&address),
            esr_iss: word(&iss),
        },
        NativeStep::SetRegister { name, value } => Step::SetRegister {
            register: register(&name)?,
            value: word(&value),
        },
        NativeStep::RefuseInjection { errno } => Step::RefuseInjection { errno: Errno(errno) },
        NativeStep::RefuseRegister { name, errno } => Step::RefuseRegister {
            register: register(&name)?,
            errno: Errno(errno),
        },
        NativeStep::Shutdown => Step::SystemEvent(SystemEventKind::Shutdown),
        NativeStep::Reset => Step::SystemEvent(SystemEventKind::Reset),
        NativeStep::Crash => Step::SystemEvent(SystemEventKind::Crash),
        NativeStep::Run { us } => Step::Run {
            time: Duration::from_micros(us.into()),
        },
        NativeStep::Spin => Step::Spin,
        NativeStep::Exit { reason } => Step::Exit { reason },
        NativeStep::Fail { errno } => Step::Fail { errno: Errno(errno) },
    })
}

pub(crate) fn script(vcpus: Vec<Vec<NativeStep>>) -> Result<Script, NativeError> {
    let steps = vcpus
        .into_iter()
        .map(|steps| steps.into_iter().map(step).collect())
        .collect::<Result<_, _>>()?;
    Script::new(steps).map_err(|error| NativeError::invalid_option(error.to_string()))
}
