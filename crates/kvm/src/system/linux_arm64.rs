//! KVM on arm64 Linux. System, VM, device and register ioctls are those of kvm-ioctls; `KVM_RUN` and the run page are ours.

mod gic;
mod vcpu;
mod vm;

use kvm_ioctls::Kvm;

use crate::abi;
use crate::error::{Errno, KvmError};
use crate::probe::{HostCapabilities, Obstacle};

pub use gic::{Gic, Irqfd};
pub use vcpu::Vcpu;
pub use vm::VmFd;

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
