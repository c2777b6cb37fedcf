//! The page that KVM and one vCPU thread share: `struct kvm_run`.
//!
//! kvm-ioctls hands out `&mut kvm_run` while another thread must be able to set `immediate_exit`, which no Rust
//! reference allows (rust-vmm/kvm#373). This type never makes a reference: it reads and writes by raw pointer, and the
//! one byte that two threads touch is an atomic.

// UNSAFETY: raw access to the page shared with the kernel.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

use seawall_arm64::{Esr, Gpa, Gva};

use crate::abi::{self, ArmNisv, ArmSea, FailEntry, InternalError, KvmRun, MemoryFault, Mmio, SystemEvent};
use crate::error::{Errno, KvmError};
use crate::exit::{SeaExit, SystemEventKind, VcpuExit};

/// ESR_ELx.FnV, bit 10: FAR_ELx is not valid (Arm ARM D24, ESR_ELx, ISS encoding of data and instruction aborts).
const ESR_FNV: u64 = 1 << 10;

/// One vCPU's `struct kvm_run`.
#[derive(Debug)]
pub struct RunPage {
    base: NonNull<KvmRun>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and stays until drop; the only field that a second thread touches is
// `immediate_exit`, which is accessed as an atomic. All other accesses are made by the thread that runs the vCPU.
unsafe impl Send for RunPage {}
// SAFETY: as above; the methods that are not atomic are private to this crate's `Vcpu`, which takes `&mut self`.
unsafe impl Sync for RunPage {}

impl RunPage {
    /// Maps the run page of a vCPU; `len` is what `KVM_GET_VCPU_MMAP_SIZE` says, in bytes.
    ///
    /// # Errors
    /// [`KvmError::Syscall`] where the kernel refuses the mapping or `len` is smaller than `struct kvm_run`.
    pub fn map(vcpu: BorrowedFd<'_>, len: usize) -> Result<Self, KvmError> {
        Self::map_with(vcpu.as_raw_fd(), libc::MAP_SHARED, len)
    }

    /// A page of zeroes that no kernel writes to, to model a vCPU.
    ///
    /// # Errors
    /// [`KvmError::Syscall`] where there is no memory.
    pub fn anonymous() -> Result<Self, KvmError> {
        Self::map_with(-1, libc::MAP_SHARED | libc::MAP_ANON, 4096)
    }

    fn map_with(fd: i32, flags: i32, len: usize) -> Result<Self, KvmError> {
        if len < size_of::<KvmRun>() {
            return Err(KvmError::Syscall {
                syscall: "KVM_GET_VCPU_MMAP_SIZE",
                errno: Errno(libc::EINVAL),
            });
        }
        // SAFETY: a fresh mapping at an address the kernel chooses cannot overlap memory that Rust knows of.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(KvmError::last("mmap"));
        }
        let base = NonNull::new(address.cast()).ok_or(KvmError::last("mmap"))?;
        Ok(Self { base, len })
    }

    /// Makes the running or the next `KVM_RUN` return `EINTR`, until cleared. Any thread may call it.
    pub fn set_immediate_exit(&self) {
        self.immediate_exit().store(1, Ordering::SeqCst);
    }

    /// Clears the request to leave, and says whether there was one.
    pub(crate) fn take_immediate_exit(&self) -> bool {
        self.immediate_exit().swap(0, Ordering::SeqCst) != 0
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        // SAFETY: `base` points to a live, writable `KvmRun` for as long as `self` lives (invariant of `map_with`).
        let byte = unsafe { &raw mut (*self.base.as_ptr()).immediate_exit };
        // SAFETY: the byte is valid for as long as `self`, and all of this process access it through this atomic; the
        // kernel only reads it.
        unsafe { AtomicU8::from_ptr(byte) }
    }

    /// The exit reason of the last `KVM_RUN`.
    pub(crate) fn exit_reason(&self) -> u32 {
        // SAFETY: `base` points to a live `KvmRun` for as long as `self` lives (invariant of `map_with`).
        let place = unsafe { &raw const (*self.base.as_ptr()).exit_reason };
        // SAFETY: the place is valid and aligned, and every bit pattern is a u32.
        unsafe { place.read_volatile() }
    }

    /// Copies one member out of the exit union: the others' bytes are stale, and there are many of them.
    fn member<T: ExitMember>(&self) -> T {
        // SAFETY: `base` points to a live `KvmRun` for as long as `self` lives (invariant of `map_with`).
        let place = unsafe { &raw const (*self.base.as_ptr()).exit };
        // SAFETY: the union has such a member, at its start as all of them, and each bit pattern is valid for it
        // (`ExitMember`). The kernel writes to it in `KVM_RUN` alone, and no other thread of ours does.
        unsafe { place.cast::<T>().read() }
    }

    /// Copies the exit out of the page. This and what it calls are the one place that reads the exit union, keyed by the exit
    /// reason: under another reason the bytes are stale and look plausible.
    ///
    /// Total: a reason this version does not know keeps its number and the start of its payload.
    #[inline]
    pub(crate) fn exit(&self) -> VcpuExit {
        match self.exit_reason() {
            // By far the most frequent.
            abi::KVM_EXIT_MMIO => self.mmio(),
            reason => self.other_exit(reason),
        }
    }

    #[inline]
    fn mmio(&self) -> VcpuExit {
        let mmio: Mmio = self.member();
        let gpa = Gpa::from_bits(mmio.phys_addr);
        let len = u8::try_from(mmio.len.min(8)).unwrap_or(8);
        if mmio.is_write == 0 {
            VcpuExit::MmioRead { gpa, len }
        } else {
            VcpuExit::MmioWrite {
                gpa,
                data: mmio.data,
                len,
            }
        }
    }

    #[inline(never)]
    fn other_exit(&self, reason: u32) -> VcpuExit {
        match reason {
            abi::KVM_EXIT_ARM_SEA => {
                let sea: ArmSea = self.member();
                VcpuExit::ArmSea(SeaExit {
                    esr: Esr::from_bits(sea.esr),
                    gva: (sea.esr & ESR_FNV == 0).then(|| Gva::from_bits(sea.gva)),
                    gpa: (sea.flags & abi::KVM_EXIT_ARM_SEA_FLAG_GPA_VALID != 0)
                        .then(|| Gpa::from_bits(sea.gpa)),
                })
            }
            abi::KVM_EXIT_ARM_NISV => {
                let nisv: ArmNisv = self.member();
                VcpuExit::Nisv {
                    esr_iss: nisv.esr_iss,
                    gpa: Gpa::from_bits(nisv.fault_ipa),
                }
            }
            abi::KVM_EXIT_ARM_LDST64B => {
                let access: ArmNisv = self.member();
                VcpuExit::Ldst64b {
                    esr_iss: access.esr_iss,
                    gpa: Gpa::from_bits(access.fault_ipa),
                }
            }
            abi::KVM_EXIT_MEMORY_FAULT => {
                let fault: MemoryFault = self.member();
                VcpuExit::MemoryFault {
                    flags: fault.flags,
                    gpa: Gpa::from_bits(fault.gpa),
                    size: fault.size,
                    errno: Errno(libc::EFAULT),
                }
            }
            abi::KVM_EXIT_SYSTEM_EVENT => {
                let event: SystemEvent = self.member();
                let kind = match event.kind {
                    abi::KVM_SYSTEM_EVENT_SHUTDOWN => SystemEventKind::Shutdown,
                    abi::KVM_SYSTEM_EVENT_RESET => SystemEventKind::Reset,
                    abi::KVM_SYSTEM_EVENT_CRASH => SystemEventKind::Crash,
                    other => SystemEventKind::Other(other),
                };
                VcpuExit::SystemEvent {
                    kind,
                    flags: (event.ndata > 0).then_some(event.data[0]),
                }
            }
            abi::KVM_EXIT_INTR => VcpuExit::Interrupted,
            abi::KVM_EXIT_FAIL_ENTRY => {
                let entry: FailEntry = self.member();
                VcpuExit::FailEntry {
                    hardware_entry_failure_reason: entry.hardware_entry_failure_reason,
                    cpu: entry.cpu,
                }
            }
            abi::KVM_EXIT_INTERNAL_ERROR => {
                let internal: InternalError = self.member();
                VcpuExit::InternalError {
                    suberror: internal.suberror,
                }
            }
            reason => {
                let words: [u64; 32] = self.member();
                VcpuExit::Unknown {
                    reason,
                    payload: [words[0], words[1], words[2], words[3]],
                }
            }
        }
    }

    /// The exit of a `KVM_RUN` that failed with `EFAULT` or `EHWPOISON`, where KVM described it.
    pub(crate) fn memory_fault(&self, errno: Errno) -> Option<VcpuExit> {
        (self.exit_reason() == abi::KVM_EXIT_MEMORY_FAULT).then(|| match self.exit() {
            VcpuExit::MemoryFault { flags, gpa, size, .. } => VcpuExit::MemoryFault {
                flags,
                gpa,
                size,
                errno,
            },
            other => other,
        })
    }

    /// Hands the answer to an MMIO read over to the next `KVM_RUN`.
    pub(crate) fn set_mmio_data(&self, data: [u8; 8]) {
        // SAFETY: `base` points to a live, writable `KvmRun`; `mmio.data` lies inside its exit union.
        let place = unsafe { &raw mut (*self.base.as_ptr()).exit.mmio.data };
        // SAFETY: the place is valid for writes and aligned for bytes; no reference to it exists anywhere.
        unsafe { place.write_volatile(data) };
    }

    /// Makes the next `KVM_RUN` complete no access: KVM completes one exactly where the exit reason still says MMIO.
    pub(crate) fn forget_exit(&self) {
        // SAFETY: `base` points to a live, writable `KvmRun` for as long as `self` lives (invariant of `map_with`).
        let place = unsafe { &raw mut (*self.base.as_ptr()).exit_reason };
        // SAFETY: the place is valid for writes and aligned; no reference to it exists anywhere.
        unsafe { place.write_volatile(abi::KVM_EXIT_UNKNOWN) };
    }

    #[cfg(test)]
    fn fill(&self, reason: u32, exit: abi::KvmRunExit) {
        // SAFETY: an anonymous page of the test's own.
        let run = unsafe { &mut *self.base.as_ptr() };
        run.exit_reason = reason;
        run.exit = exit;
    }
}

impl Drop for RunPage {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map_with` with this length and nothing points into it any more.
        let status = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert_eq!(status, 0, "munmap of a mapping of ours cannot fail");
    }
}

/// A member of [`KvmRunExit`].
///
/// # Safety
/// The union has a member of this type, and the type is made of integers, for which each bit pattern is valid.
unsafe trait ExitMember: Copy {}

// SAFETY: a member, made of integers.
unsafe impl ExitMember for Mmio {}
// SAFETY: a member, made of integers.
unsafe impl ExitMember for ArmSea {}
// SAFETY: a member, made of integers.
unsafe impl ExitMember for ArmNisv {}
// SAFETY: a member, made of integers.
unsafe impl ExitMember for MemoryFault {}
// SAFETY: a member, made of integers.
unsafe impl ExitMember for SystemEvent {}
// SAFETY: a member, made of integers.
unsafe impl ExitMember for FailEntry {}
// SAFETY: a member, made of integers.
unsafe impl ExitMember for InternalError {}
// SAFETY: a member, made of integers.
unsafe impl ExitMember for [u64; 32] {}

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod tests;
