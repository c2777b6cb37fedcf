//! KVM on arm64 Linux. System, VM, device and register ioctls are those of kvm-ioctls; `KVM_RUN` and the run page are ours.

// UNSAFETY: the KVM_RUN ioctl and a memory slot.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, RegList, kvm_enable_cap, kvm_userspace_memory_region,
    kvm_vcpu_events, kvm_vcpu_init,
};
use kvm_ioctls::{Kvm, VcpuFd};

use crate::abi;
use crate::error::{Errno, KvmError};
use crate::events::{PendingEvents, VcpuEvents};
use crate::exit::{VcpuEntry, VcpuExit};
use crate::guest_memory::GuestMemory;
use crate::kick::{Kick, KickTarget};
use crate::probe::{HostCapabilities, Obstacle};
use crate::register::RegId;
use crate::run_page::RunPage;
use crate::sigbus::{self, RunSlot};
use crate::slot_table::{Slot, SlotTable};
use crate::system::{PowerState, VmConfig};

fn failed(syscall: &'static str) -> impl Fn(kvm_ioctls::Error) -> KvmError {
    move |error| KvmError::Syscall {
        syscall,
        errno: Errno(error.errno()),
    }
}

fn open() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => KvmError::UnsupportedHost(Obstacle::NoDevice),
        errno @ (libc::EACCES | libc::EPERM) => KvmError::Permission { errno: Errno(errno) },
        errno => KvmError::Syscall {
            syscall: "open(/dev/kvm)",
            errno: Errno(errno),
        },
    })?;
    match kvm.get_api_version() {
        abi::KVM_API_VERSION => Ok(kvm),
        version => Err(KvmError::UnsupportedHost(Obstacle::ApiVersion(version))),
    }
}

fn has(kvm: &Kvm, capability: u32) -> bool {
    kvm.check_extension_raw(libc::c_ulong::from(capability)) > 0
}

/// Fills in what KVM says of itself.
pub(crate) fn probe_kvm(capabilities: &mut HostCapabilities) -> Result<(), Obstacle> {
    let kvm = open().map_err(|error| match error {
        KvmError::UnsupportedHost(obstacle) => obstacle,
        KvmError::Permission { .. } => Obstacle::Permission,
        error => Obstacle::Open(error.errno().map_or(0, |errno| errno.0)),
    })?;
    capabilities.arm_sea_to_user = has(&kvm, abi::KVM_CAP_ARM_SEA_TO_USER);
    capabilities.ras = has(&kvm, abi::KVM_CAP_ARM_INJECT_SERROR_ESR);
    capabilities.inject_ext_dabt = has(&kvm, abi::KVM_CAP_ARM_INJECT_EXT_DABT);
    capabilities.nisv_to_user = has(&kvm, abi::KVM_CAP_ARM_NISV_TO_USER);
    Ok(())
}

/// A virtual machine of the kernel.
#[derive(Debug)]
pub struct VmFd {
    fd: kvm_ioctls::VmFd,
    run_page_size: usize,
    slots: Mutex<SlotTable>,
    /// What the memory slots point to, with its guest-physical address. After `fd`, so that it goes last.
    memory: Mutex<Vec<(u64, Arc<GuestMemory>)>>,
}

impl VmFd {
    /// Creates a virtual machine and enables what `config` asks for, before there is any vCPU.
    ///
    /// # Errors
    /// [`KvmError::UnsupportedHost`] where a capability is missing, [`KvmError::Permission`], else
    /// [`KvmError::Syscall`].
    pub fn create(config: VmConfig) -> Result<Self, KvmError> {
        let kvm = open()?;
        for (name, number) in [
            ("KVM_CAP_USER_MEMORY", abi::KVM_CAP_USER_MEMORY),
            ("KVM_CAP_VCPU_EVENTS", abi::KVM_CAP_VCPU_EVENTS),
            ("KVM_CAP_ONE_REG", abi::KVM_CAP_ONE_REG),
            ("KVM_CAP_ARM_PSCI_0_2", abi::KVM_CAP_ARM_PSCI_0_2),
            ("KVM_CAP_IMMEDIATE_EXIT", abi::KVM_CAP_IMMEDIATE_EXIT),
        ] {
            if !has(&kvm, number) {
                return Err(KvmError::UnsupportedHost(Obstacle::Capability { name, number }));
            }
        }
        // KVM_CREATE_VM can be interrupted on a loaded host, and then wants to be asked again.
        let fd = loop {
            match kvm.create_vm() {
                Err(error) if error.errno() == libc::EINTR => {}
                result => break result.map_err(failed("KVM_CREATE_VM"))?,
            }
        };
        if config.arm_sea_to_user {
            if !has(&kvm, abi::KVM_CAP_ARM_SEA_TO_USER) {
                return Err(KvmError::UnsupportedHost(Obstacle::NoSeaToUser));
            }
            enable(
                &fd,
                abi::KVM_CAP_ARM_SEA_TO_USER,
                "KVM_ENABLE_CAP(KVM_CAP_ARM_SEA_TO_USER)",
            )?;
        }
        if config.arm_nisv_to_user {
            enable(
                &fd,
                abi::KVM_CAP_ARM_NISV_TO_USER,
                "KVM_ENABLE_CAP(KVM_CAP_ARM_NISV_TO_USER)",
            )?;
        }
        let run_page_size = kvm
            .get_vcpu_mmap_size()
            .map_err(failed("KVM_GET_VCPU_MMAP_SIZE"))?;
        Ok(Self {
            fd,
            run_page_size,
            slots: Mutex::default(),
            memory: Mutex::default(),
        })
    }

    /// Gives the guest `memory` at guest-physical address `gpa`.
    ///
    /// The kernel keeps its address, so this VM and its vCPUs keep the memory.
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn add_memory(&self, gpa: u64, memory: &Arc<GuestMemory>) -> Result<(), KvmError> {
        // Kept first: what the kernel has the address of must stay, whatever happens.
        lock(&self.memory).push((gpa, Arc::clone(memory)));
        let mut slots = lock(&self.slots);
        let slot = Slot {
            id: slots.free_id(),
            gpa,
            len: memory.len() as u64,
            host_address: memory.host_address(),
        };
        self.set(&mut slots, slot)
    }

    /// Takes whole pages of guest memory away from the guest: its data accesses there then exit as MMIO, and KVM injects
    /// an abort for its fetches and table walks there by itself. The memory itself stays as it is.
    ///
    /// The slot around the pages is gone for a moment, so no vCPU may be in the guest.
    ///
    /// # Errors
    /// [`KvmError::Syscall`], with `EINVAL` where no slot holds the range. What else was memory is memory again then, if
    /// the kernel lets it.
    pub fn make_hole(&self, gpa: u64, len: u64) -> Result<(), KvmError> {
        let mut slots = lock(&self.slots);
        let split = slots.split(gpa, len).ok_or(NO_SUCH_RANGE)?;
        self.unset(&mut slots, split.removed)?;
        let added = split.left.iter().try_for_each(|slot| self.set(&mut slots, *slot));
        added.inspect_err(|_| {
            for slot in &split.left {
                drop(self.unset(&mut slots, *slot));
            }
            drop(self.set(&mut slots, split.removed));
        })
    }

    /// Gives the guest back what [`make_hole`](Self::make_hole) took: whatever lies now at that place of the memory.
    ///
    /// # Errors
    /// [`KvmError::Syscall`], with `EINVAL` where the range is no guest memory.
    pub fn fill_hole(&self, gpa: u64, len: u64) -> Result<(), KvmError> {
        let memory = lock(&self.memory);
        let place = memory.iter().find_map(|(base, memory)| {
            let offset = gpa.checked_sub(*base)?;
            (offset.checked_add(len)? <= memory.len() as u64).then_some(memory.host_address() + offset)
        });
        let mut slots = lock(&self.slots);
        let slot = Slot {
            id: slots.free_id(),
            gpa,
            len,
            host_address: place.ok_or(NO_SUCH_RANGE)?,
        };
        self.set(&mut slots, slot)
    }

    fn set(&self, slots: &mut SlotTable, slot: Slot) -> Result<(), KvmError> {
        self.tell(slot, slot.len)?;
        slots.add(slot);
        Ok(())
    }

    fn unset(&self, slots: &mut SlotTable, slot: Slot) -> Result<(), KvmError> {
        self.tell(slot, 0)?;
        slots.remove(slot.id);
        Ok(())
    }

    /// Tells the kernel about a slot; without a length it is removed.
    fn tell(&self, slot: Slot, len: u64) -> Result<(), KvmError> {
        let region = kvm_userspace_memory_region {
            slot: slot.id,
            flags: 0,
            guest_phys_addr: slot.gpa,
            memory_size: len,
            userspace_addr: slot.host_address,
        };
        // SAFETY: the range is part of the mapping of guest memory that this value keeps, and each vCPU from its creation:
        // it is unmapped only when no descriptor of the VM is left that could make the kernel use it.
        unsafe { self.fd.set_user_memory_region(region) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))
    }

    /// Creates and initialises vCPU `index` of a guest whose RAM is `memory`, with PSCI 0.2 or newer.
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn create_vcpu(
        &self,
        index: u32,
        power: PowerState,
        memory: &Arc<GuestMemory>,
    ) -> Result<Vcpu, KvmError> {
        let fd = self
            .fd
            .create_vcpu(u64::from(index))
            .map_err(failed("KVM_CREATE_VCPU"))?;
        let mut init = kvm_vcpu_init::default();
        self.fd
            .get_preferred_target(&mut init)
            .map_err(failed("KVM_ARM_PREFERRED_TARGET"))?;
        init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
        if power == PowerState::Off {
            init.features[0] |= 1 << KVM_ARM_VCPU_POWER_OFF;
        }
        fd.vcpu_init(&init).map_err(failed("KVM_ARM_VCPU_INIT"))?;
        // SAFETY: `fd` is open for this whole call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let page = Arc::new(RunPage::map(borrowed, self.run_page_size)?);
        let kick = Kick::new(Arc::clone(&page));
        Ok(Vcpu {
            fd,
            page,
            kick,
            memory: Arc::clone(memory),
            slot: None,
        })
    }
}

const NO_SUCH_RANGE: KvmError = KvmError::Syscall {
    syscall: "KVM_SET_USER_MEMORY_REGION",
    errno: Errno(libc::EINVAL),
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enable(fd: &kvm_ioctls::VmFd, cap: u32, syscall: &'static str) -> Result<(), KvmError> {
    fd.enable_cap(&kvm_enable_cap {
        cap,
        ..kvm_enable_cap::default()
    })
    .map_err(failed(syscall))
}

/// A vCPU of the kernel. One thread at a time owns it.
#[derive(Debug)]
pub struct Vcpu {
    fd: VcpuFd,
    page: Arc<RunPage>,
    kick: Kick,
    /// Guest RAM, which the kernel uses for as long as this vCPU is open.
    memory: Arc<GuestMemory>,
    /// Where `SIGBUS` is noted for the thread that runs this vCPU.
    slot: Option<RunSlot>,
}

impl Vcpu {
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
        let errno = Errno::last();
        let signal = self.slot.as_ref().and_then(RunSlot::leave);
        if status == 0 {
            return Ok(self.page.exit());
        }
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
