//! The in-kernel interrupt controller, a GICv3 without ITS.
//!
//! Source: Documentation/virt/kvm/devices/arm-vgic-v3.rst of Linux 7.3; GICv3 and GICv4 specification (Arm IHI 0069), the
//! register maps of the Distributor and the Redistributor, and the CPU interface's registers.

// UNSAFETY: reads attributes of the device.
#![allow(unsafe_code)]

use std::sync::Arc;

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS,
    KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
    KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST,
    kvm_create_device, kvm_device_attr, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::DeviceFd;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::failed;
use super::vm::VmFd;
use crate::error::{Errno, KvmError};
use crate::probe::Obstacle;
use crate::system::GicConfig;

/// The interrupt controller of one virtual machine.
#[derive(Debug)]
pub struct Gic {
    device: DeviceFd,
    interrupts: u32,
}

/// An interrupt that is raised by writing to a descriptor (`KVM_IRQFD`), from any thread.
#[derive(Debug, Clone)]
pub struct Irqfd(Arc<EventFd>);

/// Registers of the Distributor: their offsets (Arm IHI 0069, "The GIC Distributor register map"). Those of the SGI frame of a
/// Redistributor have the same offsets in it.
mod offset {
    pub(super) const CTLR: u32 = 0x0000;
    pub(super) const IGROUPR: u32 = 0x0080;
    pub(super) const ICENABLER: u32 = 0x0180;
    pub(super) const ISPENDR: u32 = 0x0200;
    pub(super) const ICACTIVER: u32 = 0x0380;
    pub(super) const IPRIORITYR: u32 = 0x0400;
    pub(super) const ICFGR: u32 = 0x0c00;
    pub(super) const IROUTER: u32 = 0x6000;
    /// The SGI frame, from the start of a Redistributor.
    pub(super) const SGI_FRAME: u32 = 0x1_0000;
}

/// Private interrupts of a CPU: SGIs and PPIs.
const PRIVATE: u32 = 32;

const fn sysreg(crn: u64, crm: u64, op2: u64) -> u64 {
    3 << 14 | crn << 7 | crm << 3 | op2
}

/// ICC_CTLR_EL1, of which a guest changes CBPR and EOImode; the rest says what there is, and must be written as it is read.
const ICC_CTLR_EL1: u64 = sysreg(12, 12, 4);
const ICC_CTLR_EL1_CBPR: u64 = 1 << 0;
const ICC_CTLR_EL1_EOIMODE: u64 = 1 << 1;
/// What a CPU interface must forget: ICC_PMR_EL1, ICC_BPR0_EL1, ICC_BPR1_EL1, ICC_AP0R0_EL1, ICC_AP1R0_EL1,
/// ICC_IGRPEN0_EL1, ICC_IGRPEN1_EL1. A binary point of 0 becomes the least that there is. ICC_SRE_EL1 is fixed.
const CPU_INTERFACE: [u64; 7] = [
    sysreg(4, 6, 0),
    sysreg(12, 8, 3),
    sysreg(12, 12, 3),
    sysreg(12, 8, 4),
    sysreg(12, 9, 0),
    sysreg(12, 12, 6),
    sysreg(12, 12, 7),
];
/// The same, where there are more than 32 priorities that preempt each other: ICC_AP0R1_EL1 to ICC_AP0R3_EL1, ICC_AP1R1_EL1 to
/// ICC_AP1R3_EL1.
const FURTHER_ACTIVE_PRIORITIES: [u64; 6] = [
    sysreg(12, 8, 5),
    sysreg(12, 8, 6),
    sysreg(12, 8, 7),
    sysreg(12, 9, 1),
    sysreg(12, 9, 2),
    sysreg(12, 9, 3),
];

impl VmFd {
    /// Creates the interrupt controller, once, after the last vCPU and before any of them runs.
    ///
    /// # Errors
    /// [`KvmError::UnsupportedHost`] where the host has no GICv3, else [`KvmError::Syscall`].
    pub fn create_gic(&self, config: GicConfig) -> Result<Gic, KvmError> {
        let mut request = kvm_create_device {
            type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
            ..kvm_create_device::default()
        };
        let device = self
            .fd
            .create_device(&mut request)
            .map_err(|error| match error.errno() {
                libc::ENODEV => KvmError::UnsupportedHost(Obstacle::NoGicV3),
                errno => KvmError::Syscall {
                    syscall: "KVM_CREATE_DEVICE(KVM_DEV_TYPE_ARM_VGIC_V3)",
                    errno: Errno(errno),
                },
            })?;
        let gic = Gic {
            device,
            interrupts: config.interrupts,
        };
        for (kind, address) in [
            (KVM_VGIC_V3_ADDR_TYPE_DIST, config.distributor),
            (KVM_VGIC_V3_ADDR_TYPE_REDIST, config.redistributors),
        ] {
            gic.set(KVM_DEV_ARM_VGIC_GRP_ADDR, kind.into(), &address)?;
        }
        gic.set(KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &config.interrupts)?;
        gic.control(KVM_DEV_ARM_VGIC_CTRL_INIT)?;
        Ok(gic)
    }

    /// Connects shared peripheral interrupt `spi` (0 is INTID 32) to a descriptor. Each use of it is an edge.
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn irqfd(&self, spi: u32) -> Result<Irqfd, KvmError> {
        let event = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK).map_err(|error| KvmError::Syscall {
            syscall: "eventfd",
            errno: Errno::of(&error),
        })?;
        self.fd.register_irqfd(&event, spi).map_err(failed("KVM_IRQFD"))?;
        Ok(Irqfd(Arc::new(event)))
    }
}

impl Irqfd {
    /// Raises the interrupt.
    pub fn raise(&self) {
        // The kernel takes what is written at once, so that there is always room for it.
        let raised = self.0.write(1);
        debug_assert!(raised.is_ok(), "KVM drains the descriptor");
    }
}

impl Gic {
    /// Brings everything back to what it was before the guest used it. No vCPU may be in the guest. `cpus` are the values of
    /// MPIDR_EL1.
    ///
    /// # Errors
    /// [`KvmError::Syscall`].
    pub fn reset(&self, cpus: &[u64]) -> Result<(), KvmError> {
        self.distributor(offset::CTLR, 0)?;
        for group in PRIVATE / 32..self.interrupts / 32 {
            self.forget(group, &|register, value| self.distributor(register, value))?;
        }
        for interrupt in PRIVATE..self.interrupts {
            self.distributor(offset::IROUTER + interrupt * 8, 0)?;
            self.distributor(offset::IROUTER + interrupt * 8 + 4, 0)?;
        }
        for cpu in cpus {
            let affinity = affinity(*cpu);
            self.forget(0, &|register, value| {
                let attribute = affinity << 32 | u64::from(offset::SGI_FRAME + register);
                self.set(KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, attribute, &value)
            })?;
            self.reset_cpu_interface(affinity)?;
        }
        Ok(())
    }

    fn reset_cpu_interface(&self, affinity: u64) -> Result<(), KvmError> {
        let attribute = |register| affinity << 32 | register;
        let write =
            |register, value: u64| self.set(KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, attribute(register), &value);
        // First: KVM drops a write of ICC_BPR1_EL1 while CBPR is set.
        let control = self.get(KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, attribute(ICC_CTLR_EL1))?;
        write(
            ICC_CTLR_EL1,
            control & !(ICC_CTLR_EL1_CBPR | ICC_CTLR_EL1_EOIMODE),
        )?;
        for register in CPU_INTERFACE {
            write(register, 0)?;
        }
        for register in FURTHER_ACTIVE_PRIORITIES {
            match write(register, 0) {
                // KVM's answers for a register that this processor does not have.
                Err(error) if matches!(error.errno(), Some(Errno(libc::EINVAL | libc::ENXIO))) => {}
                written => written?,
            }
        }
        Ok(())
    }

    /// Disables 32 interrupts and forgets what is known of them.
    fn forget(&self, group: u32, write: &dyn Fn(u32, u32) -> Result<(), KvmError>) -> Result<(), KvmError> {
        write(offset::ICENABLER + group * 4, u32::MAX)?;
        // From user space it is written as a whole: what is not set is not pending.
        write(offset::ISPENDR + group * 4, 0)?;
        write(offset::ICACTIVER + group * 4, u32::MAX)?;
        // KVM's own beginning: every interrupt is in Group 1.
        write(offset::IGROUPR + group * 4, u32::MAX)?;
        for register in 0..8 {
            write(offset::IPRIORITYR + (group * 8 + register) * 4, 0)?;
        }
        for register in 0..2 {
            write(offset::ICFGR + (group * 2 + register) * 4, 0)?;
        }
        Ok(())
    }

    fn distributor(&self, register: u32, value: u32) -> Result<(), KvmError> {
        self.set(KVM_DEV_ARM_VGIC_GRP_DIST_REGS, register.into(), &value)
    }

    fn control(&self, attribute: u32) -> Result<(), KvmError> {
        self.set(KVM_DEV_ARM_VGIC_GRP_CTRL, attribute.into(), &0_u64)
    }

    /// Reads an attribute of 64 bits.
    fn get(&self, group: u32, attribute: u64) -> Result<u64, KvmError> {
        let mut value = 0_u64;
        let mut attribute = kvm_device_attr {
            group,
            attr: attribute,
            addr: std::ptr::from_mut(&mut value) as u64,
            flags: 0,
        };
        // SAFETY: the kernel writes 64 bits, as every register of the groups that this is called for has, to where there is
        // room for them for the whole call.
        unsafe { self.device.get_device_attr(&mut attribute) }
            .map_err(failed("KVM_GET_DEVICE_ATTR(KVM_DEV_TYPE_ARM_VGIC_V3)"))?;
        Ok(value)
    }

    /// Sets an attribute of the device; `value` has the type that its group asks for.
    fn set<T>(&self, group: u32, attribute: u64, value: &T) -> Result<(), KvmError> {
        let attribute = kvm_device_attr {
            group,
            attr: attribute,
            addr: std::ptr::from_ref(value) as u64,
            flags: 0,
        };
        self.device
            .set_device_attr(&attribute)
            .map_err(failed("KVM_SET_DEVICE_ATTR(KVM_DEV_TYPE_ARM_VGIC_V3)"))
    }
}

/// Aff3 to Aff0 of MPIDR_EL1, as the device's attributes have them.
const fn affinity(mpidr: u64) -> u64 {
    mpidr >> 8 & 0xff00_0000 | mpidr & 0x00ff_ffff
}
