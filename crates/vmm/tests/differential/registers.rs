//! The registers a case sets, and the smallest set of bits that still fails.

use std::collections::BTreeMap;
use std::fmt;

use seawall_arm64::{AArch32Mode, Mode, Pstate};
use seawall_kvm::RegId;

use crate::host::Abilities;
use crate::random::Random;

/// Values for registers of a stopped vCPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers(BTreeMap<RegId, u64>);

/// M\[4:0\] of everything an arm64 guest is interrupted in: EL0t, EL1t, EL1h, and AArch32 User.
pub(crate) const MODES: [u64; 4] = [0x00, 0x04, 0x05, 0x10];

/// What an exception entry reads or writes; SCTLR2_EL1 comes with the CPUs that have it.
const ENTRY: [RegId; 8] = [
    RegId::PC,
    RegId::PSTATE,
    RegId::ELR_EL1,
    RegId::SPSR_EL1,
    RegId::SCTLR_EL1,
    RegId::ESR_EL1,
    RegId::FAR_EL1,
    RegId::VBAR_EL1,
];

impl Registers {
    /// An interrupted vCPU: what an entry reads and writes, and so many others that it must leave alone. PSTATE is any
    /// but for its mode.
    pub(crate) fn random(random: &mut Random, host: &Abilities, others: usize) -> Self {
        let mut untouched: Vec<RegId> = (0..=30).filter_map(RegId::x).collect();
        untouched.extend([RegId::SP_EL0, RegId::SP_EL1]);
        while untouched.len() > others {
            let one = random.pick(&untouched);
            untouched.retain(|register| *register != one);
        }
        let sctlr2 = host.has_sctlr2.then_some(RegId::SCTLR2_EL1);
        let mut registers: BTreeMap<RegId, u64> = untouched
            .into_iter()
            .chain(ENTRY)
            .chain(sctlr2)
            .map(|register| (register, random.value()))
            .collect();
        let mode = random.pick(&host.modes);
        registers
            .entry(RegId::PSTATE)
            .and_modify(|pstate| *pstate = *pstate & !0x1f | mode);
        Self(registers)
    }

    /// A vCPU in this mode, where everything that an entry reads or writes is 0.
    pub(crate) fn in_mode(mode: u64) -> Self {
        let mut registers = BTreeMap::from(ENTRY.map(|register| (register, 0)));
        registers.insert(RegId::PSTATE, mode);
        Self(registers)
    }

    pub(crate) fn get(&self, register: RegId) -> u64 {
        self.0.get(&register).copied().unwrap_or(0)
    }

    pub(crate) fn sets(&self, register: RegId) -> bool {
        self.0.contains_key(&register)
    }

    pub(crate) fn ids(&self) -> Vec<RegId> {
        self.0.keys().copied().collect()
    }

    /// What is to be written, in this order: PSTATE is last, because from then on, if it says AArch32, the kernel cuts PC
    /// and X0 to X14 to 32 bits.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (RegId, u64)> {
        let all = || self.0.iter().map(|(&register, &value)| (register, value));
        let is_pstate = |(register, _): &(RegId, u64)| *register == RegId::PSTATE;
        all()
            .filter(move |entry| !is_pstate(entry))
            .chain(all().filter(is_pstate))
    }

    /// The interrupted mode, for people.
    pub(crate) fn mode(&self) -> &'static str {
        match Pstate::from_bits(self.get(RegId::PSTATE)).mode() {
            Mode::El0t => "EL0t",
            Mode::El1t => "EL1t",
            Mode::El1h => "EL1h",
            Mode::AArch32(AArch32Mode::User) => "AArch32 EL0",
            _ => "another mode",
        }
    }

    /// The smallest case like this one that `fails` as well: whole registers become 0, then single bits.
    pub(crate) fn shrink(mut self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let registers = self.ids();
        loop {
            let before = self.clone();
            for &register in &registers {
                let single_bits = (0..64).map(|bit| 1 << bit);
                for bits in std::iter::once(u64::MAX).chain(single_bits) {
                    let mut smaller = self.clone();
                    let value = smaller.0.entry(register).or_default();
                    if *value & bits == 0 {
                        continue;
                    }
                    *value &= !bits;
                    if fails(&smaller) {
                        self = smaller;
                    }
                }
            }
            if self == before {
                return self;
            }
        }
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode())?;
        for (register, value) in self.0.iter().filter(|(_, value)| **value != 0) {
            write!(f, ", {register} {value:#x}")?;
        }
        f.write_str(", all else 0")
    }
}

fn any_host() -> Abilities {
    Abilities {
        modes: MODES.to_vec(),
        has_sctlr2: true,
    }
}

#[test]
fn a_failing_case_is_shrunk_to_what_makes_it_fail() {
    let fails = |registers: &Registers| {
        registers.get(RegId::SCTLR_EL1) & 1 << 23 != 0 && registers.get(RegId::PSTATE) & 0x5 == 0x5
    };
    let mut failing = Registers::random(&mut Random::new(1, 1), &any_host(), 4);
    failing
        .0
        .extend([(RegId::SCTLR_EL1, u64::MAX), (RegId::PSTATE, u64::MAX)]);
    assert_eq!(
        failing.shrink(fails).to_string(),
        "EL1h, pstate 0x5, sctlr_el1 0x800000, all else 0"
    );
}

#[test]
fn a_seed_repeats_its_cases() {
    let case = |seed, case| Registers::random(&mut Random::new(seed, case), &any_host(), 4);
    assert_eq!(case(7, 3), case(7, 3));
    assert_ne!(case(7, 3), case(7, 4));
    assert_ne!(case(7, 3), case(8, 3));
}
