//! The path of a memory error, on the thread of the vCPU that consumed it and before it runs again.
//!
//! The order is what contains it: the ledger first, then the quarantine, so that no other vCPU consumes the error while the
//! rest goes on; then the verdict, the plan, the injection; the event last, because it tells what was done.

use std::time::SystemTime;

use seawall_arm64::{Gpa, Gva, Pstate};
use seawall_kvm::{KvmError, MemoryErrorSignal, RegId, SeaExit};

use crate::backend::VcpuBackend;
use crate::error::VmError;
use crate::event::{EventKind, Injection, MemoryFailure, QuarantineMethod, QuarantineReport};
use crate::memory_layout::RAM_BASE;
use crate::sea::{
    self, Consumer, ErrorReport, FailureAction, FailureSource, Fidelity, Granule, History, LedgerTotals,
    MemoryError, PageHit, PageState,
};
use crate::vcpu::apply::inject;
use crate::vcpu::run_loop::{BARE_DATA_ABORT, LastExit, ParkReason, RunContext, VcpuPosition};

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
    ) -> Option<ParkReason> {
        self.last_exit = LastExit::Access {
            esr: sea.esr,
            gva: sea.gva,
        };
        let report = ErrorReport::Sea {
            esr: sea.esr,
            gva: sea.gva,
        };
        self.memory_failure(index, report, sea.gpa, vcpu, context)
    }

    /// `SIGBUS` of the guest's access.
    pub(super) fn signal(
        &mut self,
        index: u32,
        signal: MemoryErrorSignal,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
    ) -> Option<ParkReason> {
        self.last_exit = LastExit::Access {
            esr: BARE_DATA_ABORT,
            gva: None,
        };
        let report = ErrorReport::Signal { lsb: signal.lsb };
        let gpa = Gpa::from_bits(RAM_BASE + signal.offset);
        self.memory_failure(index, report, Some(gpa), vcpu, context)
    }

    fn memory_failure(
        &mut self,
        index: u32,
        report: ErrorReport,
        gpa: Option<Gpa>,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
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

        let streak = self.streak(&error, page);
        let history = History {
            distinct_pages: recorded.totals.distinct_pages,
            first: page.is_some_and(|hit| hit.first),
            same_fault: streak.injections,
        };
        let verdict = sea::decide(&error, &history, &context.policy);
        let injection = (verdict.action == FailureAction::Inject)
            .then(|| self.inject_for(&error, consumer.pstate, streak, vcpu));
        let failed = injection.as_ref().and_then(|injection| injection.error.clone());
        context
            .outbox
            .push(EventKind::MemoryFailure(Box::new(MemoryFailure {
                backend: context.backend,
                source: recorded.source,
                error,
                severity: verdict.severity,
                page,
                action: verdict.action,
                reason: verdict.reason,
                recursive: streak.injections > 0,
                quarantine,
                injection,
                ledger: recorded.totals,
            })));
        if let Some(threshold) = verdict.threshold {
            let distinct_pages = recorded.totals.distinct_pages;
            let action = threshold.action;
            context.outbox.push(EventKind::PoisonThresholdReached {
                distinct_pages,
                action,
            });
        }
        match (verdict.action, failed) {
            (FailureAction::Inject, None) => None,
            // Going back into the guest would consume the error again, for ever.
            (FailureAction::Inject, Some(source)) => Some(ParkReason::Failed(VmError::InjectionFailed {
                vcpu: index,
                source,
            })),
            (action @ (FailureAction::Pause | FailureAction::Stop), _) => {
                self.pending = Some(error);
                Some(ParkReason::MemoryFailure(action))
            }
        }
    }

    /// The row of aborts that this error would go on with.
    fn streak(&self, error: &MemoryError, page: Option<PageHit>) -> Streak {
        let (pc, page) = (error.consumer.pc, page.map(|hit| hit.page.gpa));
        match self.streak {
            Some(streak) if (streak.pc, streak.page) == (pc, page) => streak,
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
        interrupted: Pstate,
        streak: Streak,
        vcpu: &mut dyn VcpuBackend,
    ) -> Injection {
        let esr = error.esr().unwrap_or(BARE_DATA_ABORT);
        let injection = inject(
            vcpu,
            &sea::plan(esr, error.gva(), interrupted, Fidelity::Restored),
        );
        let injections = streak.injections.saturating_add(1);
        self.streak = injection.entered().then_some(Streak { injections, ..streak });
        injection
    }

    /// Injects the abort that waited while the VM was paused.
    pub(super) fn inject_pending(
        &mut self,
        index: u32,
        error: &MemoryError,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
    ) -> Result<(), VmError> {
        // Not the consumer's: somebody may have written the registers since.
        let pstate = Pstate::from_bits(vcpu.get_register(RegId::PSTATE)?);
        let page = error
            .gpa
            .and_then(|gpa| context.ledger().lost(gpa.bits(), 1).copied());
        let streak = self.streak(error, page.map(|page| PageHit { page, first: false }));
        match self.inject_for(error, pstate, streak, vcpu).error {
            Some(source) => Err(VmError::InjectionFailed { vcpu: index, source }),
            None => Ok(()),
        }
    }
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
