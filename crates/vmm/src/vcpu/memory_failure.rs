//! The path of a memory error, on the thread of the vCPU that consumed it and before it runs again.
//!
//! The order is what contains it: the ledger first, then the quarantine, so that no other vCPU consumes the error while the
//! rest goes on; then the verdict, the plan, the injection; the event last, because it tells what was done.

use std::sync::Arc;

use seawall_arm64::{Esr, Gpa, Gva};
use seawall_kvm::{KvmError, MemoryErrorSignal, RegId, SeaExit, VcpuEntry};

use crate::backend::VcpuBackend;
use crate::containment::{Assessment, signalled};
use crate::event::{EventKind, Injection, InjectionMethod, MemoryFailure};
use crate::memory_layout::PAGE_SIZE;
use crate::sea::{
    self, AbortRequest, Access, BARE_DATA_ABORT, ErrorReport, FailureAction, Fidelity, MemoryError, Severity,
    Threshold, VerdictReason,
};
use crate::vcpu::apply::{self, inject, interrupted};
use crate::vcpu::mailbox::Mailbox;
use crate::vcpu::question::Asked;
use crate::vcpu::run_loop::{LastExit, ParkReason, RunContext, VcpuPosition};
use crate::vcpu::settling::Terms;
use crate::vcpu::telling::is_fetch;

/// The aborts of one page at one instruction, injected in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streak {
    pc: Gva,
    page: Option<Gpa>,
    injections: u32,
}

/// ISS.WnR: a write.
pub(super) const ISS_WNR: u64 = 1 << 6;

/// The syndrome of an access of which nothing is known but its direction.
pub(super) const fn bare_abort(write: bool) -> Esr {
    Esr::from_bits(BARE_DATA_ABORT.bits() | if write { ISS_WNR } else { 0 })
}

/// The access behind a report, as far as an abort depends on it.
const fn access(report: ErrorReport) -> Access {
    match report {
        ErrorReport::Sea { esr, gva } => Access { esr, gva },
        ErrorReport::Hole { write } => Access {
            esr: bare_abort(write),
            gva: None,
        },
        ErrorReport::Signal { .. } | ErrorReport::MemoryFault | ErrorReport::Owner => Access {
            esr: BARE_DATA_ABORT,
            gva: None,
        },
    }
}

/// Whether the guest enters an exception here: an entry of its vector table (Arm ARM D1.4.1.5, 16 entries of 128 bytes).
fn is_vector(pc: Gva, vcpu: &mut dyn VcpuBackend) -> Result<bool, KvmError> {
    let offset = pc.bits().wrapping_sub(vcpu.get_register(RegId::VBAR_EL1)?);
    Ok(offset < 16 * 128 && offset.is_multiple_of(128))
}

impl VcpuPosition {
    /// `KVM_EXIT_ARM_SEA`.
    pub(super) fn sea(
        &mut self,
        index: u32,
        sea: SeaExit,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
    ) -> Option<ParkReason> {
        let report = ErrorReport::Sea {
            esr: sea.esr,
            gva: sea.gva,
        };
        self.memory_failure(index, report, sea.gpa, vcpu, context, mailbox)
    }

    /// `SIGBUS` of the guest's access.
    pub(super) fn signal(
        &mut self,
        index: u32,
        signal: MemoryErrorSignal,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
    ) -> Option<ParkReason> {
        let (gpa, report) = signalled(signal);
        if context.is_replaced(gpa) && self.late_signal != Some(gpa) {
            // It may have been raised before the page was replaced. A new error raises it again.
            self.late_signal = Some(gpa);
            return None;
        }
        self.late_signal = None;
        self.memory_failure(index, report, Some(gpa), vcpu, context, mailbox)
    }

    /// A memory error that an access of this vCPU met.
    pub(super) fn memory_failure(
        &mut self,
        index: u32,
        report: ErrorReport,
        gpa: Option<Gpa>,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
    ) -> Option<ParkReason> {
        self.last_exit = LastExit::Access(access(report));
        // Whatever is done about it, the access is not completed: after MMIO the kernel would, with bytes of nobody's.
        self.entry = VcpuEntry::Retry;
        let consumer = interrupted(vcpu);
        let error = MemoryError {
            vcpu: Some(index),
            report,
            gpa,
            consumer: consumer.as_ref().ok().copied(),
        };
        let mut worse = None;
        if let Some(deferral) = self.deferral.take() {
            // The processor reports an error of fresh memory: it is one of its own.
            let lost_again =
                matches!(report, ErrorReport::Sea { .. }) && gpa.is_some_and(|gpa| context.is_replaced(gpa));
            match (deferral.is_of(&error) && !lost_again, sea::severity(&error)) {
                (true, Severity::Recoverable) => {
                    return self.defer_again(index, deferral, vcpu, context, mailbox);
                }
                // Without a quarantine the access consumes the error again, and this time nobody can contain it.
                (true, Severity::Fatal) => worse = deferral.over(context).0.deferral,
                (false, _) => deferral.give_way(context),
            }
        }
        // What the guest has lost is lost, whatever can be said of who needed it.
        let consumer = consumer.and_then(|consumer| Ok((consumer, self.streak(&error, vcpu)?.injections)));
        let Assessment {
            mut failure,
            threshold,
        } = context.assess(error, consumer.as_ref().map_or(0, |(_, injections)| *injections));
        failure.deferral = worse;
        let consumer = match consumer {
            Ok((consumer, _)) => consumer,
            Err(error) => {
                self.leave_undecided(failure, threshold, context, mailbox);
                return Some(ParkReason::Failed(error.into()));
            }
        };
        // Of a page that holds the guest's error records nothing is lost that cannot be written again.
        let may_be_mended = failure.action == FailureAction::Inject;
        let page = failure.page.as_ref().filter(|_| may_be_mended);
        let mended = page.and_then(|hit| context.mend_records(&hit.page));
        if mended.is_some() {
            failure.action = FailureAction::Resume;
        }
        let totals = failure.ledger;
        let mut must_park = false;
        let questions = context.questions_about(failure.source);
        let mut kind = None;
        let (reason, seq, kept) = match questions.filter(|_| mended.is_none()) {
            None => {
                let terms = Terms {
                    interrupted: Some(consumer),
                    ..Terms::default()
                };
                let reason = self.carry_out(index, &mut failure, terms, vcpu, context, mailbox);
                let (seq, kept) = tell_failure(failure, context);
                (reason, seq, kept)
            }
            Some(questions) => {
                // The number comes first: whoever is asked knows the failure by it.
                let seq = context.outbox.reserve();
                let asked = Asked {
                    index,
                    seq,
                    questions,
                };
                (kind, must_park) = asked.decide(&mut failure, vcpu, context, mailbox);
                let terms = Terms {
                    kind,
                    ..Terms::default()
                };
                let reason = self.carry_out(index, &mut failure, terms, vcpu, context, mailbox);
                let kept = failure.is_unsettled().then(|| failure.clone());
                if failure.waits() {
                    context.pending().insert(seq, (*failure).clone());
                }
                context
                    .outbox
                    .push_reserved(seq, EventKind::MemoryFailure(failure));
                (reason, seq, kept)
            }
        };
        if let Some(mended) = mended {
            context.outbox.push(mended);
        }
        context.tell_threshold(threshold, totals);
        if let Some(failure) = kept {
            self.keep(seq, *failure, kind, context, mailbox);
        }
        reason.or(must_park.then_some(ParkReason::Requested))
    }

    /// Tells of an error whose vCPU cannot be looked at, so that nobody can decide about it. The abort waits.
    fn leave_undecided(
        &mut self,
        mut failure: Box<MemoryFailure>,
        threshold: Option<Threshold>,
        context: &RunContext,
        mailbox: &Mailbox,
    ) {
        failure.action = FailureAction::Stop;
        failure.reason = VerdictReason::UnreadableVcpu;
        let totals = failure.ledger;
        let (seq, kept) = tell_failure(failure, context);
        context.tell_threshold(threshold, totals);
        if let Some(failure) = kept {
            self.keep(seq, *failure, None, context, mailbox);
        }
    }

    /// The row of aborts that this error would go on with.
    ///
    /// A copy routine meets many pages at one instruction, so that it is a row only where the page is known. A guest that cannot
    /// fetch its handler of aborts does nothing else any more, whatever page it is.
    fn streak(&self, error: &MemoryError, vcpu: &mut dyn VcpuBackend) -> Result<Streak, KvmError> {
        let pc = error.consumer.map_or(Gva::from_bits(0), |consumer| consumer.pc);
        let page = error.gpa.map(|gpa| gpa.page(PAGE_SIZE));
        Ok(match self.streak {
            Some(streak)
                if (streak.pc, streak.page) == (pc, page)
                    && (page.is_some() || (is_fetch(error.report) && is_vector(pc, vcpu)?)) =>
            {
                streak
            }
            _ => Streak {
                pc,
                page,
                injections: 0,
            },
        })
    }

    pub(super) fn inject_for(
        &mut self,
        error: &MemoryError,
        Terms {
            kind, interrupted, ..
        }: Terms,
        vcpu: &mut dyn VcpuBackend,
    ) -> Result<Injection, KvmError> {
        let interrupted = match interrupted {
            Some(interrupted) => interrupted,
            None => apply::interrupted(vcpu)?,
        };
        let pstate = interrupted.pstate;
        let access = access(error.report);
        let plan = match (kind, error.report) {
            (Some(kind), _) => sea::plan_request(&AbortRequest::of_kind(kind), Some(access), pstate),
            (None, ErrorReport::Sea { .. } | ErrorReport::Hole { .. }) => {
                sea::plan(access, pstate, Fidelity::Restored)
            }
            // There is no syndrome: what the kernel knows of the access is better than what we do.
            (None, ErrorReport::Signal { .. } | ErrorReport::MemoryFault | ErrorReport::Owner) => {
                sea::plan(access, pstate, Fidelity::Kvm)
            }
        };
        // What fails is looked up before, and what fails afterwards is in the answer: the abort is told in any case.
        let streak = self.streak(error, vcpu)?;
        let mut injection = inject(vcpu, &plan, interrupted);
        let by_signal = !matches!(error.report, ErrorReport::Sea { .. } | ErrorReport::Hole { .. });
        if let Some(consumer) = error.consumer.filter(|_| by_signal)
            && kind.is_none()
            && injection.error.is_none()
        {
            injection = make_fetch_abort(vcpu, injection, consumer.pc);
        }
        let injections = streak.injections.saturating_add(1);
        self.streak = injection.entered().then_some(Streak { injections, ..streak });
        Ok(injection)
    }
}

/// Tells of a failure, and gives back what is to be kept of one that is not settled. Whoever reads the event finds it among
/// those that wait, if it does.
#[inline]
fn tell_failure(failure: Box<MemoryFailure>, context: &RunContext) -> (u64, Option<Box<MemoryFailure>>) {
    let kept = failure.is_unsettled().then(|| failure.clone());
    let pending = failure.waits().then(|| context.pending());
    let seq = context.outbox.push(EventKind::MemoryFailure(failure));
    if let (Some(mut pending), Some(kept)) = (pending, &kept) {
        pending.insert(seq, (**kept).clone());
    }
    (seq, kept)
}

/// Makes an instruction abort of a data abort at the interrupted instruction's own address: the kernel injects data aborts
/// only, and a signal does not say that it was the fetch that needed the page.
fn make_fetch_abort(vcpu: &mut dyn VcpuBackend, injection: Injection, pc: Gva) -> Injection {
    let Some(esr) = injection.esr else {
        return injection;
    };
    // The exception classes 0x24 and 0x25 differ from 0x20 and 0x21 in this bit alone.
    let esr = Esr::from_bits(esr.bits() & !(1 << 28));
    let made = vcpu.get_register(RegId::FAR_EL1).and_then(|far| {
        let is_fetch = far == pc.bits();
        if is_fetch {
            vcpu.set_register(RegId::ESR_EL1, esr.bits())?;
        }
        Ok(is_fetch)
    });
    let (esr, error) = match made {
        Ok(false) => return injection,
        Ok(true) => (Some(esr), None),
        Err(error) => (None, Some(error.into())),
    };
    Injection {
        method: InjectionMethod::VcpuEventsAndRegisters,
        esr,
        error,
    }
}
