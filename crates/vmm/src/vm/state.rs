//! The states of a virtual machine and the ways it ends.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::error::VmError;

/// Where a virtual machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmState {
    /// Nothing has run yet.
    Created,
    /// The vCPUs run.
    Running,
    /// Every vCPU is out of the guest and can go on.
    Paused,
    /// It has ended; registers and memory can be looked at.
    Stopped,
    /// It has ended by an error; registers and memory can be looked at.
    Failed,
    /// Everything is given back.
    Closed,
}

impl VmState {
    const ALL: [Self; 6] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Stopped,
        Self::Failed,
        Self::Closed,
    ];

    /// The word of the public API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a virtual machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmExit {
    /// Why.
    pub reason: ExitReason,
    /// The vCPU that ended it, where one did.
    pub vcpu: Option<u32>,
    /// The error, where the reason is [`ExitReason::Failed`].
    pub error: Option<VmError>,
}

/// Why a virtual machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The guest asked for SYSTEM_OFF.
    Shutdown,
    /// The guest asked for SYSTEM_RESET.
    Reset,
    /// The guest crashed.
    Crash,
    /// The owner asked.
    Requested,
    /// The policy stops on such a memory error.
    Policy,
    /// It could not go on.
    Failed,
}

/// What a closed virtual machine leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClosedVm {
    /// Lost pages that go back to the host without having been taken out of use there.
    pub unretired_host_pages: u64,
}

/// The state as other threads read it; the control thread alone writes it.
#[derive(Debug)]
pub(super) struct StateCell {
    state: AtomicU8,
    unretired_host_pages: AtomicU64,
}

impl StateCell {
    pub(super) const fn new() -> Self {
        Self {
            state: AtomicU8::new(0),
            unretired_host_pages: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self) -> VmState {
        VmState::ALL[usize::from(self.state.load(Ordering::SeqCst))]
    }

    pub(super) fn set(&self, state: VmState) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    pub(super) fn set_closed(&self, closed: ClosedVm) {
        self.unretired_host_pages
            .store(closed.unretired_host_pages, Ordering::SeqCst);
        self.set(VmState::Closed);
    }

    pub(super) fn closed(&self) -> ClosedVm {
        ClosedVm {
            unretired_host_pages: self.unretired_host_pages.load(Ordering::SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let cell = StateCell::new();
        assert_eq!(cell.get(), VmState::Created);
        for state in VmState::ALL {
            cell.set(state);
            assert_eq!(cell.get(), state);
        }
    }
}
