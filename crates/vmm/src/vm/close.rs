//! The end of a virtual machine.

use std::sync::{PoisonError, mpsc};
use std::time::Instant;

use crate::event::EventKind;
use crate::vm::control::Control;
use crate::vm::lost_page;
use crate::vm::message::Message;
use crate::vm::state::{ClosedVm, VmState};

impl Control {
    pub(super) fn is_parked_for_good(&self) -> bool {
        self.goal.is_none() && matches!(self.state(), VmState::Stopped | VmState::Failed)
    }

    /// Gives everything back: threads, vCPUs, the VM, and guest memory last.
    pub(super) fn close(&mut self, inbox: &mpsc::Receiver<Message>) {
        // Dropped, and thereby answered, when this has ended.
        let mut late = Vec::new();
        let deadline = Instant::now() + self.limits.park;
        for vcpu in &self.vcpus {
            vcpu.mailbox.request_quit();
            drop(vcpu.kicker.kick());
        }
        let mut living = self.vcpus.len();
        while living > 0 {
            match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Message::Ended) => living -= 1,
                Ok(Message::Parked { .. }) => {}
                Ok(message) => late.push(message),
                // A thread that is stuck in the kernel keeps what it uses; the rest is given back.
                Err(_) => break,
            }
        }
        if living == 0 {
            for vcpu in self.vcpus.drain(..) {
                drop(vcpu.thread.join());
            }
        }
        self.vm = None;
        let resources = self
            .shared
            .resources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let closed = match resources {
            None => ClosedVm::default(),
            Some(held) if living > 0 => {
                let unretired_host_pages = held.context.ledger().totals().distinct_pages;
                // The kernel still has the addresses of guest memory, so it stays for as long as the process.
                std::mem::forget(held);
                ClosedVm { unretired_host_pages }
            }
            // Given back before the answer, which says that it was done.
            Some(held) => lost_page::retire(&held.context),
        };
        let from = self.state();
        self.shared.state.set_closed(closed);
        self.shared.outbox.push(EventKind::StateChanged {
            from,
            to: VmState::Closed,
        });
        for reply in self.close_replies.drain(..) {
            reply(Ok(closed));
        }
    }
}
