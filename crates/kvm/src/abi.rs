//! The kernel's ABI as this crate writes it down itself, with compile-time layout assertions: what kvm-bindings 0.14
//! (Linux 6.15) does not know yet, and what every host must be able to compile.
//!
//! Source of every number: `linux/kvm.h`, `linux/userfaultfd.h` and arm64's `asm/kvm.h` of Linux 7.3. The test
//! `kernel_headers` compares all of them with a kernel's own headers.

/// `KVM_API_VERSION`: the only one there has been since Linux 2.6.22 (linux/kvm.h).
pub const KVM_API_VERSION: i32 = 12;
/// `KVM_RUN`, `_IO(KVMIO, 0x80)` (linux/kvm.h). Its argument must be 0.
pub const KVM_RUN: u64 = 0xae80;
/// `KVM_GET_ONE_REG`, `_IOW(KVMIO, 0xab, struct kvm_one_reg)` (linux/kvm.h).
pub const KVM_GET_ONE_REG: u64 = 0x4010_aeab;

/// `KVM_EXIT_ARM_SEA`: the guest consumed an uncorrected memory error (linux/kvm.h, Linux 6.19).
pub const KVM_EXIT_ARM_SEA: u32 = 41;
/// `KVM_EXIT_ARM_LDST64B`: a 64-byte load or store without a memory slot (linux/kvm.h, Linux 7.0).
pub const KVM_EXIT_ARM_LDST64B: u32 = 42;
/// `KVM_EXIT_UNKNOWN` (linux/kvm.h).
pub const KVM_EXIT_UNKNOWN: u32 = 0;
/// `KVM_EXIT_HYPERCALL` (linux/kvm.h).
pub const KVM_EXIT_HYPERCALL: u32 = 3;
/// `KVM_EXIT_DEBUG` (linux/kvm.h).
pub const KVM_EXIT_DEBUG: u32 = 4;
/// `KVM_EXIT_MMIO` (linux/kvm.h).
pub const KVM_EXIT_MMIO: u32 = 6;
/// `KVM_EXIT_FAIL_ENTRY` (linux/kvm.h).
pub const KVM_EXIT_FAIL_ENTRY: u32 = 9;
/// `KVM_EXIT_INTR` (linux/kvm.h).
pub const KVM_EXIT_INTR: u32 = 10;
/// `KVM_EXIT_INTERNAL_ERROR` (linux/kvm.h).
pub const KVM_EXIT_INTERNAL_ERROR: u32 = 17;
/// `KVM_EXIT_SYSTEM_EVENT` (linux/kvm.h).
pub const KVM_EXIT_SYSTEM_EVENT: u32 = 24;
/// `KVM_EXIT_ARM_NISV` (linux/kvm.h).
pub const KVM_EXIT_ARM_NISV: u32 = 28;
/// `KVM_EXIT_MEMORY_FAULT` (linux/kvm.h).
pub const KVM_EXIT_MEMORY_FAULT: u32 = 39;

/// `KVM_CAP_USER_MEMORY`: memory slots.
pub const KVM_CAP_USER_MEMORY: u32 = 3;
/// `KVM_CAP_VCPU_EVENTS`: `KVM_SET_VCPU_EVENTS`.
pub const KVM_CAP_VCPU_EVENTS: u32 = 41;
/// `KVM_CAP_ONE_REG`: `KVM_GET_ONE_REG` and `KVM_SET_ONE_REG`.
pub const KVM_CAP_ONE_REG: u32 = 70;
/// `KVM_CAP_ARM_PSCI_0_2`: PSCI 0.2 or newer.
pub const KVM_CAP_ARM_PSCI_0_2: u32 = 102;
/// `KVM_CAP_IMMEDIATE_EXIT`: `kvm_run.immediate_exit`.
pub const KVM_CAP_IMMEDIATE_EXIT: u32 = 136;
/// `KVM_CAP_ARM_INJECT_SERROR_ESR`: 1 exactly where the host has FEAT_RAS, the predicate KVM itself uses.
pub const KVM_CAP_ARM_INJECT_SERROR_ESR: u32 = 158;
/// `KVM_CAP_ARM_NISV_TO_USER`: exits instead of `ENOSYS` for accesses without an instruction syndrome.
pub const KVM_CAP_ARM_NISV_TO_USER: u32 = 177;
/// `KVM_CAP_ARM_INJECT_EXT_DABT`: `ext_dabt_pending` in `struct kvm_vcpu_events`.
pub const KVM_CAP_ARM_INJECT_EXT_DABT: u32 = 178;
/// `KVM_CAP_ARM_SEA_TO_USER`: exit 41 (Linux 6.19). Reads 1 also where FEAT_RAS is missing and the exit cannot occur.
pub const KVM_CAP_ARM_SEA_TO_USER: u32 = 245;

/// `KVM_EXIT_ARM_SEA_FLAG_GPA_VALID`: `ArmSea::gpa` holds the faulting page.
pub const KVM_EXIT_ARM_SEA_FLAG_GPA_VALID: u64 = 1 << 0;
/// `KVM_SYSTEM_EVENT_SHUTDOWN`.
pub const KVM_SYSTEM_EVENT_SHUTDOWN: u32 = 1;
/// `KVM_SYSTEM_EVENT_RESET`.
pub const KVM_SYSTEM_EVENT_RESET: u32 = 2;
/// `KVM_SYSTEM_EVENT_CRASH`.
pub const KVM_SYSTEM_EVENT_CRASH: u32 = 3;

/// `UFFD_API`: the only version (linux/userfaultfd.h).
pub const UFFD_API: u64 = 0xaa;
/// `UFFDIO_API`, `_IOWR(0xaa, 0x3f, struct uffdio_api)` (linux/userfaultfd.h).
pub const UFFDIO_API: u64 = 0xc018_aa3f;
/// `UFFD_USER_MODE_ONLY`: all that an unprivileged process may ask for (linux/userfaultfd.h).
pub const UFFD_USER_MODE_ONLY: i32 = 1;
/// `UFFD_FEATURE_POISON`: `UFFDIO_POISON` (linux/userfaultfd.h, Linux 6.6).
pub const UFFD_FEATURE_POISON: u64 = 1 << 14;
/// `UFFDIO_REGISTER`, `_IOWR(0xaa, 0x00, struct uffdio_register)` (linux/userfaultfd.h).
pub const UFFDIO_REGISTER: u64 = 0xc020_aa00;
/// `UFFDIO_REGISTER_MODE_MISSING` (linux/userfaultfd.h).
pub const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;
/// `UFFDIO_POISON`, `_IOWR(0xaa, 0x08, struct uffdio_poison)` (linux/userfaultfd.h, Linux 6.6).
pub const UFFDIO_POISON: u64 = 0xc020_aa08;

/// `kvm_run.arm_sea`: the payload of [`KVM_EXIT_ARM_SEA`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArmSea {
    /// Bit 0 says that `gpa` is valid ([`KVM_EXIT_ARM_SEA_FLAG_GPA_VALID`]).
    pub flags: u64,
    /// ESR_EL2 reduced to EC, IL, FnV, EA, CM, WnR, FSC, and SET where the VM has RAS.
    pub esr: u64,
    /// FAR_EL2, valid only when ESR.FnV is clear.
    pub gva: u64,
    /// The guest-physical address of the faulting page, aligned to 4 KiB.
    pub gpa: u64,
}

/// `kvm_run.arm_nisv`, shared by the exits 28 and 42.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArmNisv {
    /// The syndrome: CM, WnR and FSC for exit 28, all but FSC for exit 42.
    pub esr_iss: u64,
    /// The guest-physical address of the access, in bytes.
    pub fault_ipa: u64,
}

/// `kvm_run.mmio`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mmio {
    /// The guest-physical address of the access.
    pub phys_addr: u64,
    /// The bytes written, or the place of the answer to a read.
    pub data: [u8; 8],
    /// How many of `data` count: 1, 2, 4 or 8.
    pub len: u32,
    /// Non-zero for a write.
    pub is_write: u8,
}

/// `kvm_run.memory_fault`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryFault {
    /// `KVM_MEMORY_EXIT_FLAG_*`.
    pub flags: u64,
    /// The first guest-physical address that could not be resolved.
    pub gpa: u64,
    /// The length of the range in bytes.
    pub size: u64,
}

/// `kvm_run.system_event`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemEvent {
    /// `KVM_SYSTEM_EVENT_*`.
    pub kind: u32,
    /// How many of `data` count.
    pub ndata: u32,
    /// Details; on arm64 the first word holds the event's flags.
    pub data: [u64; 16],
}

/// `kvm_run.fail_entry`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailEntry {
    /// The hardware's reason.
    pub hardware_entry_failure_reason: u64,
    /// The physical CPU the entry failed on.
    pub cpu: u32,
}

/// `kvm_run.internal`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InternalError {
    /// `KVM_INTERNAL_ERROR_*`.
    pub suberror: u32,
    /// How many of `data` count.
    pub ndata: u32,
    /// Details.
    pub data: [u64; 16],
}

/// The head of `struct kvm_run` up to the end of its exit union, as the kernel lays it out on every architecture.
#[repr(C)]
pub(crate) struct KvmRun {
    pub(crate) request_interrupt_window: u8,
    pub(crate) immediate_exit: u8,
    padding1: [u8; 6],
    pub(crate) exit_reason: u32,
    pub(crate) ready_for_interrupt_injection: u8,
    if_flag: u8,
    pub(crate) flags: u16,
    cr8: u64,
    apic_base: u64,
    pub(crate) exit: KvmRunExit,
}

/// The exit union of `struct kvm_run`: which member is meaningful depends on `exit_reason` alone.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union KvmRunExit {
    pub(crate) arm_sea: ArmSea,
    pub(crate) arm_nisv: ArmNisv,
    pub(crate) mmio: Mmio,
    pub(crate) memory_fault: MemoryFault,
    pub(crate) system_event: SystemEvent,
    pub(crate) fail_entry: FailEntry,
    pub(crate) internal: InternalError,
    pub(crate) words: [u64; 32],
}

/// `struct kvm_vcpu_events` of arm64 (asm/kvm.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RawVcpuEvents {
    /// Non-zero: an SError is pending, or is to be made pending.
    pub serror_pending: u8,
    /// Non-zero: `serror_esr` counts.
    pub serror_has_esr: u8,
    /// Non-zero: inject an external data abort now.
    pub ext_dabt_pending: u8,
    /// Must be zero.
    pub pad: [u8; 5],
    /// The ISS of the SError, bits 24:0.
    pub serror_esr: u64,
    /// Must be zero.
    pub reserved: [u32; 12],
}

macro_rules! assert_layout {
    ($type:ty, size $size:expr $(, $field:ident @ $offset:expr)* $(,)?) => {
        const _: () = assert!(size_of::<$type>() == $size);
        $(const _: () = assert!(core::mem::offset_of!($type, $field) == $offset);)*
    };
}

assert_layout!(ArmSea, size 32, flags @ 0, esr @ 8, gva @ 16, gpa @ 24);
assert_layout!(ArmNisv, size 16, esr_iss @ 0, fault_ipa @ 8);
assert_layout!(Mmio, size 24, phys_addr @ 0, data @ 8, len @ 16, is_write @ 20);
assert_layout!(MemoryFault, size 24, flags @ 0, gpa @ 8, size @ 16);
assert_layout!(SystemEvent, size 136, kind @ 0, ndata @ 4, data @ 8);
assert_layout!(FailEntry, size 16, hardware_entry_failure_reason @ 0, cpu @ 8);
assert_layout!(InternalError, size 136, suberror @ 0, ndata @ 4, data @ 8);
assert_layout!(KvmRunExit, size 256);
assert_layout!(KvmRun, size 288, immediate_exit @ 1, exit_reason @ 8, flags @ 14, exit @ 32);
assert_layout!(RawVcpuEvents, size 64, serror_pending @ 0, serror_has_esr @ 1, ext_dabt_pending @ 2, serror_esr @ 8, reserved @ 16);
