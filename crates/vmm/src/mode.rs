//! The modes that a guest of ours runs in: EL0 and EL1 in AArch64 state, and EL0 in AArch32 state.

use std::fmt;

use seawall_arm64::{AArch32Mode, ExceptionLevel, Mode, Pstate};

/// A mode that no guest of ours can be in. No exception entry of ours is right there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsupportedMode(Mode);

/// Lets through the process state of a guest that we support.
pub(crate) const fn check(pstate: Pstate) -> Result<(), UnsupportedMode> {
    match pstate.mode() {
        Mode::El0t | Mode::El1t | Mode::El1h | Mode::AArch32(AArch32Mode::User) => Ok(()),
        mode @ (Mode::El2t
        | Mode::El2h
        | Mode::El3t
        | Mode::El3h
        | Mode::Reserved(_)
        | Mode::AArch32(
            AArch32Mode::Fiq
            | AArch32Mode::Irq
            | AArch32Mode::Supervisor
            | AArch32Mode::Monitor
            | AArch32Mode::Abort
            | AArch32Mode::Hyp
            | AArch32Mode::Undefined
            | AArch32Mode::System
            | AArch32Mode::Reserved(_),
        )) => Err(UnsupportedMode(mode)),
    }
}

impl fmt::Display for UnsupportedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.0.exception_level() {
            None => "the architecture reserves it",
            Some(ExceptionLevel::El3) => "no guest has EL3",
            Some(ExceptionLevel::El2) => "no guest has EL2: nested virtualisation is not supported",
            Some(ExceptionLevel::El0 | ExceptionLevel::El1) => "AArch32 is supported at EL0 alone",
        };
        write!(f, "{} ({:#07b}): {why}", self.0.name(), self.0.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_of_all_modes_are_a_guests() {
        let allowed: Vec<u64> = (0..32)
            .filter(|mode| check(Pstate::from_bits(0xf000_03c0 | mode)).is_ok())
            .collect();
        assert_eq!(allowed, [0b00000, 0b00100, 0b00101, 0b10000]);
    }

    #[test]
    fn a_refusal_says_which_mode_and_why() {
        let refusal = |pstate| check(Pstate::from_bits(pstate)).map_err(|mode| mode.to_string());
        for (pstate, expected) in [
            (
                0x3c9,
                "EL2h (0b01001): no guest has EL2: nested virtualisation is not supported",
            ),
            (0x1d3, "AArch32 svc (0b10011): AArch32 is supported at EL0 alone"),
            (0x3cd, "EL3h (0b01101): no guest has EL3"),
            (0x001, "reserved mode (0b00001): the architecture reserves it"),
        ] {
            assert_eq!(refusal(pstate), Err(expected.to_owned()));
        }
    }
}
