//! The FADT: no fixed hardware, and PSCI by HVC.
//!
//! Source: ACPI specification 6.5, section 5.2.9.

use super::table::{finish, header};

const REVISION: (u8, u8) = (6, 3);
const LEN: usize = 276;
/// Flags.
const LOW_POWER_S0_IDLE_CAPABLE: u32 = 1 << 21;
const HW_REDUCED_ACPI: u32 = 1 << 20;
/// ARM boot architecture flags.
const PSCI_COMPLIANT: u16 = 1 << 0;
const PSCI_USE_HVC: u16 = 1 << 1;

/// `dsdt` is the address of that table.
pub(super) fn fadt(dsdt: u64) -> Vec<u8> {
    let fields = header(*b"FACP", REVISION.0)
        .zeros_to(112)
        .u32(HW_REDUCED_ACPI | LOW_POWER_S0_IDLE_CAPABLE)
        .zeros_to(129)
        .u16(PSCI_COMPLIANT | PSCI_USE_HVC)
        .u8(REVISION.1)
        .zeros_to(140)
        .u64(dsdt)
        .zeros_to(LEN);
    finish(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn hardware_is_reduced_and_psci_is_by_hvc() {
        let fadt = fadt(0x1_2345_6780);
        assert_eq!((fadt.len(), field(&fadt, 4, 4)), (276, 276));
        assert_eq!((&fadt[..4], fadt[8], fadt[131]), (b"FACP".as_slice(), 6, 3));
        assert_eq!(field(&fadt, 112, 4), 0x0030_0000);
        assert_eq!(field(&fadt, 129, 2), 3);
        assert_eq!(field(&fadt, 140, 8), 0x1_2345_6780);
        let set = [36..112, 116..129, 132..140, 148..276];
        for other in set.into_iter().flatten() {
            assert_eq!(fadt[other], 0, "at {other}");
        }
    }
}
