//! Where a virtual machine is on its way to: no vCPU may be in the guest when it gets there.

use std::time::Instant;

use crate::error::VmError;
use crate::event::EventKind;
use crate::vcpu::Whereabouts;
use crate::vm::control::Control;
use crate::vm::state::{ExitReason, VmExit};

/// Where the virtual machine goes once every vCPU has parked.
pub(super) struct Goal {
    pub(super) destination: Destination,
    since: Instant,
    /// When a vCPU that has not parked is kicked again.
    pub(super) next_kick: Instant,
}

/// Where the virtual machine goes.
pub(super) enum Destination {
    Paused,
    /// The guest resets itself, by this vCPU, and boots again.
    Restarted {
        vcpu: u32,
        /// It stays paused before its first instruction.
        pause: bool,
    },
    Ended(VmExit),
}

impl Control {
    /// Sets the destination, unless a more final one is set already, and gets every vCPU out of the guest.
    pub(super) fn aim(&mut self, destination: Destination) {
        use Destination::{Ended, Paused, Restarted};
        let reached = self.goal.as_ref().map(|goal| &goal.destination);
        let changed = match (reached, destination) {
            (Some(Ended(_)), _) | (Some(Paused), Paused) | (Some(Restarted { .. }), Restarted { .. }) => None,
            // A guest that starts anew while somebody wants it to pause does both.
            (Some(&Restarted { vcpu, .. }), Paused) | (Some(Paused), Restarted { vcpu, .. }) => {
                Some(Restarted { vcpu, pause: true })
            }
            (_, destination) => Some(destination),
        };
        if let Some(destination) = changed {
            self.goal = Some(Goal {
                destination,
                since: Instant::now(),
                next_kick: Instant::now() + self.limits.kick,
            });
        }
        self.kick_running();
        self.arrive();
    }

    /// Whether nobody waits for an answer any more: what the guest was to be told is of no use to it after a reset, either.
    pub(super) fn is_ending(&self) -> bool {
        matches!(
            &self.goal,
            Some(Goal {
                destination: Destination::Ended(_) | Destination::Restarted { .. },
                ..
            })
        )
    }

    pub(super) fn kick_running(&mut self) {
        let ending = self.is_ending();
        for (vcpu, running) in self.vcpus.iter().zip(&mut self.running) {
            if ending {
                vcpu.mailbox.request_end();
                // One that a pause has left to its question has still to park.
                *running |= vcpu.mailbox.is_running();
            }
            if *running {
                match vcpu.mailbox.request_park() {
                    // A signal that cannot be sent is tried again; `immediate_exit` is set in any case.
                    Whereabouts::InGuest => drop(vcpu.kicker.kick()),
                    // For a pause it is where it should be. For an end it is awaited: its wait ends at once.
                    Whereabouts::Asking => *running = ending,
                }
            }
        }
    }

    pub(super) fn kick_again(&mut self) {
        let stuck = self.running.iter().position(|running| *running);
        let (Some(goal), Some(stuck)) = (&mut self.goal, stuck) else {
            return;
        };
        if goal.since.elapsed() < self.limits.park {
            goal.next_kick = Instant::now() + self.limits.kick;
            return self.kick_running();
        }
        let vcpu = u32::try_from(stuck).unwrap_or(u32::MAX);
        let error = VmError::VcpuStuck {
            vcpu,
            seconds: self.limits.park.as_secs(),
        };
        self.shared.outbox.push(EventKind::VcpuFailed {
            vcpu,
            error: error.clone(),
        });
        let exit = VmExit {
            reason: ExitReason::Failed,
            vcpu: Some(vcpu),
            error: Some(error),
        };
        self.goal = None;
        self.end(exit);
    }

    /// Reaches the destination, if every vCPU has parked.
    pub(super) fn arrive(&mut self) {
        if self.running.contains(&true) {
            return;
        }
        match self.goal.take().map(|goal| goal.destination) {
            None => {}
            Some(Destination::Paused) => self.reach_pause(),
            Some(Destination::Restarted { vcpu, pause }) => self.restart(vcpu, pause),
            Some(Destination::Ended(exit)) => self.end(exit),
        }
    }
}
