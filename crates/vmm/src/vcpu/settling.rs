//! Doing what was decided about a memory error: at once, after a while, or when somebody resumes the guest.

use seawall_arm64::AbortKind;

use crate::backend::VcpuBackend;
use crate::error::VmError;
use crate::event::{DecidedBy, EventKind, MemoryFailure};
use crate::ghes::Tried;
use crate::sea::{Consumer, Decision, FailureAction, PageState, VerdictReason};
use crate::vcpu::apply::inject_serror;
use crate::vcpu::deferral::Deferral;
use crate::vcpu::mailbox::Mailbox;
use crate::vcpu::run_loop::{Decisions, ParkReason, RunContext, VcpuPosition};
use crate::vcpu::telling::{OVER, Told, tell, tell_in_passing};
use crate::vm::Message;

/// A failure whose abort waits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PendingFailure {
    /// The number of its event.
    pub(super) seq: u64,
    pub(super) failure: MemoryFailure,
}

/// How a failure is settled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// The abort that somebody asked for.
    pub(super) kind: Option<AbortKind>,
    /// What was tried to do without an abort.
    pub(super) tried: Tried,
    /// The registers that the access was interrupted with, where nobody can have written them since they were read.
    pub(super) interrupted: Option<Consumer>,
}

impl VcpuPosition {
    /// Keeps a failure that is not settled yet.
    pub(super) fn keep(
        &mut self,
        seq: u64,
        failure: MemoryFailure,
        kind: Option<AbortKind>,
        context: &RunContext,
        mailbox: &Mailbox,
    ) {
        if failure.waits() {
            self.pending = Some(PendingFailure { seq, failure });
        } else if failure.action == FailureAction::Defer {
            self.deferral = Some(Box::new(Deferral::new(seq, failure, kind, context)));
            if mailbox.begin_deferral() {
                // The control thread is gone once the VM is closed.
                drop(context.control.send(Message::LookAfterGuest));
            }
        }
    }

    /// Does what was decided, on this thread. `None`: the vCPU runs on.
    pub(super) fn carry_out(
        &mut self,
        index: u32,
        failure: &mut MemoryFailure,
        terms: Terms,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Mailbox,
    ) -> Option<ParkReason> {
        if failure.action == FailureAction::Defer && context.policy.defer.is_zero() {
            failure.action = FailureAction::Inject;
        }
        match failure.action {
            FailureAction::Inject => {
                let told = tell(failure, terms.tried, context, mailbox);
                if told == Told::RunAgain {
                    failure.action = FailureAction::Defer;
                }
            }
            FailureAction::Defer | FailureAction::InjectSError(_) => tell_in_passing(failure, context),
            _ => {}
        }
        let injection = match failure.action {
            FailureAction::Inject => self.inject_for(&failure.error, terms, vcpu),
            FailureAction::InjectSError(iss) => Ok(inject_serror(vcpu, iss)),
            FailureAction::Pause => return Some(ParkReason::MemoryErrorPauses),
            FailureAction::Stop => return Some(ParkReason::PolicyStops),
            FailureAction::Resume => {
                failure.page = failure.page.map(|hit| hit.in_state(PageState::Replaced));
                return None;
            }
            FailureAction::Defer | FailureAction::Ignore => return None,
        };
        match injection {
            Err(error) => Some(ParkReason::Failed(error.into())),
            Ok(injection) => {
                let failed = injection.error.clone();
                failure.injection = Some(injection);
                // Going back into the guest would consume the error again, for ever.
                failed.map(|source| ParkReason::Failed(VmError::InjectionFailed { vcpu: index, source }))
            }
        }
    }

    /// Lets a deferred access run again, or injects its abort if the time is over.
    pub(super) fn defer_again(
        &mut self,
        index: u32,
        mut deferral: Box<Deferral>,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Mailbox,
    ) -> Option<ParkReason> {
        if deferral.retry(context, mailbox) {
            self.deferral = Some(deferral);
            return None;
        }
        let (mut failure, kind) = deferral.over(context);
        let terms = Terms {
            kind,
            tried: OVER,
            interrupted: None,
        };
        let reason = self.carry_out(index, &mut failure, terms, vcpu, context, mailbox);
        context.outbox.push(EventKind::MemoryFailure(Box::new(failure)));
        reason
    }

    /// Does what was decided about the failure that waits, if one does, and says so in an event of its own.
    pub(super) fn settle_pending(
        &mut self,
        index: u32,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Mailbox,
        decisions: &Decisions,
    ) -> Option<ParkReason> {
        let PendingFailure { seq, mut failure } = self.pending.take()?;
        let decision = decisions.get(&seq).copied();
        let (action, kind) = decision.unwrap_or(Decision::Inject(None)).action();
        if action == FailureAction::Pause {
            // It was told that it waits, and goes on waiting.
            self.pending = Some(PendingFailure { seq, failure });
            return Some(ParkReason::MemoryErrorPauses);
        }
        failure.action = action;
        failure.reason = VerdictReason::Resumed { failure: seq };
        if decision.is_some() {
            failure.decided_by = DecidedBy::Decide;
        }
        let terms = Terms {
            kind,
            ..Terms::default()
        };
        let reason = self.carry_out(index, &mut failure, terms, vcpu, context, mailbox);
        context.pending().remove(&seq);
        let told = context
            .outbox
            .push(EventKind::MemoryFailure(Box::new(failure.clone())));
        if failure.action == FailureAction::Defer {
            self.keep(told, failure, kind, context, mailbox);
        }
        reason
    }
}
