//! One vCPU: `KVM_RUN`, its registers, and the exceptions it is made to take.

// UNSAFETY: the ioctls of each run and of each memory error.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::sync::Arc;

use kvm_bindings::{KVM_ARM_VCPU_POWER_OFF, RegList, kvm_one_reg, kvm_vcpu_events, kvm_vcpu_init};
use kvm_ioctls::VcpuFd;

use super::failed;
use crate::abi;
use crate::error::{Errno, KvmError};
use crate::events::{PendingEvents, VcpuEvents};
use crate::exit::{VcpuEntry, VcpuExit};
use crate::guest_memory::GuestMemory;
use crate::kick::{Kick, KickTarget};
use crate::register::RegId;
use crate::run_page::RunPage;
use crate::sigbus::{self, RunSlot};
use crate::system::PowerState;

/// A vCPU of the kernel. One thread at a time owns it.
#[derive(Debug)]
pub struct Vcpu {
    fd: VcpuFd,
    /// The processor and its features, which stay the same for ever.
    init: kvm_vcpu_init,
    page: Arc<RunPage>,
    kick: Kick,
    /// Guest RAM, which the kernel uses for as long as this vCPU is open.
    memory: Arc<GuestMemory>,
    /// Where `SIGBUS` is noted for the thread that runs this vCPU.
    slot: Option<RunSlot>,
}

impl Vcpu {
    /// A vCPU that was created, with its run page. It needs a reset before anything else.
    pub(super) fn new(fd: VcpuFd, init: kvm_vcpu_init, page: Arc<RunPage>, memory: Arc<GuestMemory>) -> Self {
        let kick = Kick::new(Arc::clone(&page));
        Self {
            fd,
            init,
            page,
            kick,
            memory,
            slot: None,
        }
    }

    /// Gives every register its value after a reset of the processor (`KVM_ARM_VCPU_INIT`).
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn reset(&mut self, power: PowerState) -> Result<(), KvmError> {
        let mut init = self.init;
        if power == PowerState::Off {
            init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
        }
        self.fd.vcpu_init(&init).map_err(failed("KVM_ARM_VCPU_INIT"))
    }

    /// Prepares the current thread to run this vCPU: it can be kicked, and memory errors are noted for it.
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn enter_thread(&mut self) -> Result<KickTarget, KvmError> {
        let target = self.kick.target_current_thread()?;
        let (start, len) = (self.memory.host_address(), self.memory.len() as u64);
        self.slot = Some(RunSlot::claim(start, len));
        Ok(target)
    }

    /// Runs the guest until it exits.
    ///
    /// `EINTR` and `EAGAIN` are [`VcpuExit::Interrupted`], and `immediate_exit` is then clear again.
    ///
    /// # Errors
    /// [`KvmError::Syscall`] with the `errno` of `KVM_RUN`.
    pub fn run(&mut self, entry: VcpuEntry) -> Result<VcpuExit, KvmError> {
        match entry {
            VcpuEntry::Run => {}
            VcpuEntry::MmioRead(data) => self.page.set_mmio_data(data),
            VcpuEntry::Retry => self.page.forget_exit(),
        }
        if let Some(slot) = &self.slot {
            slot.enter();
        }
        // SAFETY: KVM_RUN on a vCPU descriptor takes no memory of ours but the run page, which is mapped.
        let status = unsafe { libc::ioctl(self.fd.as_raw_fd(), abi::KVM_RUN as _, 0) };
        if let Some(slot) = &self.slot {
            slot.leave();
        }
        if status == 0 {
            Ok(self.page.exit())
        } else {
            self.failed_run(Errno::last())
        }
    }

    /// What a `KVM_RUN` that failed means.
    #[cold]
    fn failed_run(&mut self, errno: Errno) -> Result<VcpuExit, KvmError> {
        let signal = self.slot.as_ref().and_then(RunSlot::seen);
        match (errno.0, signal) {
            // A kick that came at the same time stays: `immediate_exit` ends the next run.
            (libc::EINTR, Some(signal)) => Ok(VcpuExit::MemoryErrorSignal(signal)),
            (libc::EINTR | libc::EAGAIN, _) => {
                // Cleared before the caller looks at its requests, so that a later kick is never lost.
                if !self.page.take_immediate_exit() {
                    // Nobody kicked: it may have been a memory error whose signal went to somebody else's handler.
                    sigbus::check()?;
                }
                Ok(VcpuExit::Interrupted)
            }
            (libc::EFAULT | libc::EHWPOISON, _) => self.page.memory_fault(errno).ok_or(KvmError::Syscall {
                syscall: "KVM_RUN",
                errno,
            }),
            (_, _) => Err(KvmError::Syscall {
                syscall: "KVM_RUN",
                errno,
            }),
        }
    }

    /// Reads a 64-bit register.
    ///
    /// # Errors
    /// [`KvmError::Register`].
    pub fn get_register(&mut self, register: RegId) -> Result<u64, KvmError> {
        if register.size() != size_of::<u64>() {
            return self.get_narrow_register(register);
        }
        let mut value = 0u64;
        let place = kvm_one_reg {
            id: register.bits(),
            addr: (&raw mut value) as u64,
        };
        // SAFETY: the kernel reads `place`, and writes as many bytes at `addr` as the id says: the eight of `value`, which
        // lives longer than the call.
        let status = unsafe { libc::ioctl(self.fd.as_raw_fd(), abi::KVM_GET_ONE_REG as _, &raw const place) };
        if status == 0 {
            Ok(value)
        } else {
            Err(unreadable(register))
        }
    }

    #[cold]
    fn get_narrow_register(&mut self, register: RegId) -> Result<u64, KvmError> {
        let mut value = [0; 8];
        self.read(register, &mut value)?;
        Ok(u64::from_le_bytes(value))
    }

    /// Writes a 64-bit register.
    ///
    /// # Errors
    /// [`KvmError::Register`].
    pub fn set_register(&mut self, register: RegId, value: u64) -> Result<(), KvmError> {
        self.write(register, &value.to_le_bytes())
    }

    /// The ids of all registers that can be read, of every size (`KVM_GET_REG_LIST`).
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn register_ids(&mut self) -> Result<Vec<RegId>, KvmError> {
        const SYSCALL: &str = "KVM_GET_REG_LIST";
        // As many as kvm-bindings allows; a guest without SVE has about 300.
        let mut list = RegList::new(500).map_err(|_| KvmError::Syscall {
            syscall: SYSCALL,
            errno: Errno(libc::E2BIG),
        })?;
        self.fd.get_reg_list(&mut list).map_err(failed(SYSCALL))?;
        Ok(list.as_slice().iter().copied().map(RegId::from_bits).collect())
    }

    /// Reads a register of up to 128 bits.
    ///
    /// # Errors
    /// [`KvmError::Register`], with `EINVAL` also where the register has more bits.
    pub fn get_wide_register(&mut self, register: RegId) -> Result<u128, KvmError> {
        let mut value = [0; 16];
        self.read(register, &mut value)?;
        Ok(u128::from_le_bytes(value))
    }

    /// Writes a register of up to 128 bits; bits of `value` beyond them are ignored.
    ///
    /// # Errors
    /// [`KvmError::Register`], with `EINVAL` also where the register has more bits.
    pub fn set_wide_register(&mut self, register: RegId, value: u128) -> Result<(), KvmError> {
        self.write(register, &value.to_le_bytes())
    }

    fn read(&mut self, register: RegId, value: &mut [u8]) -> Result<(), KvmError> {
        let failed = |error: kvm_ioctls::Error| KvmError::Register {
            syscall: "KVM_GET_ONE_REG",
            register,
            errno: Errno(error.errno()),
        };
        self.fd.get_one_reg(register.bits(), value).map_err(failed)?;
        Ok(())
    }

    fn write(&mut self, register: RegId, value: &[u8]) -> Result<(), KvmError> {
        let failed = |error: kvm_ioctls::Error| KvmError::Register {
            syscall: "KVM_SET_ONE_REG",
            register,
            errno: Errno(error.errno()),
        };
        self.fd.set_one_reg(register.bits(), value).map_err(failed)?;
        Ok(())
    }

    /// Injects an exception, at once.
    ///
    /// The kernel may do nothing and say success (a stage-1 walk it cannot repeat): read back what changed.
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn set_events(&mut self, events: VcpuEvents) -> Result<(), KvmError> {
        // The kernel rejects padding and reserved words that are not zero.
        let mut raw = kvm_vcpu_events::default();
        match events {
            VcpuEvents::ExternalDataAbort => raw.exception.ext_dabt_pending = 1,
            VcpuEvents::SError { iss } => {
                raw.exception.serror_pending = 1;
                raw.exception.serror_has_esr = u8::from(iss.is_some());
                raw.exception.serror_esr = u64::from(iss.unwrap_or(0));
            }
        }
        self.fd
            .set_vcpu_events(&raw)
            .map_err(failed("KVM_SET_VCPU_EVENTS"))
    }

    /// What is pending and not taken yet.
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn events(&mut self) -> Result<PendingEvents, KvmError> {
        let raw = self.fd.get_vcpu_events().map_err(failed("KVM_GET_VCPU_EVENTS"))?;
        let serror = raw.exception.serror_pending != 0;
        let iss = u32::try_from(raw.exception.serror_esr & 0x01ff_ffff).unwrap_or(0);
        Ok(PendingEvents {
            serror,
            serror_iss: (serror && raw.exception.serror_has_esr != 0).then_some(iss),
        })
    }

    /// The way to get this vCPU out of the guest from another thread.
    #[must_use]
    pub fn kick(&self) -> Kick {
        self.kick.clone()
    }
}

/// Why `KVM_GET_ONE_REG` has just failed.
#[cold]
fn unreadable(register: RegId) -> KvmError {
    KvmError::Register {
        syscall: "KVM_GET_ONE_REG",
        register,
        errno: Errno::last(),
    }
}
