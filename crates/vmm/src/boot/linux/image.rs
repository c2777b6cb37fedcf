//! The arm64 kernel Image: its header, and everything that people mistake for one.
//!
//! Source: Documentation/arch/arm64/booting.rst of Linux 7.3, "Call the kernel image"; Documentation/arch/x86/boot.rst, "The
//! real-mode kernel header"; drivers/firmware/efi/libstub/zboot-header.S; PE/COFF specification; RFC 1952, "File format".

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::GzDecoder;

use crate::boot::BootError;

/// The size of the header in bytes.
const HEADER: usize = 64;
/// ID1 and ID2 of a gzip member.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// `ARM\x64` at byte 56.
const MAGIC: u32 = 0x644d_5241;
/// Where a kernel without an image size lies: those before Linux 3.17 say nothing else.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;
/// A kernel lies at its text offset from a multiple of this.
pub(super) const ALIGNMENT: u64 = 2 << 20;

/// A kernel that can be placed.
#[derive(Debug)]
pub(super) struct KernelImage {
    pub(super) bytes: Vec<u8>,
    /// From a multiple of [`ALIGNMENT`] to its first byte.
    pub(super) text_offset: u64,
    /// What it needs from its first byte on, with what it clears by itself.
    pub(super) size: u64,
}

impl KernelImage {
    /// Reads the header of a file, after unpacking it where it is gzip. No kernel of more than `limit` bytes is unpacked.
    pub(super) fn parse(file: Vec<u8>, limit: u64) -> Result<Self, BootError> {
        let bytes = match unpack(&file, limit)? {
            Cow::Borrowed(_) => file,
            Cow::Owned(unpacked) => unpacked,
        };
        if let Some(found) = other_than_image(&bytes) {
            return Err(BootError::NotAKernel { found });
        }
        let image_size = u64_at(&bytes, 16);
        let (text_offset, size) = if image_size == 0 {
            (OLD_TEXT_OFFSET, bytes.len() as u64)
        } else {
            (u64_at(&bytes, 8), image_size.max(bytes.len() as u64))
        };
        if !text_offset.is_multiple_of(4096) || text_offset >= ALIGNMENT {
            return Err(BootError::TextOffset { text_offset });
        }
        let expected = end_of_sections(&bytes);
        // One that is larger than memory was not read to its end, and does not fit.
        if (bytes.len() as u64) < expected.min(limit) {
            return Err(BootError::TruncatedKernel {
                expected,
                received: bytes.len() as u64,
            });
        }
        Ok(Self {
            bytes,
            text_offset,
            size,
        })
    }
}

/// Unpacks every member of a gzip file, up to a byte more than `limit`. Zeroes may follow, as where it fills a partition.
fn unpack(file: &[u8], limit: u64) -> Result<Cow<'_, [u8]>, BootError> {
    if !file.starts_with(GZIP) {
        return Ok(Cow::Borrowed(file));
    }
    let broken = |message| BootError::BrokenGzip { message };
    let mut unpacked = Vec::new();
    let mut rest = file;
    while rest.starts_with(GZIP) {
        let mut member = GzDecoder::new(rest);
        let room = limit.saturating_add(1) - unpacked.len() as u64;
        member
            .by_ref()
            .take(room)
            .read_to_end(&mut unpacked)
            .map_err(|error| broken(error.to_string()))?;
        if unpacked.len() as u64 > limit {
            // Somewhere in the middle, and too large already.
            return Ok(Cow::Owned(unpacked));
        }
        rest = member.into_inner();
    }
    if rest.iter().any(|byte| *byte != 0) {
        let position = file.len() - rest.len();
        return Err(broken(format!(
            "what follows it at byte {position} is neither gzip nor zeroes"
        )));
    }
    Ok(Cow::Owned(unpacked))
}

/// What the bytes are, where they are no arm64 Image.
fn other_than_image(bytes: &[u8]) -> Option<&'static str> {
    let starts_with = |magic: &[u8]| bytes.starts_with(magic);
    if bytes.len() >= HEADER && u32_at(bytes, 56) == MAGIC {
        return None;
    }
    Some(if bytes.is_empty() {
        "an empty file"
    } else if starts_with(b"MZ") && bytes.get(4..8) == Some(b"zimg") {
        "an EFI zboot kernel, which unpacks itself with the help of EFI firmware only: give the Image inside it \
         (arch/arm64/boot/Image, or unzboot vmlinuz Image)"
    } else if bytes.get(0x202..0x206) == Some(b"HdrS") {
        "an x86 kernel (bzImage)"
    } else if starts_with(b"\x7fELF") {
        "an ELF file (vmlinux): give the Image made from it (arch/arm64/boot/Image)"
    } else if bytes.get(0x30..0x34) == Some(b"RISC") || bytes.get(0x38..0x3c) == Some(b"RSC\x05") {
        "a RISC-V kernel"
    } else if u32_at(bytes, 0x24) == 0x016f_2818 {
        "a 32-bit Arm kernel (zImage)"
    } else if starts_with(&[0x27, 0x05, 0x19, 0x56]) {
        "a U-Boot image: give the Image inside it"
    } else if starts_with(b"\xfd7zXZ\0") {
        "an xz file: unpack it first (xz -d)"
    } else if starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        "a zstd file: unpack it first (zstd -d)"
    } else if starts_with(b"BZh") {
        "a bzip2 file: unpack it first (bzip2 -d)"
    } else if starts_with(&[0x02, 0x21, 0x4c, 0x18]) || starts_with(&[0x04, 0x22, 0x4d, 0x18]) {
        "an lz4 file: unpack it first (lz4 -d)"
    } else if bytes.len() < HEADER {
        "a file that is shorter than the 64 bytes of a kernel's header"
    } else {
        "a file without the magic number ARM\\x64 at byte 56"
    })
}

/// How many bytes the file must have so that all sections of its PE header are there. Kernels without EFI have no such header.
fn end_of_sections(bytes: &[u8]) -> u64 {
    const FILE_HEADER: usize = 24;
    const SECTION_HEADER: usize = 40;
    if !bytes.starts_with(b"MZ") {
        return 0;
    }
    let pe = u64::from(u32_at(bytes, 60));
    let header = usize::try_from(pe).ok().and_then(|pe| bytes.get(pe..));
    let header = header.filter(|header| header.len() >= FILE_HEADER && header.starts_with(b"PE\0\0"));
    let Some(header) = header else {
        // It lies beyond the end or is cut off, or it is none.
        return pe + FILE_HEADER as u64;
    };
    let half_word = |offset| u32_at(header, offset) as usize & 0xffff;
    let table = FILE_HEADER + half_word(20);
    let table_end = table + half_word(6) * SECTION_HEADER;
    let Some(table) = header.get(table..table_end) else {
        return pe + table_end as u64;
    };
    let ends = table
        .chunks(SECTION_HEADER)
        .map(|section| u64::from(u32_at(section, 16)) + u64::from(u32_at(section, 20)));
    ends.max().unwrap_or(0)
}

/// A word of the file; zero beyond its end.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let field = bytes
        .get(offset..offset + 4)
        .and_then(|field| field.try_into().ok());
    field.map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// An Image whose PE header begins at byte 64 and has one section of 4 KiB.
    fn image() -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        for (offset, field) in [
            (0, &b"MZ"[..]),
            (56, &MAGIC.to_le_bytes()),
            (60, &64_u32.to_le_bytes()),
            (64, b"PE\0\0"),
            (64 + 6, &[1]),
            (64 + 20, &[160]),
            (64 + 24 + 160 + 16, &4096_u32.to_le_bytes()),
            (64 + 24 + 160 + 20, &4096_u32.to_le_bytes()),
        ] {
            bytes[offset..offset + field.len()].copy_from_slice(field);
        }
        bytes
    }

    #[test]
    fn a_kernel_that_is_cut_off_anywhere_behind_its_header_is_refused() {
        assert!(KernelImage::parse(image(), 8192).is_ok());
        for (len, expected) in [
            (64, 88),
            (67, 88),
            (68, 88),
            (80, 88),
            (87, 88),
            (88, 288),
            (287, 288),
            (288, 8192),
            (8191, 8192),
        ] {
            let cut = image()[..len].to_vec();
            let error = KernelImage::parse(cut, 8192).expect_err("it is cut off");
            let received = len as u64;
            assert_eq!(error, BootError::TruncatedKernel { expected, received });
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("a vector takes anything");
        encoder.finish().expect("a vector takes anything")
    }

    #[test]
    fn a_gzip_file_is_unpacked_whatever_zeroes_follow_and_however_many_members_it_has() {
        let (front, back) = (gzip(&image()[..100]), gzip(&image()[100..]));
        for members in [
            vec![gzip(&image())],
            vec![front, back],
            vec![gzip(&[]), gzip(&image())],
        ] {
            for padding in [0, 1, 8, 4096] {
                let file = [members.concat(), vec![0; padding]].concat();
                let kernel = KernelImage::parse(file, 8192).expect("a kernel");
                assert!(kernel.bytes == image(), "{padding} zeroes");
            }
        }
    }

    #[test]
    fn anything_else_behind_a_gzip_file_is_refused() {
        let file = gzip(&image());
        let end = file.len();
        for rest in [&b"x"[..], b"\0\0x", b"\x1f", &[&[0; 8][..], &file].concat()] {
            let error = KernelImage::parse([&file, rest].concat(), 8192).expect_err("not a gzip file");
            assert_eq!(
                error.to_string(),
                format!(
                    "Expected a whole gzip file for boot.kernel but received one that is broken: what follows it at byte {end} \
                     is neither gzip nor zeroes"
                )
            );
        }
    }

    #[test]
    fn a_gzip_file_whose_end_is_missing_or_wrong_is_refused() {
        let file = gzip(&image());
        let mut wrong = file.clone();
        wrong[file.len() - 5] ^= 1;
        let cut = [&file[..file.len() - 4], &[0; 16]].concat();
        for file in [
            wrong,
            cut,
            file[..file.len() - 1].to_vec(),
            file[..12].to_vec(),
            GZIP.to_vec(),
        ] {
            let error = KernelImage::parse(file, 8192).expect_err("broken");
            assert!(matches!(error, BootError::BrokenGzip { .. }), "{error}");
        }
    }

    #[test]
    fn no_more_than_a_byte_beyond_the_limit_is_unpacked() {
        let large = gzip(&vec![7; 1 << 20]);
        for file in [large.clone(), [gzip(&[7; 4090]), large].concat()] {
            assert_eq!(unpack(&file, 4096).map(|unpacked| unpacked.len()), Ok(4097));
        }
        let whole = gzip(&[7; 4096]);
        assert_eq!(unpack(&whole, 4096).map(|unpacked| unpacked.len()), Ok(4096));
    }

    #[test]
    fn a_header_that_says_the_most_everywhere_is_refused() {
        let mut bytes = image();
        bytes[60..].fill(0xff);
        let error = KernelImage::parse(bytes, u64::MAX).expect_err("no PE header is there");
        let expected = u64::from(u32::MAX) + 24;
        let received = 8192;
        assert_eq!(error, BootError::TruncatedKernel { expected, received });
    }
}
