//! Pages that are lost without a vCPU having needed them: found by the host, met by a copy of our own, or known to the owner.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use seawall_arm64::Gpa;
use seawall_kvm::GuestMemory;

use crate::backend::QuarantineError;
use crate::containment::Assessment;
use crate::error::VmError;
use crate::event::EventKind;
use crate::memory_layout::{self, RAM_BASE};
use crate::notifier::GuestNotifier;
use crate::sea::{
    ErrorReport, FailureAction, FailureSource, MemoryError, PageHit, PageState, PoisonedPage, SignalCode,
    Threshold, ThresholdAction,
};
use crate::vcpu::RunContext;
use crate::vm::control::Control;
use crate::vm::goal::Destination;
use crate::vm::state::{ClosedVm, ExitReason, VmExit, VmState};

/// How many pages one report may name.
const REPORT_LIMIT: u64 = 4096;
/// How long a closing VM may take to take its lost pages out of the host's use.
const RETIRE_LIMIT: Duration = Duration::from_secs(5);
/// The end by a page that no vCPU needed.
pub(super) const STOPPED_BY_POLICY: VmExit = VmExit {
    reason: ExitReason::Policy,
    vcpu: None,
    error: None,
};

impl Control {
    pub(super) fn resources(&self) -> Option<(Arc<GuestMemory>, Arc<RunContext>)> {
        let resources = self
            .shared
            .resources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let held = resources.as_ref()?;
        Some((Arc::clone(&held.memory), Arc::clone(&held.context)))
    }

    /// What a VM is made of that has not ended.
    fn living(&self, operation: &'static str) -> Result<(Arc<GuestMemory>, Arc<RunContext>), VmError> {
        match self.state() {
            VmState::Created | VmState::Running | VmState::Paused => {
                self.resources().ok_or(VmError::Closed { operation })
            }
            VmState::Closed => Err(VmError::Closed { operation }),
            state @ (VmState::Stopped | VmState::Failed) => Err(VmError::InvalidState {
                operation,
                expected: "created, running or paused",
                state,
            }),
        }
    }

    /// Contains an error on a page that is not known to be lost yet, and does what the policy says. Says why its page is still
    /// in reach, if it is.
    pub(super) fn lost(&mut self, gpa: Gpa, report: ErrorReport) -> Result<(), VmError> {
        if self.is_late(gpa, report) {
            return Ok(());
        }
        let Some((action, contained)) = self.contain(gpa, report) else {
            return Ok(());
        };
        match action {
            FailureAction::Pause => self.aim(Destination::Paused),
            FailureAction::Stop => self.aim(Destination::Ended(STOPPED_BY_POLICY)),
            _ => {}
        }
        contained
    }

    /// Whether the host may tell of memory that the last restart has replaced: nothing is served while that reads and copies.
    /// A new error that this takes for an old one is told at the latest when somebody needs the page.
    fn is_late(&mut self, gpa: Gpa, report: ErrorReport) -> bool {
        let code = SignalCode::ActionOptional;
        if !matches!(report, ErrorReport::Signal { code: received, .. } if received == code) {
            return false;
        }
        let page = self
            .resources()
            .and_then(|(_, context)| context.ledger().around(gpa).map(|page| page.gpa));
        page.is_some_and(|page| self.fresh_pages.remove(&page))
    }

    /// Contains an error on a page that is not known to be lost yet. Says what the policy wants, and why the page is still in
    /// reach, if it is; nothing of a page that is known.
    pub(super) fn contain(
        &self,
        gpa: Gpa,
        report: ErrorReport,
    ) -> Option<(FailureAction, Result<(), VmError>)> {
        let (_, context) = self.resources()?;
        match context.page_state(Some(gpa)) {
            None | Some(PageState::Replaced) => {}
            Some(
                PageState::Poisoned
                | PageState::Quarantined
                | PageState::GuestRetired
                | PageState::HostOffline,
            ) => return None,
        }
        let error = MemoryError {
            vcpu: None,
            report,
            gpa: Some(gpa),
            consumer: None,
        };
        let Assessment {
            mut failure,
            mut threshold,
        } = context.assess(error, 0);
        // What cannot be done in this state is not told as done.
        let possible = match failure.action {
            FailureAction::Pause => self.state() == VmState::Running,
            FailureAction::Stop => matches!(
                self.state(),
                VmState::Created | VmState::Running | VmState::Paused
            ),
            _ => true,
        };
        if !possible {
            failure.action = FailureAction::Ignore;
            threshold = threshold.map(|threshold| Threshold {
                action: ThresholdAction::Report,
                ..threshold
            });
        }
        let page = failure.page;
        let mended = page.and_then(|hit| context.mend_records(&hit.page));
        if let (Some(notifier), Some(PageHit { page, .. }), None) = (&context.notifier, page, &mended) {
            if self.state() != VmState::Running {
                // It can read nothing.
                notifier.resumed();
            }
            notifier.tell_by_interrupt((page.gpa, page.size), None);
            failure.notified = notifier.notification(page.gpa);
        }
        let (action, totals, refused) = (failure.action, failure.ledger, failure.quarantine_error.clone());
        context.outbox.push(EventKind::MemoryFailure(failure));
        if let Some(mended) = mended {
            context.outbox.push(mended);
        }
        context.tell_threshold(threshold, totals);
        let contained = refused.map_or(Ok(()), |source| {
            Err(quarantine(gpa, "taken out of reach", source))
        });
        Some((action, contained))
    }

    /// Contains what the owner says is lost.
    pub(super) fn report_poison(&mut self, gpa: u64, len: u64) -> Result<(), VmError> {
        let (memory, context) = self.living("reportPoison()")?;
        let bytes = usize::try_from(len).unwrap_or(usize::MAX);
        let offset = memory_layout::ram_offset(&memory, gpa, bytes)?;
        let granule = context.granule.bytes();
        let first = offset - offset % granule;
        let end = offset + len;
        let received = (end - first).div_ceil(granule);
        if received > REPORT_LIMIT {
            let source = QuarantineError::TooMany {
                limit: REPORT_LIMIT,
                received,
            };
            return Err(quarantine(Gpa::from_bits(gpa), "taken out of reach", source));
        }
        let mut contained = Ok(());
        let mut page = first;
        while page < end {
            let lost = self.lost(Gpa::from_bits(RAM_BASE + page), ErrorReport::Owner);
            let stuck = matches!(
                &lost,
                Err(VmError::Quarantine {
                    source: QuarantineError::Stuck { .. },
                    ..
                })
            );
            contained = contained.and(lost);
            if stuck {
                // Each further page would wait for the same vCPU as long.
                break;
            }
            page += granule;
        }
        contained
    }

    /// Puts fresh memory in the place of a lost page.
    pub(super) fn replace_page(&self, gpa: u64) -> Result<(), VmError> {
        let (memory, context) = self.living("replacePage()")?;
        memory_layout::ram_offset(&memory, gpa, 1)?;
        let page = context.ledger().around(Gpa::from_bits(gpa)).copied();
        let page = page
            .filter(|page| page.state != PageState::Replaced)
            .ok_or_else(|| quarantine(Gpa::from_bits(gpa), "replaced", QuarantineError::NotLost))?;
        context
            .quarantine
            .replace(page.gpa.bits().saturating_sub(RAM_BASE), page.size)
            .map_err(|source| quarantine(page.gpa, "replaced", source))?;
        change_state(&context, page.gpa, PageState::Replaced);
        context.patience.replaced(page.gpa, page.size);
        if let Some(notifier) = &context.notifier {
            notifier.replaced(page.gpa, page.size);
        }
        Ok(())
    }
}

/// The pages that are lost and not replaced.
pub(super) fn lost(context: &RunContext) -> Vec<PoisonedPage> {
    let ledger = context.ledger();
    let lost = ledger.pages().filter(|page| page.state != PageState::Replaced);
    lost.copied().collect()
}

/// Notes which of the pages in quarantine the guest's kernel has read of.
pub(super) fn note_retired(context: &RunContext, notifier: &GuestNotifier) {
    let ledger = context.ledger();
    let pages = ledger.pages();
    // Copied are these alone: most of the others the guest has read of before.
    let quarantined: Vec<_> = pages
        .filter(|page| page.state == PageState::Quarantined)
        .copied()
        .collect();
    drop(ledger);
    for page in quarantined {
        if notifier.is_read(page.gpa, page.size) {
            change_state(context, page.gpa, PageState::GuestRetired);
        }
    }
}

/// A guest that boots again has retired nothing yet.
pub(super) fn forget_retired(context: &RunContext) {
    for page in lost(context) {
        if page.state == PageState::GuestRetired {
            change_state(context, page.gpa, PageState::Quarantined);
        }
    }
}

/// Puts fresh memory in the place of every lost page. One that cannot be replaced stays lost. Says which were
/// replaced.
pub(super) fn replace_all(memory: &GuestMemory, context: &RunContext) -> Vec<Gpa> {
    let mut replaced = Vec::new();
    for page in lost(context) {
        // What the hardware names need not be RAM.
        let offset = memory_layout::offset(memory.len() as u64, page.gpa.bits(), page.size);
        if offset.is_some_and(|offset| context.quarantine.replace(offset, page.size).is_ok()) {
            change_state(context, page.gpa, PageState::Replaced);
            replaced.push(page.gpa);
        }
    }
    replaced
}

/// Takes the lost pages of a VM that is over out of the host's use, as far as that is possible, and says what is left.
pub(super) fn retire(context: &RunContext) -> ClosedVm {
    let held = context.quarantine.retire(Instant::now() + RETIRE_LIMIT);
    for (offset, offlined) in &held {
        let gpa = Gpa::from_bits(RAM_BASE + offset);
        // Of a page that was replaced it is the memory before that is out of use.
        if *offlined && context.page_state(Some(gpa)) != Some(PageState::Replaced) {
            change_state(context, gpa, PageState::HostOffline);
        }
    }
    let ledger = context.ledger();
    let never_held = ledger.pages().filter(|page| {
        let by_the_host = matches!(page.source, FailureSource::SigbusAr | FailureSource::SigbusAo);
        let offset = page.gpa.bits().wrapping_sub(RAM_BASE);
        !by_the_host && held.iter().all(|(held, _)| *held != offset)
    });
    let left = held.iter().filter(|(_, offlined)| !offlined).count() + never_held.count();
    ClosedVm {
        unretired_host_pages: left as u64,
    }
}

fn change_state(context: &RunContext, gpa: Gpa, state: PageState) {
    let changed = context.ledger().set_state(gpa, state);
    if let Some((page, from)) = changed.filter(|(page, from)| page.state != *from) {
        context.outbox.push(EventKind::PageStateChanged { page, from });
    }
}

const fn quarantine(gpa: Gpa, wanted: &'static str, source: QuarantineError) -> VmError {
    VmError::Quarantine {
        gpa: gpa.bits(),
        wanted,
        source,
    }
}
