//! What is done about a memory error first, whichever way it came: the ledger, then the quarantine, then the verdict.
//!
//! The order is what contains it: from the quarantine on no other vCPU consumes the error while the rest goes on.

use std::time::SystemTime;

use seawall_arm64::Gpa;
use seawall_kvm::{MemoryErrorSignal, SignalCode};

use crate::backend::QuarantineError;
use crate::event::{DecidedBy, EventKind, MemoryFailure, QuarantineMethod, QuarantineReport};
use crate::memory_layout::RAM_BASE;
use crate::notifier::GuestNotifier;
use crate::sea::{
    self, ErrorReport, FailureSource, Granule, History, LedgerTotals, MemoryError, PageHit, PageState,
    PoisonedPage, Threshold,
};
use crate::vcpu::RunContext;

/// How an error is assessed.
#[derive(Debug)]
pub(crate) struct Assessment {
    /// The failure as it is told, with the verdict and nothing carried out yet.
    pub(crate) failure: Box<MemoryFailure>,
    /// The threshold that it reaches.
    pub(crate) threshold: Option<Threshold>,
}

impl RunContext {
    /// Records an error, takes its page out of reach, and decides. `injections` is how often, in a row before this error,
    /// its vCPU got the abort of the same page at the same instruction.
    pub(crate) fn assess(&self, error: MemoryError, injections: u32) -> Assessment {
        let (source, hit, totals) = self.record(&error);
        let quarantine = hit.and_then(|hit| self.take_out_of_reach(source, hit));
        let (quarantine, quarantine_error) = match quarantine {
            None => (None, None),
            Some(Ok(report)) => (Some(report), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let page = hit.map(|hit| match quarantine {
            Some(_) if !hit.page.state.is_out_of_reach() => hit.in_state(PageState::Quarantined),
            _ => hit,
        });
        let history = History {
            distinct_pages: totals.distinct_pages,
            first: page.is_some_and(|hit| hit.first),
            same_fault: injections,
        };
        let verdict = sea::decide(&error, &history, &self.policy);
        let failure = Box::new(MemoryFailure {
            backend: self.backend,
            source,
            error,
            severity: verdict.severity,
            page,
            action: verdict.action,
            decided_by: DecidedBy::Policy,
            reason: verdict.reason,
            recursive: injections > 0,
            quarantine,
            quarantine_error,
            notified: None,
            deferral: None,
            injection: None,
            ledger: totals,
        });
        Assessment {
            failure,
            threshold: verdict.threshold,
        }
    }

    fn record(&self, error: &MemoryError) -> (FailureSource, Option<PageHit>, LedgerTotals) {
        // Of the others what is out of reach makes no difference.
        let may_be_ours = matches!(
            error.report,
            ErrorReport::MemoryFault | ErrorReport::Signal { .. }
        );
        let gpa = error.gpa.filter(|_| may_be_ours);
        // Asked before the ledger is locked: a page that is being taken is awaited.
        let out_of_reach = gpa.is_some_and(|gpa| self.is_out_of_reach(gpa));
        let mut ledger = self.ledger();
        let known = gpa.and_then(|gpa| ledger.around(gpa)).map(|page| page.state);
        let out_of_reach = out_of_reach || known.is_some_and(PageState::is_out_of_reach);
        let (source, granule) = match error.report {
            ErrorReport::Sea { .. } => (FailureSource::Sea, self.granule),
            ErrorReport::Hole { .. } => (FailureSource::QuarantinedPage, Granule::PAGE),
            ErrorReport::Owner => (FailureSource::Reported, self.granule),
            ErrorReport::MemoryFault if out_of_reach => (FailureSource::QuarantinedPage, Granule::PAGE),
            ErrorReport::MemoryFault => (FailureSource::SigbusAr, self.granule),
            ErrorReport::Signal { code, lsb } => match (code, error.vcpu) {
                (sea::SignalCode::ActionOptional, _) => (FailureSource::SigbusAo, Granule::from_lsb(lsb)),
                (_, None) => (FailureSource::DeviceAccess, self.granule),
                (_, Some(_)) if out_of_reach => (FailureSource::QuarantinedPage, Granule::PAGE),
                (_, Some(_)) => (FailureSource::SigbusAr, Granule::from_lsb(lsb)),
            },
        };
        let hit = ledger.record(error.gpa, granule, source, SystemTime::now);
        (source, hit, ledger.totals())
    }

    /// Whether a page is out of reach by our own doing. One that is being taken at the moment is.
    fn is_out_of_reach(&self, gpa: Gpa) -> bool {
        let offset = gpa.bits().checked_sub(RAM_BASE);
        offset.is_some_and(|offset| self.quarantine.method(offset).is_some())
    }

    /// Takes a page out of everybody's reach, once. What the event says of it, where it is or should be.
    fn take_out_of_reach(
        &self,
        source: FailureSource,
        hit: PageHit,
    ) -> Option<Result<QuarantineReport, QuarantineError>> {
        let page = hit.page;
        if !self.policy.quarantine {
            return None;
        }
        let offset = page.gpa.bits().checked_sub(RAM_BASE)?;
        let by_the_host = matches!(source, FailureSource::SigbusAr | FailureSource::SigbusAo)
            || page.state.is_out_of_reach();
        let method = match self.quarantine.method(offset) {
            Some(method) => method,
            None if by_the_host => QuarantineMethod::Hwpoison,
            None => match self.quarantine.take(offset, page.size) {
                Ok(method) => method,
                // It stays where it is: whoever touches it consumes the error again, and is told.
                Err(error) => return Some(Err(error)),
            },
        };
        // Nothing else changes: the guest may have retired it meanwhile, or it may have been replaced.
        let mut ledger = self.ledger();
        if ledger.around(page.gpa).map(|page| page.state) == Some(PageState::Poisoned) {
            ledger.set_state(page.gpa, PageState::Quarantined);
        }
        Some(Ok(QuarantineReport {
            method,
            granule: page.size,
        }))
    }

    /// Puts fresh memory in the place of a lost page that holds nothing but the guest's error records, and writes them again: so
    /// nothing is lost. Says what became of the page.
    #[inline]
    pub(crate) fn mend_records(&self, page: &PoisonedPage) -> Option<EventKind> {
        let notifier = self.notifier.as_ref()?;
        self.mend_records_of(notifier, page)
    }

    #[inline(never)]
    fn mend_records_of(&self, notifier: &GuestNotifier, page: &PoisonedPage) -> Option<EventKind> {
        if !notifier.holds(page.gpa, page.size) {
            return None;
        }
        let offset = page.gpa.bits().checked_sub(RAM_BASE)?;
        self.quarantine.replace(offset, page.size).ok()?;
        let (page, from) = self.ledger().set_state(page.gpa, PageState::Replaced)?;
        notifier.mend(page.gpa, page.size);
        Some(EventKind::PageStateChanged { page, from })
    }

    /// Tells that a threshold was reached.
    pub(crate) fn tell_threshold(&self, threshold: Option<Threshold>, totals: LedgerTotals) {
        if let Some(Threshold { action, .. }) = threshold {
            let distinct_pages = totals.distinct_pages;
            self.outbox.push(EventKind::PoisonThresholdReached {
                distinct_pages,
                action,
            });
        }
    }

    /// Whether fresh memory is in the place of a page that was lost.
    pub(crate) fn is_replaced(&self, gpa: Gpa) -> bool {
        self.page_state(Some(gpa)) == Some(PageState::Replaced)
    }

    /// What has been done about the page of an address, if it is lost.
    pub(crate) fn page_state(&self, gpa: Option<Gpa>) -> Option<PageState> {
        self.ledger().around(gpa?).map(|page| page.state)
    }
}

/// The page that a signal names, and what it says of it.
pub(crate) const fn signalled(signal: MemoryErrorSignal) -> (Gpa, ErrorReport) {
    let code = match signal.code {
        SignalCode::ActionRequired => sea::SignalCode::ActionRequired,
        SignalCode::ActionOptional => sea::SignalCode::ActionOptional,
        SignalCode::ObjectError => sea::SignalCode::ObjectError,
    };
    let report = ErrorReport::Signal {
        code,
        lsb: signal.lsb,
    };
    (Gpa::from_bits(RAM_BASE + signal.offset), report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake;
    use crate::event::Outbox;
    use crate::sea::RecoverablePolicy;

    #[test]
    fn an_access_that_is_late_does_not_take_a_replaced_page_for_one_in_quarantine() {
        let outbox = std::sync::Arc::new(Outbox::new(Box::new(|| {})));
        let context = fake::context(RecoverablePolicy::Inject, outbox);
        let gpa = Gpa::from_bits(RAM_BASE + 0x3000);
        let error = MemoryError {
            vcpu: Some(0),
            report: ErrorReport::MemoryFault,
            gpa: Some(gpa),
            consumer: None,
        };
        context.assess(error, 0);
        let (source, hit, _) = context.record(&error);
        // The control thread replaces the page at this moment.
        context.ledger().set_state(gpa, PageState::Replaced);
        context.take_out_of_reach(source, hit.expect("a page"));
        assert!(context.is_replaced(gpa));
    }
}
