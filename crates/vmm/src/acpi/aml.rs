//! The few words of AML that the DSDT is made of.
//!
//! Source: ACPI specification 6.5, chapter 20 (AML) and section 6.4 (resource data types).

use crate::little_endian::LittleEndian;

/// A name of four characters.
pub(super) type NameSegment = [u8; 4];

/// `Scope (\SEGM) { … }`.
pub(super) fn scope(segment: NameSegment, terms: &[Vec<u8>]) -> Vec<u8> {
    package(&[0x10], &[b"\\", segment.as_slice(), &terms.concat()].concat())
}

/// `Device (SEGM) { … }`.
pub(super) fn device(segment: NameSegment, terms: &[Vec<u8>]) -> Vec<u8> {
    package(&[0x5b, 0x82], &[segment.as_slice(), &terms.concat()].concat())
}

/// `Method (SEGM, arguments, Serialized) { … }`.
pub(super) fn serialized_method(segment: NameSegment, arguments: u8, terms: &[Vec<u8>]) -> Vec<u8> {
    const SERIALIZED: u8 = 1 << 3;
    let flags = arguments & 7 | SERIALIZED;
    package(&[0x14], &[segment.as_slice(), &[flags], &terms.concat()].concat())
}

/// `Notify (\SEGM.SEGM, value)`.
pub(super) fn notify(path: [NameSegment; 2], value: u8) -> Vec<u8> {
    let path = path.concat();
    [&[0x86, b'\\', 0x2e], path.as_slice(), &integer(value.into())].concat()
}

/// `Name (SEGM, object)`.
pub(super) fn name(segment: NameSegment, object: &[u8]) -> Vec<u8> {
    [&[0x08], segment.as_slice(), object].concat()
}

/// A string; it has no NUL in it.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&[0x0d], text.as_bytes(), &[0]].concat()
}

/// An integer, as short as it can be said.
pub(super) fn integer(value: u32) -> Vec<u8> {
    let bytes = value.to_le_bytes();
    match value {
        0 | 1 => bytes[..1].to_vec(),
        2..=0xff => [&[0x0a], &bytes[..1]].concat(),
        0x100..=0xffff => [&[0x0b], &bytes[..2]].concat(),
        _ => [&[0x0c], bytes.as_slice()].concat(),
    }
}

/// `EisaId ("PNPxxxx")`: three letters of five bits each, and the number, in the order of a big-endian machine.
pub(super) fn pnp_id(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![0x0c, 0x41, 0xd0, high, low]
}

/// `ResourceTemplate () { … }`: a buffer that ends with a tag of checksum 0, which is none.
pub(super) fn resource_template(resources: &[Vec<u8>]) -> Vec<u8> {
    let bytes = [&resources.concat(), [0x79, 0].as_slice()].concat();
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    package(&[0x11], &[integer(len), bytes].concat())
}

/// `Memory32Fixed (ReadWrite, base, len)`.
pub(super) fn memory32_fixed(base: u32, len: u32) -> Vec<u8> {
    const READ_WRITE: u8 = 1;
    LittleEndian::default()
        .u8(0x86)
        .u16(9)
        .u8(READ_WRITE)
        .u32(base)
        .u32(len)
        .into_bytes()
}

/// `Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { gsi }`.
pub(super) fn edge_interrupt(gsi: u32) -> Vec<u8> {
    const CONSUMER: u8 = 1 << 0;
    const EDGE: u8 = 1 << 1;
    LittleEndian::default()
        .u8(0x89)
        .u16(6)
        .u8(CONSUMER | EDGE)
        .u8(1)
        .u32(gsi)
        .into_bytes()
}

/// An object with its length.
fn package(opcode: &[u8], contents: &[u8]) -> Vec<u8> {
    [opcode, &package_length(contents.len()), contents].concat()
}

/// The length of an object's contents and of itself: 6 bits in one byte, or 4 bits in the first byte and 8 in each of up to
/// three more. An object of 256 MiB or more has none; the largest is that of 512 CPUs.
fn package_length(contents: usize) -> Vec<u8> {
    let len = contents + 1;
    if len < 1 << 6 {
        return len.to_le_bytes()[..1].to_vec();
    }
    let following = (1..3).find(|bytes| len + bytes < 1 << (4 + 8 * bytes));
    let following = following.unwrap_or(3);
    let len = len + following;
    let rest = (len >> 4).to_le_bytes();
    let lead = following.to_le_bytes()[0] << 6 | len.to_le_bytes()[0] & 0xf;
    [&[lead], &rest[..following]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 20.2.4, read backwards.
    fn decode(bytes: &[u8]) -> (usize, usize) {
        let following = usize::from(bytes[0] >> 6);
        let len = if following == 0 {
            usize::from(bytes[0] & 0x3f)
        } else {
            let rest = bytes[1..=following].iter().rev();
            let rest = rest.fold(0, |value, byte| value << 8 | usize::from(*byte));
            assert_eq!(bytes[0] & 0x30, 0, "reserved bits");
            rest << 4 | usize::from(bytes[0] & 0xf)
        };
        (1 + following, len)
    }

    #[test]
    fn a_length_counts_itself_and_is_as_short_as_it_can_be() {
        for (contents, bytes) in [
            (0, 1),
            (62, 1),
            (63, 2),
            (4093, 2),
            (4094, 3),
            (0xf_fffc, 3),
            (0xf_fffd, 4),
            (0xfff_fffb, 4),
        ] {
            let encoded = package_length(contents);
            assert_eq!(encoded.len(), bytes, "{contents}");
            assert_eq!(decode(&encoded), (bytes, contents + bytes), "{contents}");
        }
        for contents in 0..70_000 {
            let encoded = package_length(contents);
            assert_eq!(decode(&encoded), (encoded.len(), contents + encoded.len()));
        }
    }

    #[test]
    fn integers_are_as_short_as_they_can_be() {
        for (value, bytes) in [
            (0, vec![0x00]),
            (1, vec![0x01]),
            (2, vec![0x0a, 2]),
            (0xff, vec![0x0a, 0xff]),
            (0x100, vec![0x0b, 0, 1]),
            (0xffff, vec![0x0b, 0xff, 0xff]),
            (0x1_0000, vec![0x0c, 0, 0, 1, 0]),
        ] {
            assert_eq!(integer(value), bytes);
        }
    }

    #[test]
    fn an_eisa_identifier_is_compressed_as_the_specification_says() {
        // 19.3.4, EISAID: five bits of each letter, and the digits, swapped to big endian.
        let letters = b"PNP".map(|letter| u32::from(letter - 0x40));
        let value = letters[0] << 26 | letters[1] << 21 | letters[2] << 16 | 0x0c33;
        assert_eq!(pnp_id(0x0c33), [&[0x0c], value.to_be_bytes().as_slice()].concat());
    }
}
