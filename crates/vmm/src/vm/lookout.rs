//! Looking after a running guest that was told of lost pages, and after its vCPUs that do without an abort for a while.

use std::time::Instant;

use crate::event::EventKind;
use crate::vcpu::{SETTLED, VcpuThread};
use crate::vm::control::Control;
use crate::vm::lost_page;
use crate::vm::state::VmState;

impl Control {
    /// Looks whether the guest has read what it was told, and tells it what it could not be told before. A guest that does not run
    /// reads nothing.
    pub(super) fn look_after_notifications(&mut self) {
        self.next_notification = None;
        let Some((_, context)) = self.resources().filter(|_| self.state() == VmState::Running) else {
            return;
        };
        let Some(notifier) = &context.notifier else {
            return;
        };
        self.next_notification = notifier.advance().map(|again| Instant::now() + again);
        if notifier.take_has_read() {
            lost_page::note_retired(&context, notifier);
        }
        while let Some(failed) = notifier.take_failed() {
            self.shared.outbox.push(EventKind::NotificationFailed(failed));
        }
    }

    /// Sees to it that the vCPUs whose access runs again are kicked in a while.
    pub(super) fn look_after_deferrals(&mut self) {
        if self.next_deferral.is_none() && self.deferring().next().is_some() {
            self.next_deferral = Some(Instant::now() + SETTLED);
        }
    }

    /// Kicks the vCPUs whose access runs again: each looks then whether it has gone on.
    pub(super) fn kick_deferring(&mut self) {
        self.next_deferral = None;
        for vcpu in self.deferring() {
            // One that is not kicked now is the next time.
            drop(vcpu.kicker.kick());
        }
        self.look_after_deferrals();
    }

    /// The running vCPUs whose access runs again without its abort.
    fn deferring(&self) -> impl Iterator<Item = &VcpuThread> {
        let runs = self.state() == VmState::Running;
        let vcpus = self.vcpus.iter().filter(move |_| runs);
        vcpus.filter(|vcpu| vcpu.mailbox.defers())
    }
}
