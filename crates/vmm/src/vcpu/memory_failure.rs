//! The path of a memory error, on the thread of the vCPU that consumed it and before it runs again.
//!
//! The order is what contains it: the ledger first, then the quarantine, so that no other vCPU consumes the error while the
//! rest goes on; then the verdict, the plan, the injection; the event last, because it tells what was done.

use std::sync::Arc;
use std::time::SystemTime;

use seawall_arm64::{AbortKind, Esr, Gpa, Gva, Pstate};
use seawall_kvm::{KvmError, MemoryErrorSignal, RegId, SeaExit};

use crate::backend::VcpuBackend;
use crate::error::VmError;
use crate::event::{
    DecidedBy, EventKind, Injection, InjectionMethod, MemoryFailure, QuarantineMethod, QuarantineReport,
};
use crate::memory_layout::{PAGE_SIZE, RAM_BASE};
use crate::sea::{
    self, AbortRequest, Access, BARE_DATA_ABORT, Consumer, Decision, ErrorReport, FailureAction,
    FailureSource, Fidelity, Granule, History, LedgerTotals, MemoryError, PageHit, PageState, VerdictReason,
};
use crate::vcpu::apply::{inject, inject_serror};
use crate::vcpu::mailbox::Mailbox;
use crate::vcpu::question::Asked;
use crate::vcpu::run_loop::{Decisions, LastExit, ParkReason, RunContext, VcpuPosition};

/// The aborts of one page at one instruction, injected in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streak {
    pc: Gva,
    page: Option<Gpa>,
    injections: u32,
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
        self.last_exit = LastExit::Access(Access {
            esr: sea.esr,
            gva: sea.gva,
        });
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
        self.last_exit = LastExit::Access(Access {
            esr: BARE_DATA_ABORT,
            gva: None,
        });
        let report = ErrorReport::Signal { lsb: signal.lsb };
        let gpa = Gpa::from_bits(RAM_BASE + signal.offset);
        self.memory_failure(index, report, Some(gpa), vcpu, context, mailbox)
    }

    fn memory_failure(
        &mut self,
        index: u32,
        report: ErrorReport,
        gpa: Option<Gpa>,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
    ) -> Option<ParkReason> {
        let consumer = match consumer(vcpu) {
            Ok(consumer) => consumer,
            Err(error) => return Some(ParkReason::Failed(error.into())),
        };
        let error = MemoryError {
            vcpu: index,
            report,
            gpa,
            consumer,
        };
        let recorded = record(context, &error);
        let quarantine = quarantine(context, &recorded);
        let page = recorded.hit.map(|hit| match quarantine {
            Some(_) => hit.in_state(PageState::Quarantined),
            None => hit,
        });

        let streak = self.streak(&error);
        let history = History {
            distinct_pages: recorded.totals.distinct_pages,
            first: page.is_some_and(|hit| hit.first),
            same_fault: streak.injections,
        };
        let verdict = sea::decide(&error, &history, &context.policy);
        let mut failure = MemoryFailure {
            backend: context.backend,
            source: recorded.source,
            error,
            severity: verdict.severity,
            page,
            action: verdict.action,
            decided_by: DecidedBy::Policy,
            reason: verdict.reason,
            recursive: streak.injections > 0,
            quarantine,
            injection: None,
            ledger: recorded.totals,
        };
        let mut must_park = false;
        let (reason, seq) = match context.questions_about(recorded.source) {
            None => {
                let reason = self.carry_out(index, &mut failure, None, vcpu);
                let told = EventKind::MemoryFailure(Box::new(failure.clone()));
                // Held, so that whoever reads the event finds the failure among those that wait.
                let mut pending = context.pending();
                let seq = context.outbox.push(told);
                if failure.injection.is_none() {
                    pending.insert(seq, failure.clone());
                }
                (reason, seq)
            }
            Some(questions) => {
                // The number comes first: whoever is asked knows the failure by it.
                let seq = context.outbox.reserve();
                let asked = Asked {
                    index,
                    seq,
                    questions,
                };
                let kind;
                (kind, must_park) = asked.decide(&mut failure, vcpu, context, mailbox);
                let reason = self.carry_out(index, &mut failure, kind, vcpu);
                let told = EventKind::MemoryFailure(Box::new(failure.clone()));
                if failure.injection.is_none() {
                    context.pending().insert(seq, failure.clone());
                }
                context.outbox.push_reserved(seq, told);
                (reason, seq)
            }
        };
        if let Some(threshold) = verdict.threshold {
            let distinct_pages = recorded.totals.distinct_pages;
            let action = threshold.action;
            context.outbox.push(EventKind::PoisonThresholdReached {
                distinct_pages,
                action,
            });
        }
        if failure.injection.is_none() {
            self.pending = Some(PendingFailure { seq, failure });
        }
        reason.or(must_park.then_some(ParkReason::Requested))
    }

    /// Does what was decided, on this thread. `None`: the vCPU runs on.
    fn carry_out(
        &mut self,
        index: u32,
        failure: &mut MemoryFailure,
        kind: Option<AbortKind>,
        vcpu: &mut dyn VcpuBackend,
    ) -> Option<ParkReason> {
        let injection = match failure.action {
            FailureAction::Inject => self.inject_for(&failure.error, kind, vcpu),
            FailureAction::InjectSError(iss) => Ok(inject_serror(vcpu, iss)),
            FailureAction::Pause => return Some(ParkReason::MemoryErrorPauses),
            FailureAction::Stop => return Some(ParkReason::PolicyStops),
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

    /// The row of aborts that this error would go on with.
    /// Without a page there is none: a copy routine meets many pages at one instruction.
    fn streak(&self, error: &MemoryError) -> Streak {
        let (pc, page) = (error.consumer.pc, error.gpa.map(|gpa| gpa.page(PAGE_SIZE)));
        match self.streak {
            Some(streak) if page.is_some() && (streak.pc, streak.page) == (pc, page) => streak,
            _ => Streak {
                pc,
                page,
                injections: 0,
            },
        }
    }

    fn inject_for(
        &mut self,
        error: &MemoryError,
        kind: Option<AbortKind>,
        vcpu: &mut dyn VcpuBackend,
    ) -> Result<Injection, KvmError> {
        // Not the consumer's: while the VM was paused somebody may have written the registers.
        let interrupted = Pstate::from_bits(vcpu.get_register(RegId::PSTATE)?);
        let access = Access {
            esr: error.esr().unwrap_or(BARE_DATA_ABORT),
            gva: error.gva(),
        };
        let plan = match (kind, error.report) {
            (Some(kind), _) => sea::plan_request(&AbortRequest::of_kind(kind), Some(access), interrupted),
            (None, ErrorReport::Sea { .. }) => sea::plan(access, interrupted, Fidelity::Restored),
            // A signal carries no syndrome: what the kernel knows of the access is better than what we do.
            (None, ErrorReport::Signal { .. }) => sea::plan(access, interrupted, Fidelity::Kvm),
        };
        let mut injection = inject(vcpu, &plan);
        if kind.is_none() && error.esr().is_none() && injection.error.is_none() {
            injection = make_fetch_abort(vcpu, injection, error.consumer.pc)?;
        }
        let streak = self.streak(error);
        let injections = streak.injections.saturating_add(1);
        self.streak = injection.entered().then_some(Streak { injections, ..streak });
        Ok(injection)
    }

    /// Does what was decided about the failure that waits, if one does, and says so in an event of its own.
    pub(super) fn settle_pending(
        &mut self,
        index: u32,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
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
        let reason = self.carry_out(index, &mut failure, kind, vcpu);
        context.pending().remove(&seq);
        context.outbox.push(EventKind::MemoryFailure(Box::new(failure)));
        reason
    }
}

/// Makes an instruction abort of a data abort at the interrupted instruction's own address: the kernel injects data aborts
/// only, and a signal does not say that it was the fetch that needed the page.
fn make_fetch_abort(
    vcpu: &mut dyn VcpuBackend,
    injection: Injection,
    pc: Gva,
) -> Result<Injection, KvmError> {
    let Some(esr) = injection.esr else {
        return Ok(injection);
    };
    if vcpu.get_register(RegId::FAR_EL1)? != pc.bits() {
        return Ok(injection);
    }
    // The exception classes 0x24 and 0x25 differ from 0x20 and 0x21 in this bit alone.
    let esr = Esr::from_bits(esr.bits() & !(1 << 28));
    vcpu.set_register(RegId::ESR_EL1, esr.bits())?;
    Ok(Injection {
        method: InjectionMethod::VcpuEventsAndRegisters,
        esr: Some(esr),
        ..injection
    })
}

/// A failure whose abort waits.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PendingFailure {
    /// The number of its event.
    pub(super) seq: u64,
    pub(super) failure: MemoryFailure,
}

/// What the ledger said of an error.
struct Recorded {
    source: FailureSource,
    hit: Option<PageHit>,
    totals: LedgerTotals,
}

fn record(context: &RunContext, error: &MemoryError) -> Recorded {
    let mut ledger = context.ledger();
    let known = error.gpa.and_then(|gpa| ledger.lost(gpa.bits(), 1).copied());
    let (source, granule) = match (error.report, known) {
        (ErrorReport::Sea { .. }, _) => (FailureSource::Sea, context.granule),
        (ErrorReport::Signal { .. }, Some(page)) if page.state == PageState::Quarantined => {
            (FailureSource::QuarantinedPage, Granule::from_bytes(page.size))
        }
        (ErrorReport::Signal { lsb }, _) => (FailureSource::SigbusAr, Granule::from_lsb(lsb)),
    };
    let hit = ledger.record(error.gpa, granule, source, SystemTime::now());
    Recorded {
        source,
        hit,
        totals: ledger.totals(),
    }
}

/// Takes a page out of everybody's reach, once. What the event says of it, where it is.
fn quarantine(context: &RunContext, recorded: &Recorded) -> Option<QuarantineReport> {
    let page = recorded.hit?.page;
    if !context.policy.quarantine {
        return None;
    }
    let method = match (recorded.source, page.state) {
        (FailureSource::QuarantinedPage, _) | (_, PageState::Quarantined) => context.quarantine.method(),
        // The host's kernel has taken the page away already.
        (FailureSource::SigbusAr, _) => QuarantineMethod::Hwpoison,
        (FailureSource::Sea, _) => {
            // A page that cannot be taken stays where it is: whoever touches it consumes the error again, and is told.
            let offset = page.gpa.bits().checked_sub(RAM_BASE)?;
            context.quarantine.take(offset, page.size).ok()?
        }
    };
    context.ledger().set_state(page.gpa, PageState::Quarantined);
    Some(QuarantineReport {
        method,
        granule: page.size,
    })
}

fn consumer(vcpu: &mut dyn VcpuBackend) -> Result<Consumer, KvmError> {
    Ok(Consumer {
        pc: Gva::from_bits(vcpu.get_register(RegId::PC)?),
        pstate: Pstate::from_bits(vcpu.get_register(RegId::PSTATE)?),
    })
}
