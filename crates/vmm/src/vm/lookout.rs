//! Looking after a running guest that was told of lost pages, and after its vCPUs that do without an abort for a while.

use std::time::Instant;

use crate::event::EventKind;
use crate::ghes::{FailedReason, SourceState};
use crate::notifier::{FailedNotification, NotificationSource};
use crate::vcpu::{SETTLED, VcpuThread};
use crate::vm::control::Control;
use crate::vm::lost_page;
use crate::vm::state::VmState;

impl Control {
    /// Looks whether the guest has read what it was told, and tells it what it could not be told before. A guest that does not run
    /// reads nothing.
    pub(super) fn look_after_notifications(&mut self) {
        self.next_notification = None;
        let Some((_, context)) = self.resources() else {
            return;
        };
        let Some(notifier) = &context.notifier else {
            return;
        };
        notifier.begin_look();
        if self.state() != VmState::Running {
            return;
        }
        self.next_notification = notifier.advance().map(|again| Instant::now() + again);
        if notifier.take_has_read() {
            lost_page::note_retired(&context, notifier);
        }
        // What lost its memory may get fresh memory from the vCPU that met it: only what is still lost a little later is told.
        let states = notifier.states();
        let now = Instant::now();
        let is_later = |(_, since): &mut (NotificationSource, Instant)| now - *since >= SETTLED;
        let later: Vec<_> = self.lost_sources.extract_if(.., is_later).collect();
        for (source, _) in later {
            let state = match source {
                NotificationSource::Sea => states.sea,
                NotificationSource::Gsiv | NotificationSource::Agent => states.gsiv,
            };
            if state == SourceState::Disabled {
                let reason = FailedReason::Lost;
                let failed = FailedNotification { source, reason };
                self.shared.outbox.push(EventKind::NotificationFailed(failed));
            }
        }
        while let Some(failed) = notifier.take_failed() {
            match failed.reason {
                FailedReason::Lost => self.lost_sources.push((failed.source, now)),
                FailedReason::Unread => {
                    self.shared.outbox.push(EventKind::NotificationFailed(failed));
                }
            }
        }
        if !self.lost_sources.is_empty() {
            let soon = now + SETTLED;
            self.next_notification = Some(self.next_notification.map_or(soon, |next| next.min(soon)));
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use seawall_arm64::Gpa;
    use seawall_kvm::GuestMemory;

    use super::*;
    use crate::backend::fake;
    use crate::event::Outbox;
    use crate::memory_layout::RAM_BASE;
    use crate::notifier::{ErrorSources, GuestNotifier, Way};
    use crate::sea::RecoverablePolicy;
    use crate::vcpu::RunContext;
    use crate::vm::Shared;
    use crate::vm::control::Limits;

    #[test]
    fn a_source_that_is_mended_a_moment_later_is_not_told_as_lost() {
        for is_mended in [false, true] {
            let memory = Arc::new(GuestMemory::create(1 << 20, None).expect("memory"));
            let way = Way::Ghes(Box::new(ErrorSources::new(RAM_BASE, None)));
            let notifier = GuestNotifier::new(way, Arc::clone(&memory), mpsc::channel().0);
            let outbox = Arc::new(Outbox::new(Box::new(|| {})));
            let context = Arc::new(RunContext {
                notifier: Some(notifier),
                ..fake::context(RecoverablePolicy::Inject, outbox)
            });
            let shared = Arc::new(Shared::new(None, memory, Arc::clone(&context)));
            shared.state.set(VmState::Running);
            let mut control = Control::new(Vec::new(), None, shared, Limits::DEFAULT, None);
            let notifier = context.notifier.as_ref().expect("it has one");
            let block = Gpa::from_bits(RAM_BASE + 0x2000);
            notifier.tell_by_interrupt((block, 4096), None);
            control.look_after_notifications();
            assert_eq!(context.outbox.take_events(), [], "it may still be mended");
            assert!(control.next_notification.is_some(), "it is looked at again");
            if is_mended {
                notifier.mend(block, 4096);
            }
            std::thread::sleep(SETTLED);
            control.look_after_notifications();
            let told = context.outbox.take_events();
            let told: Vec<_> = told.into_iter().map(|event| event.kind).collect();
            let lost = EventKind::NotificationFailed(FailedNotification {
                source: NotificationSource::Sea,
                reason: FailedReason::Lost,
            });
            assert_eq!(told.contains(&lost), !is_mended);
        }
    }
}
