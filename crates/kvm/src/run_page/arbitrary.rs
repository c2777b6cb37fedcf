//! Whatever the kernel leaves in the run page, it decodes, and says no more than is there.

use proptest::prelude::*;

use super::*;

/// The exits that are known, and any other.
fn reasons() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => prop::sample::select(vec![
            abi::KVM_EXIT_MMIO,
            abi::KVM_EXIT_ARM_SEA,
            abi::KVM_EXIT_ARM_NISV,
            abi::KVM_EXIT_ARM_LDST64B,
            abi::KVM_EXIT_MEMORY_FAULT,
            abi::KVM_EXIT_SYSTEM_EVENT,
            abi::KVM_EXIT_INTR,
            abi::KVM_EXIT_FAIL_ENTRY,
            abi::KVM_EXIT_INTERNAL_ERROR,
        ]),
        1 => any::<u32>(),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_an_exit_that_says_no_more_than_they_do(
        reason in reasons(),
        words in any::<[u64; 32]>(),
    ) {
        let page = RunPage::anonymous().expect("a page of memory");
        page.fill(reason, abi::KvmRunExit { words });
        match page.exit() {
            // flags, esr, gva, gpa (linux/kvm.h).
            VcpuExit::ArmSea(sea) => {
                prop_assert_eq!(reason, abi::KVM_EXIT_ARM_SEA);
                prop_assert_eq!(sea.esr.bits(), words[1]);
                prop_assert_eq!(sea.gva.map(Gva::bits), (words[1] & 1 << 10 == 0).then_some(words[2]));
                prop_assert_eq!(sea.gpa.map(Gpa::bits), (words[0] & 1 != 0).then_some(words[3]));
            }
            VcpuExit::MmioRead { gpa, len } => {
                prop_assert_eq!(gpa.bits(), words[0]);
                prop_assert!(len <= 8);
            }
            VcpuExit::MmioWrite { gpa, data, len } => {
                prop_assert_eq!((gpa.bits(), u64::from_ne_bytes(data)), (words[0], words[1]));
                prop_assert!(len <= 8);
            }
            VcpuExit::Nisv { gpa, esr_iss } | VcpuExit::Ldst64b { gpa, esr_iss } => {
                prop_assert_eq!((esr_iss, gpa.bits()), (words[0], words[1]));
            }
            VcpuExit::Unknown { reason: kept, payload } => {
                prop_assert_eq!((kept, &payload[..]), (reason, &words[..4]));
            }
            _ => {}
        }
        // Only one reason makes a failed run a memory fault.
        let fault = page.memory_fault(Errno::HWPOISON);
        prop_assert_eq!(fault.is_some(), reason == abi::KVM_EXIT_MEMORY_FAULT);
    }
}
