//! The thread that owns a virtual machine's state.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, Instant};

use seawall_arm64::Gpa;
use seawall_kvm::{SystemEventKind, VmFd};

use crate::error::VmError;
use crate::event::EventKind;
use crate::notifier::NotificationSource;
use crate::sea::Decision;
use crate::vcpu::{Decisions, ParkReason, VcpuCommand, VcpuThread};
use crate::vm::Shared;
use crate::vm::goal::{Destination, Goal};
use crate::vm::message::{Message, Reply};
use crate::vm::restart::Restart;
use crate::vm::state::{ClosedVm, ExitReason, VmExit, VmState};

/// How long the control thread waits for a vCPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// To leave the guest, or to end. The kernel does it at once; a thread that does not is lost.
    pub(super) park: Duration,
    /// Before one that has not left the guest is kicked again.
    pub(super) kick: Duration,
}

impl Limits {
    pub(super) const DEFAULT: Self = Self {
        park: Duration::from_secs(10),
        kick: Duration::from_millis(100),
    };
}

/// The owner of a virtual machine's state.
pub(super) struct Control {
    pub(super) vcpus: Vec<VcpuThread>,
    pub(super) vm: Option<Arc<VmFd>>,
    pub(super) shared: Arc<Shared>,
    pub(super) limits: Limits,
    /// What the guest boots with after a reset of its own, where that does not end the virtual machine.
    pub(super) restart: Option<Restart>,
    /// The pages that the last restart replaced and that the host has told nothing of since.
    pub(super) fresh_pages: BTreeSet<Gpa>,
    /// Per vCPU, whether it is in the guest or on its way to park.
    pub(super) running: Vec<bool>,
    pub(super) goal: Option<Goal>,
    /// When to look whether the guest has read what it was told.
    pub(super) next_notification: Option<Instant>,
    /// The error sources whose memory was lost at a look, and when.
    pub(super) lost_sources: Vec<(NotificationSource, Instant)>,
    /// When to kick the vCPUs whose access runs again: each looks then whether it has gone on.
    pub(super) next_deferral: Option<Instant>,
    exit: Option<VmExit>,
    pub(super) exit_replies: Vec<Reply<VmExit>>,
    pub(super) pause_replies: Vec<Reply<()>>,
    pub(super) close_replies: Vec<Reply<ClosedVm>>,
}

impl Control {
    pub(super) fn new(
        vcpus: Vec<VcpuThread>,
        vm: Option<Arc<VmFd>>,
        shared: Arc<Shared>,
        limits: Limits,
        restart: Option<Restart>,
    ) -> Self {
        Self {
            running: vec![false; vcpus.len()],
            vcpus,
            vm,
            shared,
            limits,
            restart,
            fresh_pages: BTreeSet::new(),
            goal: None,
            next_notification: None,
            lost_sources: Vec::new(),
            next_deferral: None,
            exit: None,
            exit_replies: Vec::new(),
            pause_replies: Vec::new(),
            close_replies: Vec::new(),
        }
    }

    /// Serves messages until the virtual machine is closed, or until its handle is gone, which closes it too. What is
    /// sent later is dropped, and thereby answered.
    pub(super) fn serve(mut self, inbox: &mpsc::Receiver<Message>) {
        while self.state() != VmState::Closed {
            // What has its time must not be put off by messages that keep coming.
            let message = match self.next_deadline() {
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) => inbox.recv_timeout(left),
                    None => Err(mpsc::RecvTimeoutError::Timeout),
                },
                None => inbox.recv().map_err(mpsc::RecvTimeoutError::from),
            };
            match message {
                Ok(message) => self.handle(message),
                Err(mpsc::RecvTimeoutError::Timeout) => self.act_in_time(),
                // Unreachable while vCPU threads hold senders; without them there is nothing left to do.
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if !self.close_replies.is_empty() && self.is_parked_for_good() {
                self.close(inbox);
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let next_kick = self.goal.as_ref().map(|goal| goal.next_kick);
        let others = self.next_notification.into_iter().chain(self.next_deferral);
        next_kick.into_iter().chain(others).min()
    }

    /// Does what has its time.
    fn act_in_time(&mut self) {
        let now = Instant::now();
        if self.goal.as_ref().is_some_and(|goal| goal.next_kick <= now) {
            self.kick_again();
        }
        if self.next_notification.is_some_and(|next| next <= now) {
            self.look_after_notifications();
        }
        if self.next_deferral.is_some_and(|next| next <= now) {
            self.kick_deferring();
        }
    }

    pub(super) fn state(&self) -> VmState {
        self.shared.state.get()
    }

    pub(super) fn change_state(&self, to: VmState) {
        let from = self.state();
        if from != to {
            self.shared.state.set(to);
            self.shared.outbox.push(EventKind::StateChanged { from, to });
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Parked { vcpu, reason } => self.parked(vcpu, reason),
            Message::Ended => {}
            Message::Start(reply) => {
                self.run_from(VmState::Created, "start()", "created", Decisions::new(), reply);
            }
            Message::Resume(decisions, reply) => match self.check(&decisions) {
                Ok(()) => self.run_from(VmState::Paused, "resume()", "paused", decisions, reply),
                Err(error) => reply(Err(error)),
            },
            Message::Pause(reply) => self.pause(reply),
            Message::Stop(reply) => {
                self.exit_replies.push(reply);
                self.stop();
            }
            Message::Wait(reply) => match &self.exit {
                Some(exit) => reply(Ok(exit.clone())),
                None => self.exit_replies.push(reply),
            },
            Message::Close(reply) => {
                self.close_replies.push(reply);
                self.stop();
            }
            // What could not be done is in the event.
            Message::Lost { gpa, report } => drop(self.lost(gpa, report)),
            Message::ReportPoison { gpa, len, reply } => reply(self.report_poison(gpa, len)),
            Message::ReplacePage { gpa, reply } => reply(self.replace_page(gpa)),
            Message::LookAfterGuest => {
                self.look_after_notifications();
                self.look_after_deferrals();
            }
            Message::Vcpu {
                vcpu,
                operation,
                command,
            } => self.command(vcpu, operation, command),
        }
    }

    /// Whether every decision is about a failure that waits and can be done, and every failure that must not be injected
    /// has one.
    fn check(&self, decisions: &Decisions) -> Result<(), VmError> {
        let resources = self
            .shared
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(held) = resources.as_ref() else {
            return Ok(());
        };
        let pending = held.context.pending();
        if let Some(failure) = decisions.keys().find(|seq| !pending.contains_key(seq)) {
            return Err(VmError::NoSuchFailure { failure: *failure });
        }
        for (seq, failure) in pending.iter() {
            let decision = decisions.get(seq).copied().unwrap_or(Decision::Inject(None));
            if !decision.allowed(failure.severity, held.context.page_state(failure.error.gpa)) {
                return Err(VmError::DecisionNotAllowed { failure: *seq });
            }
        }
        Ok(())
    }

    fn run_from(
        &mut self,
        from: VmState,
        operation: &'static str,
        expected: &'static str,
        decisions: Decisions,
        reply: Reply<()>,
    ) {
        let state = self.state();
        if state != from || self.goal.is_some() {
            return reply(Err(VmError::InvalidState {
                operation,
                expected,
                state,
            }));
        }
        self.change_state(VmState::Running);
        self.let_run(&Arc::new(decisions));
        reply(Ok(()));
    }

    pub(super) fn let_run(&mut self, decisions: &Arc<Decisions>) {
        // Before the first vCPU runs: what waits for its guest must not count the pause.
        if let Some((_, context)) = self.resources()
            && let Some(notifier) = &context.notifier
        {
            notifier.resumed();
        }
        for (vcpu, running) in self.vcpus.iter().zip(&mut self.running) {
            *running = true;
            vcpu.mailbox.request_run(Arc::clone(decisions));
        }
        self.look_after_notifications();
        self.look_after_deferrals();
    }

    fn pause(&mut self, reply: Reply<()>) {
        let state = self.state();
        match (&self.goal, state) {
            (
                Some(Goal {
                    destination: Destination::Paused,
                    ..
                }),
                _,
            ) => self.pause_replies.push(reply),
            (
                None
                | Some(Goal {
                    destination: Destination::Restarted { .. },
                    ..
                }),
                VmState::Running,
            ) => {
                self.pause_replies.push(reply);
                self.aim(Destination::Paused);
            }
            _ => reply(Err(VmError::InvalidState {
                operation: "pause()",
                expected: "running",
                state,
            })),
        }
    }

    fn stop(&mut self) {
        let exit = VmExit {
            reason: ExitReason::Requested,
            vcpu: None,
            error: None,
        };
        match self.state() {
            VmState::Created | VmState::Running | VmState::Paused => self.aim(Destination::Ended(exit)),
            // It has ended already: who asks is told how.
            VmState::Stopped | VmState::Failed | VmState::Closed => self.answer_exit(),
        }
    }

    fn parked(&mut self, vcpu: u32, reason: ParkReason) {
        let ending = self.is_ending();
        let index = vcpu as usize;
        if let (Some(vcpu), Some(running)) = (self.vcpus.get(index), self.running.get_mut(index)) {
            // A run that was asked for since, by a resume that came first, has an end of its own.
            *running = vcpu.mailbox.is_running() && (ending || reason != ParkReason::Asks);
        }
        if self.exit.is_some() {
            // A vCPU that was given up parks after all. How the machine ended is settled and told.
            return;
        }
        let ended = |reason| VmExit {
            reason,
            vcpu: Some(vcpu),
            error: None,
        };
        match reason {
            ParkReason::Requested | ParkReason::Asks => self.arrive(),
            ParkReason::MemoryErrorPauses => self.aim(Destination::Paused),
            ParkReason::PolicyStops => {
                self.aim(Destination::Ended(ended(ExitReason::Policy)));
            }
            ParkReason::SystemEvent(SystemEventKind::Shutdown) => {
                self.aim(Destination::Ended(ended(ExitReason::Shutdown)));
            }
            ParkReason::SystemEvent(SystemEventKind::Reset) if self.restart.is_some() => {
                self.aim(Destination::Restarted { vcpu, pause: false });
            }
            ParkReason::SystemEvent(SystemEventKind::Reset) => {
                self.aim(Destination::Ended(ended(ExitReason::Reset)));
            }
            ParkReason::SystemEvent(SystemEventKind::Crash | SystemEventKind::Other(_)) => {
                self.aim(Destination::Ended(ended(ExitReason::Crash)));
            }
            ParkReason::Failed(error) => {
                self.shared.outbox.push(EventKind::VcpuFailed {
                    vcpu,
                    error: error.clone(),
                });
                let exit = VmExit {
                    error: Some(error),
                    ..ended(ExitReason::Failed)
                };
                self.aim(Destination::Ended(exit));
            }
        }
    }

    pub(super) fn reach_pause(&mut self) {
        self.change_state(VmState::Paused);
        for reply in self.pause_replies.drain(..) {
            reply(Ok(()));
        }
    }

    pub(super) fn end(&mut self, exit: VmExit) {
        let state = if exit.reason == ExitReason::Failed {
            VmState::Failed
        } else {
            VmState::Stopped
        };
        // What the guest has read by now counts.
        self.look_after_notifications();
        self.change_state(state);
        self.shared.outbox.push(EventKind::Exit(exit.clone()));
        self.exit = Some(exit);
        for reply in self.pause_replies.drain(..) {
            reply(Err(VmError::InvalidState {
                operation: "pause()",
                expected: "running",
                state,
            }));
        }
        self.answer_exit();
    }

    fn answer_exit(&mut self) {
        if let Some(exit) = &self.exit {
            for reply in self.exit_replies.drain(..) {
                reply(Ok(exit.clone()));
            }
        }
    }

    fn command(&self, index: u32, operation: &'static str, command: VcpuCommand) {
        let vcpus = u32::try_from(self.vcpus.len()).unwrap_or(u32::MAX);
        let Some(vcpu) = self.vcpus.get(index as usize) else {
            return command.refuse(VmError::NoSuchVcpu { index, vcpus });
        };
        match self.state() {
            VmState::Created | VmState::Paused | VmState::Stopped | VmState::Failed
                if !self.running[index as usize] =>
            {
                vcpu.mailbox.send(command);
            }
            // Out of the guest, and served while it waits.
            VmState::Running if vcpu.mailbox.is_asking() => vcpu.mailbox.send(command),
            VmState::Closed => command.refuse(VmError::Closed { operation }),
            state => command.refuse(VmError::VcpuRunning { operation, state }),
        }
    }
}

#[cfg(test)]
mod tests;
