//! What a virtual machine refuses to be made of, each with its code and its message.

use seawall_vmm::{BackendOptions, Boot, Image, MAX_VCPUS, Step, VmError, VmOptions, VmState};

use crate::harness::{INJECT, create, guest, options};

const RAM_BASE: u64 = 0x8000_0000;

fn refused(change: impl FnOnce(&mut VmOptions)) -> VmError {
    let mut options = options(INJECT, vec![guest([])]);
    change(&mut options);
    create(options).expect_err("refused")
}

fn refused_image(len: usize, load_address: Option<u64>, entry: Option<u64>) -> VmError {
    refused(|options| {
        options.boot = Boot::Flat {
            image: Image::Bytes(vec![0; len]),
            load_address,
            entry,
        };
    })
}

#[test]
fn memory_is_a_multiple_of_the_page_size() {
    for memory in [0, 1, 4095, 4097, (1 << 20) + 8, u64::MAX] {
        let error = refused(|options| options.memory = memory);
        assert_eq!(error.code(), "ERR_INVALID_OPTION", "{memory}");
        assert_eq!(
            error.to_string(),
            format!("Expected a non-zero multiple of 4096 bytes for memory but received {memory}")
        );
    }
}

#[test]
fn memory_that_no_host_has_is_out_of_resources() {
    for memory in [1 << 62, 1 << 63, !4095] {
        let error = refused(|options| options.memory = memory);
        assert_eq!(error.code(), "ERR_OUT_OF_RESOURCES", "{memory:#x}: {error}");
        assert!(error.syscall().is_some() && error.errno().is_some(), "{error}");
    }
}

#[test]
fn there_are_1_to_512_vcpus() {
    assert_eq!(MAX_VCPUS, 512);
    for vcpus in [0, 513, u32::MAX] {
        let error = refused(|options| {
            options.backend = BackendOptions::Simulated(seawall_vmm::Script::default());
            options.vcpus = vcpus;
        });
        assert_eq!(error.code(), "ERR_INVALID_OPTION", "{vcpus}");
        assert_eq!(
            error.to_string(),
            format!("Expected 1 to 512 for vcpus but received {vcpus}")
        );
    }
}

#[test]
fn a_script_for_a_vcpu_that_is_not_there_is_refused() {
    let error = refused(|options| {
        *options = crate::harness::options(INJECT, vec![guest([]), guest([]), guest([])]);
        options.vcpus = 2;
    });
    assert_eq!(error.code(), "ERR_INVALID_OPTION");
    assert_eq!(
        error.to_string(),
        "Expected scripts for at most 2 vCPUs for backend but received 3"
    );
}

#[test]
fn a_vcpu_without_a_script_stays_off() {
    let mut options = options(INJECT, vec![vec![Step::Print("on".to_owned()), Step::Spin]]);
    options.vcpus = 3;
    let mut machine = crate::harness::Machine::with(options);
    machine.start().expect("created");
    machine.until("output", |machine| machine.console == b"on");
    machine.pause().expect("all three park");
    assert_eq!(machine.vm.vcpus(), 3);
    assert_eq!(
        machine.get(2, "pstate"),
        Ok(0x3c5),
        "as after KVM_ARM_VCPU_INIT: EL1h, all masked"
    );
}

#[test]
fn an_image_that_cannot_be_started_is_refused() {
    for (error, message) in [
        (
            refused_image(3, None, None),
            "Expected at least one instruction (4 bytes) for boot.image but received 3 bytes",
        ),
        (
            refused_image((64 << 20) + 4, None, None),
            "Expected boot.image to lie inside guest RAM (0x80000000, 0x4000000 bytes) but received 0x4000004 bytes at \
             0x80000000",
        ),
        (
            refused_image(8, Some(RAM_BASE - 4), None),
            "Expected boot.image to lie inside guest RAM (0x80000000, 0x4000000 bytes) but received 0x8 bytes at 0x7ffffffc",
        ),
        (
            refused_image(8, None, Some(RAM_BASE + 2)),
            "Expected a multiple of 4 inside the image (0x80000000, 0x8 bytes) for boot.entry but received 0x80000002",
        ),
        (
            refused_image(8, None, Some(RAM_BASE + 8)),
            "Expected a multiple of 4 inside the image (0x80000000, 0x8 bytes) for boot.entry but received 0x80000008",
        ),
    ] {
        assert_eq!(error.code(), "ERR_INVALID_IMAGE", "{error}");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let read = |path: &str| {
        refused(|options| {
            options.boot = Boot::Flat {
                image: Image::Path(path.into()),
                load_address: None,
                entry: None,
            };
        })
    };
    for (path, errno) in [("/nowhere/guest.bin", "ENOENT"), ("/", "EISDIR")] {
        let error = read(path);
        assert_eq!(error.code(), "ERR_INVALID_IMAGE");
        assert_eq!(
            error.to_string(),
            format!("Expected a readable file for boot.image but received \"{path}\" ({errno})")
        );
    }
}

#[test]
fn a_new_machine_waits_before_its_first_instruction() {
    let mut options = options(INJECT, vec![guest([])]);
    options.boot = Boot::Flat {
        image: Image::Bytes(b"12345678".to_vec()),
        load_address: Some(RAM_BASE + 0x1000),
        entry: Some(RAM_BASE + 0x1004),
    };
    let mut machine = crate::harness::Machine::with(options);
    assert_eq!(machine.vm.state(), VmState::Created);
    assert_eq!(machine.get(0, "pc"), Ok(RAM_BASE + 0x1004));
    assert_eq!(machine.get(0, "pstate"), Ok(0x3c5));
    let bytes = machine.vm.read_memory(RAM_BASE + 0xfff, 10).expect("inside");
    assert_eq!(&bytes, b"\x0012345678\x00");
    assert_eq!(machine.kinds(), [], "being made is no event");
}

/// A host with KVM for arm64 guests makes the machine; every other host says why not.
#[cfg(not(all(target_os = "linux", target_arch = "aarch64")))]
#[test]
fn kvm_on_a_host_without_it_is_unsupported() {
    let error = refused(|options| options.backend = BackendOptions::Kvm);
    assert_eq!(error.code(), "ERR_UNSUPPORTED_HOST");
    assert!(
        error
            .to_string()
            .contains("expected Linux on arm64 (aarch64) for KVM"),
        "{error}"
    );
}
