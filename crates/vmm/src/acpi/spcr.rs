//! The SPCR: which port the console is.
//!
//! Source: Microsoft, Serial Port Console Redirection Table, revision 2.

use super::table::{AccessWidth, finish, header, register};
use crate::memory_layout::{FIRST_SPI, SERIAL_BASE, SERIAL_SPI};

const FULL_16550: u8 = 0;
const GIC_INTERRUPT: u8 = 1 << 3;
const BAUD_115200: u8 = 7;
const ONE_STOP_BIT: u8 = 1;
/// The port is no PCI device.
const NO_PCI_ID: u16 = 0xffff;

pub(super) fn spcr() -> Vec<u8> {
    let fields = header(*b"SPCR", 2)
        .u8(FULL_16550)
        .zeros_to(40)
        .bytes(&register(AccessWidth::Byte, SERIAL_BASE))
        .u8(GIC_INTERRUPT)
        .u8(0)
        .u32(FIRST_SPI + SERIAL_SPI)
        .u8(BAUD_115200)
        .u8(0)
        .u8(ONE_STOP_BIT)
        .zeros_to(64)
        .u16(NO_PCI_ID)
        .u16(NO_PCI_ID)
        .zeros_to(80);
    finish(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::field;

    #[test]
    fn the_console_is_the_16550() {
        let spcr = spcr();
        assert_eq!((spcr.len(), &spcr[..4], spcr[8]), (80, b"SPCR".as_slice(), 2));
        assert_eq!(field(&spcr, 36, 4), 0, "16550");
        assert_eq!(&spcr[40..44], [0, 8, 0, 1], "bytes of memory");
        assert_eq!(field(&spcr, 44, 8), 0x4000_2000);
        assert_eq!((spcr[52], spcr[53]), (8, 0), "an interrupt of the GIC");
        assert_eq!(field(&spcr, 54, 4), 33);
        assert_eq!(spcr[58..64], [7, 0, 1, 0, 0, 0]);
        assert_eq!(field(&spcr, 64, 4), 0xffff_ffff, "no PCI device");
        assert!(spcr[68..].iter().all(|byte| *byte == 0));
    }
}
