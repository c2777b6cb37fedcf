use super::*;
use crate::abi::KvmRunExit;

fn exit_of(reason: u32, exit: KvmRunExit) -> VcpuExit {
    let page = RunPage::anonymous().expect("a page of memory");
    page.fill(reason, exit);
    page.exit()
}

fn sea(flags: u64, esr: u64) -> VcpuExit {
    let arm_sea = ArmSea {
        flags,
        esr,
        gva: 0xffff_8000_1234_5010,
        gpa: 0x8010_0000,
    };
    exit_of(abi::KVM_EXIT_ARM_SEA, KvmRunExit { arm_sea })
}

#[test]
fn a_sea_carries_both_addresses_when_both_are_valid() {
    let VcpuExit::ArmSea(sea) = sea(1, 0x9200_0010) else {
        panic!("not a SEA")
    };
    assert_eq!(sea.esr.bits(), 0x9200_0010);
    assert_eq!(sea.gva.map(Gva::bits), Some(0xffff_8000_1234_5010));
    assert_eq!(sea.gpa.map(Gpa::bits), Some(0x8010_0000));
}

#[test]
fn fnv_set_means_no_gva() {
    let VcpuExit::ArmSea(sea) = sea(1, 0x9200_0610) else {
        panic!("not a SEA")
    };
    assert_eq!(sea.gva, None);
    assert!(sea.gpa.is_some());
}

#[test]
fn flag_clear_means_no_gpa() {
    // Any other bit of the flags must not be taken for the valid one.
    let VcpuExit::ArmSea(sea) = sea(!1, 0x9200_0010) else {
        panic!("not a SEA")
    };
    assert_eq!(sea.gpa, None);
    assert!(sea.gva.is_some());
}

#[test]
fn stale_union_is_not_read_for_mmio_exit() {
    let mmio = Mmio {
        phys_addr: 0x4000_2000,
        data: *b"A\0\0\0\0\0\0\0",
        len: 1,
        is_write: 1,
    };
    let exit = exit_of(abi::KVM_EXIT_MMIO, KvmRunExit { mmio });
    assert_eq!(
        exit,
        VcpuExit::MmioWrite {
            gpa: Gpa::from_bits(0x4000_2000),
            data: mmio.data,
            len: 1
        }
    );
}

#[test]
fn mmio_length_beyond_eight_is_cut_to_the_data_there_is() {
    let mmio = Mmio {
        len: 4096,
        ..Mmio::default()
    };
    assert_eq!(
        exit_of(abi::KVM_EXIT_MMIO, KvmRunExit { mmio }),
        VcpuExit::MmioRead {
            gpa: Gpa::from_bits(0),
            len: 8
        }
    );
}

#[test]
fn system_events_keep_their_kind_and_flags() {
    for (kind, expected) in [
        (1, SystemEventKind::Shutdown),
        (2, SystemEventKind::Reset),
        (3, SystemEventKind::Crash),
        (5, SystemEventKind::Other(5)),
    ] {
        let mut system_event = SystemEvent {
            kind,
            ndata: 1,
            data: [0; 16],
        };
        system_event.data[0] = 7;
        assert_eq!(
            exit_of(abi::KVM_EXIT_SYSTEM_EVENT, KvmRunExit { system_event }),
            VcpuExit::SystemEvent {
                kind: expected,
                flags: Some(7)
            }
        );
    }
}

#[test]
fn an_exit_newer_than_us_keeps_its_number_and_payload() {
    let mut words = [0; 32];
    words[..4].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(
        exit_of(1234, KvmRunExit { words }),
        VcpuExit::Unknown {
            reason: 1234,
            payload: [1, 2, 3, 4]
        }
    );
}

#[test]
fn a_memory_fault_carries_the_errno_of_the_run() {
    let page = RunPage::anonymous().expect("a page of memory");
    let memory_fault = MemoryFault {
        flags: 8,
        gpa: 0x8000_0000,
        size: 4096,
    };
    page.fill(abi::KVM_EXIT_MEMORY_FAULT, KvmRunExit { memory_fault });
    let errno = Errno(133);
    let expected = VcpuExit::MemoryFault {
        flags: 8,
        gpa: Gpa::from_bits(0x8000_0000),
        size: 4096,
        errno,
    };
    assert_eq!(page.memory_fault(errno), Some(expected));
    page.fill(abi::KVM_EXIT_MMIO, KvmRunExit { memory_fault });
    assert_eq!(
        page.memory_fault(errno),
        None,
        "an errno alone does not make a memory fault"
    );
}

#[test]
fn a_failed_entry_names_the_cpu() {
    let fail_entry = FailEntry {
        hardware_entry_failure_reason: 1,
        cpu: 3,
    };
    assert_eq!(
        exit_of(abi::KVM_EXIT_FAIL_ENTRY, KvmRunExit { fail_entry }),
        VcpuExit::FailEntry {
            hardware_entry_failure_reason: 1,
            cpu: 3
        }
    );
}

#[test]
fn immediate_exit_is_the_byte_the_kernel_reads() {
    let page = RunPage::anonymous().expect("a page of memory");
    page.set_immediate_exit();
    let place = page.base.as_ptr().cast::<u8>().wrapping_add(1);
    // SAFETY: the page is the test's own and one page long.
    let byte = unsafe { place.read() };
    assert_eq!(byte, 1);
    assert!(page.take_immediate_exit());
    assert_eq!(page.immediate_exit().load(Ordering::SeqCst), 0);
}
