//! Register ids of `KVM_GET_ONE_REG` and `KVM_SET_ONE_REG`, typed.

use core::fmt;

/// The id of one register of an arm64 vCPU, as `KVM_GET_ONE_REG` takes it. Those that have a name have 64 bits.
///
/// Source: `arch/arm64/include/uapi/asm/kvm.h` of Linux 7.3, "KVM_REG_ARM*".
///
/// ```
/// use seawall_kvm::RegId;
/// assert_eq!(RegId::ESR_EL1.bits(), 0x6030_0000_0013_c290);
/// assert_eq!(RegId::x(30).map(RegId::bits), Some(0x6030_0000_0010_003c));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegId(u64);

/// `KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE`; the low bits are `offsetof(struct kvm_regs) / 4`.
const CORE_U64: u64 = 0x6030_0000_0010_0000;
/// `KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG`.
const SYSREG_U64: u64 = 0x6030_0000_0013_0000;

const fn core(index: u64) -> RegId {
    RegId(CORE_U64 | index)
}

const fn sysreg(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> RegId {
    RegId(SYSREG_U64 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2)
}

impl RegId {
    /// SP_EL0.
    pub const SP_EL0: Self = core(0x3e);
    /// The program counter.
    pub const PC: Self = core(0x40);
    /// PSTATE, in SPSR format.
    pub const PSTATE: Self = core(0x42);
    /// SP_EL1.
    pub const SP_EL1: Self = core(0x44);
    /// ELR_EL1. It has no ONE_REG access under its system register encoding.
    pub const ELR_EL1: Self = core(0x46);
    /// SPSR_EL1. It has no ONE_REG access under its system register encoding.
    pub const SPSR_EL1: Self = core(0x48);
    /// MPIDR_EL1 (op0 3, op1 0, CRn 0, CRm 0, op2 5).
    pub const MPIDR_EL1: Self = sysreg(3, 0, 0, 0, 5);
    /// SCTLR_EL1 (3, 0, 1, 0, 0).
    pub const SCTLR_EL1: Self = sysreg(3, 0, 1, 0, 0);
    /// SCTLR2_EL1 (3, 0, 1, 0, 3); absent (`ENOENT`) where ID_AA64MMFR3_EL1.SCTLRX is 0.
    pub const SCTLR2_EL1: Self = sysreg(3, 0, 1, 0, 3);
    /// TTBR0_EL1 (3, 0, 2, 0, 0).
    pub const TTBR0_EL1: Self = sysreg(3, 0, 2, 0, 0);
    /// TTBR1_EL1 (3, 0, 2, 0, 1).
    pub const TTBR1_EL1: Self = sysreg(3, 0, 2, 0, 1);
    /// TCR_EL1 (3, 0, 2, 0, 2).
    pub const TCR_EL1: Self = sysreg(3, 0, 2, 0, 2);
    /// ESR_EL1 (3, 0, 5, 2, 0).
    pub const ESR_EL1: Self = sysreg(3, 0, 5, 2, 0);
    /// FAR_EL1 (3, 0, 6, 0, 0).
    pub const FAR_EL1: Self = sysreg(3, 0, 6, 0, 0);
    /// VBAR_EL1 (3, 0, 12, 0, 0).
    pub const VBAR_EL1: Self = sysreg(3, 0, 12, 0, 0);

    /// General-purpose register X0 to X30; `None` beyond.
    #[must_use]
    pub const fn x(number: u8) -> Option<Self> {
        // A cast, because `u64::from` is not const in this Rust version.
        if number <= 30 {
            Some(core(number as u64 * 2))
        } else {
            None
        }
    }

    /// Makes an id of the number the kernel uses.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The number the kernel uses.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The size of the register in bytes, a power of two: `KVM_REG_SIZE`, bits 55:52.
    ///
    /// ```
    /// use seawall_kvm::RegId;
    /// assert_eq!(RegId::PC.size(), 8);
    /// assert_eq!(RegId::from_bits(0x6040_0000_0010_0054).size(), 16, "V0");
    /// ```
    #[must_use]
    pub const fn size(self) -> usize {
        1 << (self.0 >> 52 & 0xf)
    }

    /// The register of an Arm name in lower case: `x0` to `x30`, `sp`, `pc`, `pstate`, `esr_el1` and the like.
    ///
    /// ```
    /// use seawall_kvm::RegId;
    /// assert_eq!(RegId::by_name("elr_el1"), Some(RegId::ELR_EL1));
    /// assert_eq!(RegId::by_name("x31"), None);
    /// ```
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        const NAMED: [RegId; 15] = [
            RegId::SP_EL0,
            RegId::PC,
            RegId::PSTATE,
            RegId::SP_EL1,
            RegId::ELR_EL1,
            RegId::SPSR_EL1,
            RegId::MPIDR_EL1,
            RegId::SCTLR_EL1,
            RegId::SCTLR2_EL1,
            RegId::TTBR0_EL1,
            RegId::TTBR1_EL1,
            RegId::TCR_EL1,
            RegId::ESR_EL1,
            RegId::FAR_EL1,
            RegId::VBAR_EL1,
        ];
        (0..=30)
            .filter_map(Self::x)
            .chain(NAMED)
            .find(|register| register.name() == Some(name))
    }

    /// The Arm name of the register in lower case, where this crate knows it.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        const X: [&str; 31] = [
            "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
            "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",
            "x29", "x30",
        ];
        Some(match self {
            Self::SP_EL0 => "sp",
            Self::PC => "pc",
            Self::PSTATE => "pstate",
            Self::SP_EL1 => "sp_el1",
            Self::ELR_EL1 => "elr_el1",
            Self::SPSR_EL1 => "spsr_el1",
            Self::MPIDR_EL1 => "mpidr_el1",
            Self::SCTLR_EL1 => "sctlr_el1",
            Self::SCTLR2_EL1 => "sctlr2_el1",
            Self::TTBR0_EL1 => "ttbr0_el1",
            Self::TTBR1_EL1 => "ttbr1_el1",
            Self::TCR_EL1 => "tcr_el1",
            Self::ESR_EL1 => "esr_el1",
            Self::FAR_EL1 => "far_el1",
            Self::VBAR_EL1 => "vbar_el1",
            Self(bits) if bits & !0x3f == CORE_U64 && bits & 1 == 0 && bits & 0x3f <= 60 => {
                X[(bits & 0x3f) as usize / 2]
            }
            Self(_) => return None,
        })
    }
}

impl fmt::Display for RegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "register {:#018x}", self.0),
        }
    }
}

impl fmt::Debug for RegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_the_kernel_prints() {
        let expected = [
            (RegId::SP_EL0, 0x6030_0000_0010_003e),
            (RegId::PC, 0x6030_0000_0010_0040),
            (RegId::PSTATE, 0x6030_0000_0010_0042),
            (RegId::SP_EL1, 0x6030_0000_0010_0044),
            (RegId::ELR_EL1, 0x6030_0000_0010_0046),
            (RegId::SPSR_EL1, 0x6030_0000_0010_0048),
            (RegId::MPIDR_EL1, 0x6030_0000_0013_c005),
            (RegId::SCTLR_EL1, 0x6030_0000_0013_c080),
            (RegId::SCTLR2_EL1, 0x6030_0000_0013_c083),
            (RegId::TTBR0_EL1, 0x6030_0000_0013_c100),
            (RegId::TTBR1_EL1, 0x6030_0000_0013_c101),
            (RegId::TCR_EL1, 0x6030_0000_0013_c102),
            (RegId::ESR_EL1, 0x6030_0000_0013_c290),
            (RegId::FAR_EL1, 0x6030_0000_0013_c300),
            (RegId::VBAR_EL1, 0x6030_0000_0013_c600),
        ];
        for (id, bits) in expected {
            assert_eq!(id.bits(), bits, "{id}");
        }
    }

    #[test]
    fn general_purpose_registers_are_x0_to_x30() {
        for number in 0..=30 {
            let id = RegId::x(number).expect("X0 to X30 exist");
            assert_eq!(id.bits(), 0x6030_0000_0010_0000 + 2 * u64::from(number));
            assert_eq!(id.name(), Some(format!("x{number}").as_str()));
        }
        assert_eq!(RegId::x(31), None);
    }

    #[test]
    fn names_are_exact() {
        assert_eq!(RegId::by_name("sp"), Some(RegId::SP_EL0));
        for name in ["x31", "x", "ESR_EL1", "", "w0", "x07"] {
            assert_eq!(RegId::by_name(name), None, "{name:?}");
        }
    }

    #[test]
    fn an_unknown_id_is_shown_as_its_number() {
        assert_eq!(
            RegId::from_bits(0x6030_0000_0014_0000).to_string(),
            "register 0x6030000000140000"
        );
    }
}
