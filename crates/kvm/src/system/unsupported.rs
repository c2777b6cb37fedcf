//! Hosts without KVM for arm64 guests: everything compiles, and every call says why not.

use std::convert::Infallible;
use std::sync::Arc;

use crate::error::KvmError;
use crate::events::{PendingEvents, VcpuEvents};
use crate::exit::{VcpuEntry, VcpuExit};
use crate::guest_memory::GuestMemory;
use crate::kick::{Kick, KickTarget};
use crate::probe::{HostCapabilities, Obstacle};
use crate::register::RegId;
use crate::system::{GicConfig, PowerState, VmConfig};

const OBSTACLE: Obstacle = Obstacle::Platform {
    os: std::env::consts::OS,
    arch: std::env::consts::ARCH,
};

/// A virtual machine that cannot exist on this host.
#[derive(Debug)]
pub struct VmFd(Infallible);

/// An interrupt controller that cannot exist on this host.
#[derive(Debug)]
pub struct Gic(Infallible);

/// An interrupt that cannot exist on this host.
#[derive(Debug, Clone)]
pub struct Irqfd(Infallible);

/// A quarantine that cannot exist on this host.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub struct Quarantine(Infallible);

#[cfg(not(target_os = "linux"))]
#[expect(
    missing_docs,
    reason = "the documentation is that of the Linux implementation"
)]
#[expect(
    clippy::missing_errors_doc,
    reason = "there is one error: this host is unsupported"
)]
impl Quarantine {
    pub fn open() -> Result<Self, KvmError> {
        Err(KvmError::UnsupportedHost(OBSTACLE))
    }

    pub fn take(&self, _: &GuestMemory, _: u64, _: u64) -> Result<(), KvmError> {
        match self.0 {}
    }
}

/// A vCPU that cannot exist on this host.
#[derive(Debug)]
pub struct Vcpu(Infallible);

pub(crate) fn probe_kvm(_: &mut HostCapabilities) -> Result<(), Obstacle> {
    Err(OBSTACLE)
}

#[expect(
    missing_docs,
    reason = "the documentation is that of the arm64 Linux implementation"
)]
#[expect(
    clippy::missing_errors_doc,
    reason = "there is one error: this host is unsupported"
)]
impl VmFd {
    pub fn create(_: VmConfig) -> Result<Self, KvmError> {
        Err(KvmError::UnsupportedHost(OBSTACLE))
    }

    pub fn add_memory(&self, _: u64, _: &Arc<GuestMemory>) -> Result<(), KvmError> {
        match self.0 {}
    }

    pub fn make_hole(&self, _: u64, _: u64) -> Result<(), KvmError> {
        match self.0 {}
    }

    pub fn fill_hole(&self, _: u64, _: u64) -> Result<(), KvmError> {
        match self.0 {}
    }

    pub fn create_gic(&self, _: GicConfig) -> Result<Gic, KvmError> {
        match self.0 {}
    }

    pub fn irqfd(&self, _: u32) -> Result<Irqfd, KvmError> {
        match self.0 {}
    }

    pub fn create_vcpu(&self, _: u32, _: PowerState, _: &Arc<GuestMemory>) -> Result<Vcpu, KvmError> {
        match self.0 {}
    }
}

#[expect(
    missing_docs,
    reason = "the documentation is that of the arm64 Linux implementation"
)]
#[expect(
    clippy::missing_errors_doc,
    reason = "there is one error: this host is unsupported"
)]
impl Gic {
    pub fn reset(&self, _: &[u64]) -> Result<(), KvmError> {
        match self.0 {}
    }
}

#[expect(
    missing_docs,
    reason = "the documentation is that of the arm64 Linux implementation"
)]
impl Irqfd {
    pub fn raise(&self) {
        match self.0 {}
    }
}

#[expect(
    missing_docs,
    reason = "the documentation is that of the arm64 Linux implementation"
)]
#[expect(
    clippy::missing_errors_doc,
    reason = "there is one error: this host is unsupported"
)]
impl Vcpu {
    pub fn reset(&mut self, _: PowerState) -> Result<(), KvmError> {
        match self.0 {}
    }

    pub fn enter_thread(&mut self) -> Result<KickTarget, KvmError> {
        match self.0 {}
    }

    pub fn run(&mut self, _: VcpuEntry) -> Result<VcpuExit, KvmError> {
        match self.0 {}
    }

    pub fn get_register(&mut self, _: RegId) -> Result<u64, KvmError> {
        match self.0 {}
    }

    pub fn set_register(&mut self, _: RegId, _: u64) -> Result<(), KvmError> {
        match self.0 {}
    }

    pub fn register_ids(&mut self) -> Result<Vec<RegId>, KvmError> {
        match self.0 {}
    }

    pub fn get_wide_register(&mut self, _: RegId) -> Result<u128, KvmError> {
        match self.0 {}
    }

    pub fn set_wide_register(&mut self, _: RegId, _: u128) -> Result<(), KvmError> {
        match self.0 {}
    }

    pub fn set_events(&mut self, _: VcpuEvents) -> Result<(), KvmError> {
        match self.0 {}
    }

    pub fn events(&mut self) -> Result<PendingEvents, KvmError> {
        match self.0 {}
    }

    #[must_use]
    pub fn kick(&self) -> Kick {
        match self.0 {}
    }
}
