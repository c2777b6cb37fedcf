//! Whatever a file and its options say, a guest is refused, or everything of it lies in its memory and nothing on another.

use proptest::prelude::*;

use super::*;

/// A header of a kernel, of which any part may say anything.
fn images() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::collection::vec(
        (
            0..256_usize,
            prop_oneof![any::<u32>(), 0..0x4000_u32, Just(u32::MAX)],
        ),
        0..6,
    );
    (words, 0..12_000_usize, any::<bool>()).prop_map(|(words, len, has_magic)| {
        let mut bytes = vec![0; len];
        let mut put = |offset: usize, field: &[u8]| {
            if let Some(place) = bytes.get_mut(offset..offset + field.len()) {
                place.copy_from_slice(field);
            }
        };
        put(0, b"MZ");
        put(60, &64_u32.to_le_bytes());
        put(64, b"PE\0\0");
        put(70, &[1]);
        for (offset, word) in words {
            put(offset, &word.to_le_bytes());
        }
        if has_magic {
            put(56, b"ARM\x64");
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_kernel_that_can_be_placed_or_are_refused(
        bytes in prop_oneof![4 => images(), 1 => prop::collection::vec(any::<u8>(), 0..600)],
        limit in prop_oneof![0..20_000_u64, any::<u64>()],
    ) {
        let len = bytes.len() as u64;
        match KernelImage::parse(bytes, limit) {
            Ok(kernel) => {
                prop_assert!(kernel.text_offset < image::ALIGNMENT && kernel.text_offset % 4096 == 0);
                prop_assert!(kernel.size >= kernel.bytes.len() as u64);
            }
            Err(error) => {
                prop_assert_eq!(error.code(), "ERR_INVALID_IMAGE");
                if let BootError::TruncatedKernel { expected, received } = error {
                    prop_assert!(received == len && received < expected);
                }
            }
        }
    }

    #[test]
    fn a_gzip_file_of_any_bytes_unpacks_no_further_than_its_limit(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        limit in 0..2000_u64,
    ) {
        // The header of a member, so that what follows is taken for deflated data.
        bytes.splice(0..0, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
        if let Ok(kernel) = KernelImage::parse(bytes, limit) {
            prop_assert!(kernel.bytes.len() as u64 <= limit + 1);
        }
    }

    #[test]
    fn what_is_placed_lies_in_memory_one_behind_the_other(
        memory in prop_oneof![0..1_u64 << 28, any::<u64>()],
        text_offset in (0..512_u64).prop_map(|pages| pages * 4096),
        kernel in prop_oneof![0..1_u64 << 28, any::<u64>()],
        initrd in prop_oneof![0..1_u64 << 28, any::<u64>()],
    ) {
        let place = |initrd| Layout::new(memory, text_offset, kernel, initrd);
        // Where it is too large, the largest that is said to have room.
        let (initrd, placed) = match place(initrd) {
            Err(BootError::InitrdTooLarge { limit, .. }) => (limit, place(limit)),
            placed => (initrd, placed),
        };
        match placed {
            Ok(layout) => {
                prop_assert_eq!(layout.kernel, RAM_BASE + text_offset);
                prop_assert!(layout.kernel + kernel <= layout.initrd);
                prop_assert!(layout.initrd + initrd <= layout.device_tree);
                prop_assert!(layout.device_tree + DEVICE_TREE_ROOM <= RAM_BASE + memory);
            }
            Err(error) => prop_assert_eq!(error.code(), "ERR_INVALID_OPTION"),
        }
    }

    #[test]
    fn any_machine_has_a_device_tree_that_says_its_own_size(
        memory in any::<u64>(),
        cpus in prop::collection::vec(any::<u64>(), 1..65),
        command_line in "[^\0]{0,2000}",
        initrd in prop::option::of((any::<u64>(), 0..u64::MAX / 2)),
        seed in any::<[u8; SEED]>(),
        agent in any::<bool>(),
    ) {
        let initrd = initrd.map(|(start, size)| (start / 2, size));
        let tree = DeviceTree {
            memory,
            cpus: &cpus,
            command_line: &command_line,
            initrd,
            seed,
            reserved: None,
            acpi: None,
            agent,
        };
        let blob = tree.build().map_err(|error| TestCaseError::fail(error.to_string()))?;
        // The header: magic, totalsize.
        prop_assert_eq!(&blob[..4], &[0xd0, 0x0d, 0xfe, 0xed]);
        let size = u32::try_from(blob.len()).expect("small");
        prop_assert_eq!(&blob[4..8], &size.to_be_bytes());
        let mut arguments = command_line.into_bytes();
        arguments.push(0);
        let has_arguments = blob.windows(arguments.len()).any(|bytes| bytes == arguments);
        prop_assert!(has_arguments);
    }
}
