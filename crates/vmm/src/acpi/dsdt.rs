//! The DSDT: the devices that a guest does not find by itself.
//!
//! Source: ACPI specification 6.5, sections 5.6.9.3 (GED), 8.4 (processor devices) and 18.3.2.7.2 (the error device, HED).

use super::aml::{
    device, edge_interrupt, integer, memory32_fixed, name, notify, pnp_id, resource_template, scope,
    serialized_method, string,
};
use super::table::{finish, header};
use crate::memory_layout::{FIRST_SPI, GHES_SPI, SERIAL_BASE, SERIAL_SIZE, SERIAL_SPI};

/// The root of all devices.
const SYSTEM_BUS: [u8; 4] = *b"_SB_";
/// The device that stands for all error sources which are told by an interrupt.
const ERROR_DEVICE: [u8; 4] = *b"HED0";
/// What its driver is told: an error was reported (18.3.2.7.2).
const HARDWARE_ERROR: u8 = 0x80;

const _: () = assert!(SERIAL_BASE + SERIAL_SIZE <= 1 << 32, "Memory32Fixed");

/// `cpus` is how many there are; each is known by its number, as in the MADT.
pub(super) fn dsdt(cpus: u32) -> Vec<u8> {
    let mut devices = vec![serial(), error_device(), event_device()];
    devices.extend((0..cpus).map(processor));
    finish(header(*b"DSDT", 2).bytes(&scope(SYSTEM_BUS, &devices)))
}

/// The 16550, with the interrupt that it has in the device tree.
fn serial() -> Vec<u8> {
    let low = |address: u64| u32::try_from(address).unwrap_or(u32::MAX);
    let resources = [
        memory32_fixed(low(SERIAL_BASE), low(SERIAL_SIZE)),
        edge_interrupt(FIRST_SPI + SERIAL_SPI),
    ];
    device(
        *b"COM0",
        &[
            name(*b"_HID", &pnp_id(0x0501)),
            name(*b"_UID", &integer(0)),
            name(*b"_CRS", &resource_template(&resources)),
        ],
    )
}

fn error_device() -> Vec<u8> {
    device(
        ERROR_DEVICE,
        &[name(*b"_HID", &pnp_id(0x0c33)), name(*b"_UID", &integer(0))],
    )
}

/// Turns the interrupt of the error sources into a notification of the error device.
fn event_device() -> Vec<u8> {
    let resources = [edge_interrupt(FIRST_SPI + GHES_SPI)];
    device(
        *b"GED0",
        &[
            name(*b"_HID", &string("ACPI0013")),
            name(*b"_UID", &integer(0)),
            name(*b"_CRS", &resource_template(&resources)),
            serialized_method(*b"_EVT", 1, &[notify([SYSTEM_BUS, ERROR_DEVICE], HARDWARE_ERROR)]),
        ],
    )
}

/// `C000` to `C1FF`.
fn processor(number: u32) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |shift: u32| DIGITS[(number >> shift & 0xf) as usize];
    device(
        [b'C', digit(8), digit(4), digit(0)],
        &[
            name(*b"_HID", &string("ACPI0007")),
            name(*b"_UID", &integer(number)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_devices_of_one_cpu_are_these_bytes() {
        let expected: Vec<&[u8]> = vec![
            // Scope (\_SB), 182 bytes.
            b"\x10\x46\x0b\\_SB_",
            b"\x5b\x82\x35COM0",
            b"\x08_HID\x0c\x41\xd0\x05\x01",
            b"\x08_UID\x00",
            // Memory32Fixed (ReadWrite, 0x40002000, 0x1000), Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {33}.
            b"\x08_CRS\x11\x1a\x0a\x17",
            b"\x86\x09\x00\x01\x00\x20\x00\x40\x00\x10\x00\x00",
            b"\x89\x06\x00\x03\x01\x21\x00\x00\x00\x79\x00",
            b"\x5b\x82\x15HED0",
            b"\x08_HID\x0c\x41\xd0\x0c\x33",
            b"\x08_UID\x00",
            b"\x5b\x82\x43\x04GED0",
            b"\x08_HID\x0dACPI0013\x00",
            b"\x08_UID\x00",
            // Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) {34}.
            b"\x08_CRS\x11\x0e\x0a\x0b",
            b"\x89\x06\x00\x03\x01\x22\x00\x00\x00\x79\x00",
            // Method (_EVT, 1, Serialized) { Notify (\_SB.HED0, 0x80) }.
            b"\x14\x13_EVT\x09\x86\\\x2e_SB_HED0\x0a\x80",
            b"\x5b\x82\x1aC000",
            b"\x08_HID\x0dACPI0007\x00",
            b"\x08_UID\x00",
        ];
        assert_eq!(&dsdt(1)[36..], expected.concat());
    }

    #[test]
    fn every_cpu_is_a_device_of_its_own_name_and_number() {
        for (number, text, uid) in [
            (0x00f, b"C00F", vec![0x0a, 0x0f]),
            (0x0ff, b"C0FF", vec![0x0a, 0xff]),
            (0x1ff, b"C1FF", vec![0x0b, 0xff, 0x01]),
        ] {
            let device = processor(number);
            assert_eq!(&device[3..7], text);
            assert!(device.ends_with(&uid), "{device:x?}");
        }
    }
}
