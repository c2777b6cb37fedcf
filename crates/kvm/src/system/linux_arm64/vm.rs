//! A virtual machine: what is enabled for it, its vCPUs and its memory slots.

// UNSAFETY: memory slots, and a borrowed descriptor.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{KVM_ARM_VCPU_PSCI_0_2, kvm_enable_cap, kvm_userspace_memory_region, kvm_vcpu_init};

use super::vcpu::Vcpu;
use super::{failed, has, open};
use crate::abi;
use crate::error::{Errno, KvmError};
use crate::guest_memory::GuestMemory;
use crate::probe::Obstacle;
use crate::run_page::RunPage;
use crate::slot_table::{Slot, SlotTable};
use crate::system::{PowerState, VmConfig};

/// A virtual machine of the kernel.
#[derive(Debug)]
pub struct VmFd {
    pub(super) fd: kvm_ioctls::VmFd,
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
        // SAFETY: `fd` is open for this whole call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
        let page = Arc::new(RunPage::map(borrowed, self.run_page_size)?);
        let mut vcpu = Vcpu::new(fd, init, page, Arc::clone(memory));
        vcpu.reset(power)?;
        Ok(vcpu)
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
