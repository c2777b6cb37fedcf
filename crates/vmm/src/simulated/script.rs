//! What a simulated guest does, step by step.

use std::time::Duration;

use seawall_arm64::{Esr, Gpa, Gva, Pstate};
use seawall_kvm::{Errno, RegId, SystemEventKind};

/// The steps of each vCPU, by index. A vCPU without steps stays off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    vcpus: Vec<Vec<Step>>,
}

/// One thing a simulated guest does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Consumes a memory error.
    Sea(AbortStep),
    /// Takes an abort that the kernel injects by itself, without an exit: a fetch from an address without memory, or a walk
    /// through a table there.
    KernelAbort(AbortStep),
    /// Writes text to the console, byte by byte; `{esr_el1}` and the like stand for register values in hexadecimal.
    Print(String),
    /// Loads from an address without memory.
    MmioRead {
        /// The address.
        gpa: Gpa,
        /// The size in bytes: 1, 2, 4 or 8.
        len: u8,
    },
    /// Stores to an address without memory.
    MmioWrite {
        /// The address.
        gpa: Gpa,
        /// The bytes, 1, 2, 4 or 8.
        data: Vec<u8>,
    },
    /// Accesses an address without memory by an instruction that reports no syndrome.
    Nisv {
        /// The address.
        gpa: Gpa,
        /// ISS bits CM, WnR and FSC.
        esr_iss: u64,
    },
    /// Writes a register of its own.
    SetRegister {
        /// Which.
        register: RegId,
        /// The value.
        value: u64,
    },
    /// The kernel refuses the next injection: `KVM_SET_VCPU_EVENTS` fails.
    RefuseInjection {
        /// With this.
        errno: Errno,
    },
    /// The kernel refuses to write a register from here on: `KVM_SET_ONE_REG` of it fails.
    RefuseRegister {
        /// Which.
        register: RegId,
        /// With this.
        errno: Errno,
    },
    /// Asks for a system event by PSCI.
    SystemEvent(SystemEventKind),
    /// Runs for a time, without an exit.
    Run {
        /// For how long.
        time: Duration,
    },
    /// Runs for ever: only a stop ends it.
    Spin,
    /// Leaves the guest for a reason of any number.
    Exit {
        /// `kvm_run.exit_reason`.
        reason: u32,
    },
    /// `KVM_RUN` fails.
    Fail {
        /// With this.
        errno: Errno,
    },
}

/// A memory error that a simulated guest consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortStep {
    /// `arm_sea.esr`.
    pub esr: Esr,
    /// FAR_EL2: the address of the access. The exit reports it only where ESR.FnV is clear.
    pub far: Gva,
    /// The page, where the exit is to report it.
    pub gpa: Option<Gpa>,
    /// The instruction that consumes the error.
    pub pc: Gva,
    /// The state it runs in.
    pub pstate: Pstate,
    /// The kernel accepts the injection and does nothing, as it may after an abort on a stage-1 table walk.
    pub ignores_injection: bool,
}

/// A script that cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A `{name}` in a text is no register.
    #[error("Expected the name of an arm64 register in braces but received {{{name}}}")]
    UnknownRegister {
        /// What stands in the braces.
        name: String,
    },
    /// A brace without its partner.
    #[error("Expected a closing brace in the text {text:?}")]
    UnclosedBrace {
        /// The text.
        text: String,
    },
    /// An access of a size no instruction has.
    #[error("Expected 1, 2, 4 or 8 bytes for the size of an access but received {received}")]
    AccessSize {
        /// The size.
        received: usize,
    },
}

impl Script {
    /// Makes a script of each vCPU's steps.
    ///
    /// # Errors
    /// [`ScriptError`] where a step cannot be played.
    pub fn new(vcpus: Vec<Vec<Step>>) -> Result<Self, ScriptError> {
        for step in vcpus.iter().flatten() {
            match step {
                Step::Print(text) => drop(template(text)?),
                Step::MmioRead { len, .. } => access_size(usize::from(*len))?,
                Step::MmioWrite { data, .. } => access_size(data.len())?,
                Step::Sea(_)
                | Step::KernelAbort(_)
                | Step::Nisv { .. }
                | Step::SetRegister { .. }
                | Step::RefuseInjection { .. }
                | Step::RefuseRegister { .. }
                | Step::SystemEvent(_)
                | Step::Run { .. }
                | Step::Spin
                | Step::Exit { .. }
                | Step::Fail { .. } => {}
            }
        }
        Ok(Self { vcpus })
    }

    /// How many vCPUs have steps.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.vcpus.len()
    }

    /// Whether no vCPU has steps.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.vcpus.is_empty()
    }

    pub(crate) fn vcpu(&self, index: u32) -> Vec<Step> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.vcpus.get(index))
            .cloned()
            .unwrap_or_default()
    }
}

fn access_size(received: usize) -> Result<(), ScriptError> {
    if matches!(received, 1 | 2 | 4 | 8) {
        Ok(())
    } else {
        Err(ScriptError::AccessSize { received })
    }
}

/// A piece of a text to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    Register(RegId),
}

/// Splits a text into what is printed as it is and what stands for a register.
pub(super) fn template(text: &str) -> Result<Vec<Piece<'_>>, ScriptError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, next) = after.split_once('}').ok_or_else(|| ScriptError::UnclosedBrace {
            text: text.to_owned(),
        })?;
        let register = RegId::by_name(name).ok_or_else(|| ScriptError::UnknownRegister {
            name: name.to_owned(),
        })?;
        pieces.push(Piece::Literal(before));
        pieces.push(Piece::Register(register));
        rest = next;
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_literals_and_registers() {
        assert_eq!(
            template("esr={esr_el1} x30={x30}\n").expect("valid"),
            [
                Piece::Literal("esr="),
                Piece::Register(RegId::ESR_EL1),
                Piece::Literal(" x30="),
                Piece::Register(RegId::x(30).expect("exists")),
                Piece::Literal("\n"),
            ]
        );
    }

    #[test]
    fn a_script_that_cannot_be_played_is_refused() {
        let gpa = Gpa::from_bits(0);
        for (step, message) in [
            (
                Step::Print("{x31}".into()),
                "Expected the name of an arm64 register in braces but received {x31}",
            ),
            (
                Step::Print("{pc".into()),
                "Expected a closing brace in the text \"{pc\"",
            ),
            (
                Step::MmioRead { gpa, len: 3 },
                "Expected 1, 2, 4 or 8 bytes for the size of an access but received 3",
            ),
            (
                Step::MmioWrite { gpa, data: vec![] },
                "Expected 1, 2, 4 or 8 bytes for the size of an access but received 0",
            ),
        ] {
            let error = Script::new(vec![vec![step]]).expect_err("refused");
            assert_eq!(error.to_string(), message);
        }
    }
}
