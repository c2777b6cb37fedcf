//! The kernel's side of Seawall: KVM's arm64 ABI, the run page, guest memory, signals. Every unsafe line is here.
//!
//! What leaves this crate is owned: exits are values, registers have typed ids, and no reference into memory shared with
//! the kernel or the guest is ever handed out. On hosts other than arm64 Linux it compiles, and creating a VM says
//! [`KvmError::UnsupportedHost`].
//!
//! ```
//! let support = seawall_kvm::probe_host();
//! println!("{:?} on {}", support.status, support.kernel);
//! for obstacle in &support.obstacles {
//!     println!("  {obstacle}");
//! }
//! ```

pub mod abi;
#[cfg(target_os = "linux")]
mod action_optional;
#[cfg(target_os = "linux")]
mod backing;
mod clock;
mod error;
mod events;
mod exit;
#[cfg(target_os = "linux")]
mod guarded_copy;
mod guest_memory;
mod host_facts;
mod kick;
#[cfg(target_os = "linux")]
mod mappings;
#[cfg(not(target_os = "linux"))]
mod portable;
mod probe;
#[cfg(target_os = "linux")]
mod quarantine;
mod register;
// Everywhere compiled and tested; used where there is a kernel that shares the page.
#[cfg_attr(not(all(target_os = "linux", target_arch = "aarch64")), allow(dead_code))]
mod run_page;
// The slots of vCPU threads are tested on every Linux, too.
#[cfg(target_os = "linux")]
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code))]
mod sigbus;
// Used where there are memory slots, tested everywhere.
#[cfg_attr(not(all(target_os = "linux", target_arch = "aarch64")), allow(dead_code))]
mod slot_table;
mod system;

#[cfg(not(target_os = "linux"))]
use portable::{action_optional, backing, guarded_copy, sigbus};

pub use action_optional::MemoryErrorWatch;
pub use clock::monotonic;
pub use error::{Errno, KvmError};
pub use events::{PendingEvents, VcpuEvents};
pub use exit::{MemoryErrorSignal, SeaExit, SignalCode, SystemEventKind, VcpuEntry, VcpuExit};
pub use guest_memory::{CheckedMemory, GuestMemory, GuestMemoryError, HugePage};
pub use host_facts::host_page_size;
pub use kick::{Kick, KickTarget};
pub use probe::{HostCapabilities, HostSupport, Obstacle, SupportStatus, probe_host};
#[cfg(target_os = "linux")]
pub use quarantine::Quarantine;
pub use register::RegId;
pub use run_page::RunPage;
#[cfg(not(target_os = "linux"))]
pub use system::Quarantine;
pub use system::{Gic, GicConfig, Irqfd, PowerState, Vcpu, VmConfig, VmFd};
