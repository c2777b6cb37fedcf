//! Registers by the names that people use.

use seawall_kvm::RegId;

/// The register of an Arm name in lower case: `x0` to `x30`, `sp`, `pc`, `pstate`, `esr_el1` and the like.
pub(crate) fn register_by_name(name: &str) -> Option<RegId> {
    const NAMED: [RegId; 12] = [
        RegId::SP_EL0,
        RegId::PC,
        RegId::PSTATE,
        RegId::SP_EL1,
        RegId::ELR_EL1,
        RegId::SPSR_EL1,
        RegId::MPIDR_EL1,
        RegId::SCTLR_EL1,
        RegId::SCTLR2_EL1,
        RegId::ESR_EL1,
        RegId::FAR_EL1,
        RegId::VBAR_EL1,
    ];
    (0..=30)
        .filter_map(RegId::x)
        .chain(NAMED)
        .find(|register| register.name() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        assert_eq!(register_by_name("elr_el1"), Some(RegId::ELR_EL1));
        assert_eq!(register_by_name("x0"), RegId::x(0));
        assert_eq!(register_by_name("sp"), Some(RegId::SP_EL0));
        for name in ["x31", "x", "ESR_EL1", "", "w0", "x07"] {
            assert_eq!(register_by_name(name), None, "{name:?}");
        }
    }
}
