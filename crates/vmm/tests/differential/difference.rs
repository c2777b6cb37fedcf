//! Where our registers are not what they should be, and the smallest case in which they are not.

use std::collections::BTreeMap;
use std::fmt;

use seawall_kvm::RegId;

use crate::registers::Registers;

/// Registers and what is in them.
pub(crate) type Snapshot = BTreeMap<RegId, u128>;

/// A register that we left different.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) register: RegId,
    /// What the kernel left, with what we restore on purpose.
    expected: u128,
    ours: u128,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            register,
            expected,
            ours,
        } = self;
        write!(f, "{register}: expected {expected:#x}, ours {ours:#x}")
    }
}

/// The differences between what is expected and what we left in the same registers.
pub(crate) fn differences(expected: Snapshot, ours: Snapshot) -> Vec<Difference> {
    assert!(expected.keys().eq(ours.keys()), "the same registers");
    expected
        .into_iter()
        .zip(ours.into_values())
        .map(|((register, expected), ours)| Difference {
            register,
            expected,
            ours,
        })
        .filter(|difference| difference.expected != difference.ours)
        .collect()
}

/// Fails with what was seen in a case, and with the smallest case like it. `case` names it so that it can be repeated.
pub(crate) fn fail(
    case: &str,
    registers: &Registers,
    seen: &[Difference],
    mut differences: impl FnMut(&Registers) -> Vec<Difference>,
) -> ! {
    let mut attempts = 0;
    let smallest = registers.clone().shrink(|registers| {
        attempts += 1;
        !differences(registers).is_empty()
    });
    let left = differences(&smallest);
    panic!(
        "{case}:\n  {registers}\n  {}\nafter {attempts} attempts to shrink it:\n  {smallest}\n  {}",
        list(seen),
        list(&left)
    );
}

/// Differences for people, a line each.
pub(crate) fn list(differences: &[Difference]) -> String {
    let lines: Vec<String> = differences.iter().map(Difference::to_string).collect();
    lines.join("\n  ")
}
