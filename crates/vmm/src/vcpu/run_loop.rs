//! Running a vCPU until it parks, and everything that happens in between on its own thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use seawall_arm64::Gpa;
use seawall_kvm::{Errno, KvmError, RegId, SystemEventKind, VcpuEntry, VcpuExit};

use crate::backend::{PageQuarantine, VcpuBackend};
use crate::devices::Bus;
use crate::error::{UnhandledExit, VmError};
use crate::event::{AccessKind, EventKind, MemoryFailure, Outbox, UnclaimedAccess};
use crate::memory_layout::PAGE_SIZE;
use crate::notifier::GuestNotifier;
use crate::options::{BackendKind, UnclaimedAccessPolicy};
use crate::sea::{
    self, Access, Decision, ErrorReport, FailureSource, Fidelity, Granule, Ledger, MemoryFailurePolicy,
    PageState,
};
use crate::statistics::Statistics;
use crate::vcpu::apply::{inject, interrupted};
use crate::vcpu::deferral::Deferral;
use crate::vcpu::guest_gate::GuestGate;
use crate::vcpu::mailbox::Mailbox;
use crate::vcpu::memory_failure::{ISS_WNR, Streak, bare_abort};
use crate::vcpu::patience::Patience;
use crate::vcpu::question::Questions;
use crate::vcpu::settling::PendingFailure;
use crate::vm::Message;

/// What a vCPU's thread needs to know of its virtual machine.
#[derive(Debug)]
pub(crate) struct RunContext {
    pub(crate) backend: BackendKind,
    pub(crate) policy: MemoryFailurePolicy,
    pub(crate) unclaimed: UnclaimedAccessPolicy,
    pub(crate) bus: Bus,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) gate: Arc<GuestGate>,
    pub(crate) quarantine: Box<dyn PageQuarantine>,
    /// What a lost page takes with it where nobody says more: the host's page size.
    pub(crate) granule: Granule,
    pub(crate) outbox: Arc<Outbox>,
    /// How long accesses have run again for want of each lost page.
    pub(crate) patience: Patience,
    /// Tells the guest of its lost pages, where it can be told.
    pub(crate) notifier: Option<GuestNotifier>,
    /// Who is asked about memory errors, if somebody is.
    pub(crate) questions: Option<Questions>,
    /// Where the vCPUs tell the control thread what happened to them.
    pub(crate) control: mpsc::Sender<Message>,
    pub(crate) statistics: Arc<Statistics>,
    /// Whether errors leave out what they hold of the guest's own state.
    pub(crate) redact: bool,
    /// The failures whose abort waits, by the number of their event.
    pub(crate) pending: Mutex<BTreeMap<u64, MemoryFailure>>,
}

impl RunContext {
    /// The ledger, for as short as possible: vCPUs that consume errors at the same time wait for it.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunContext {
    /// Whom to ask about an error. A page in quarantine was decided about when it was lost.
    pub(crate) fn questions_about(&self, source: FailureSource) -> Option<&Questions> {
        self.questions
            .as_ref()
            .filter(|_| source != FailureSource::QuarantinedPage)
    }

    /// The failures whose abort waits.
    pub(crate) fn pending(&self) -> MutexGuard<'_, BTreeMap<u64, MemoryFailure>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do with failures that wait, by the number of their event; the others are injected.
pub(crate) type Decisions = BTreeMap<u64, Decision>;

/// Why a vCPU parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParkReason {
    /// Somebody asked it to.
    Requested,
    /// It waits for an answer outside of the guest, after it was asked to park.
    Asks,
    /// A memory error pauses the VM. The abort waits for a resume.
    MemoryErrorPauses,
    /// The policy stops the VM.
    PolicyStops,
    /// The guest ended by PSCI, or crashed.
    SystemEvent(SystemEventKind),
    /// It cannot go on.
    Failed(VmError),
}

/// A vCPU between two runs: what its last exit was and what it still owes the guest.
#[derive(Debug, Default)]
pub(crate) struct VcpuPosition {
    /// What goes into the next run.
    pub(super) entry: VcpuEntry,
    /// The error whose abort was neither injected nor decided otherwise.
    pub(super) pending: Option<PendingFailure>,
    pub(super) last_exit: LastExit,
    /// The aborts injected last: the same instruction and page again means that the handler did not help.
    pub(super) streak: Option<Streak>,
    /// The access that runs again without an abort.
    pub(super) deferral: Option<Box<Deferral>>,
    /// When the vCPU parked.
    parked: Option<Instant>,
    /// The replaced page that a signal named: once it may be about what was there before.
    pub(super) late_signal: Option<Gpa>,
}

/// What matters of a vCPU's last exit to whoever wants to inject by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum LastExit {
    /// It never ran, or was kicked: there is no access an abort could belong to.
    #[default]
    None,
    /// An access: MMIO, NISV, LDST64B, SEA or one that raised a signal. The kernel knows its address.
    Access(Access),
    /// A hypercall, PSCI, or something else after which no abort can be taken.
    Other(&'static str),
}

impl VcpuPosition {
    /// Forgets what the vCPU owes a guest that starts anew.
    pub(super) fn forget(&mut self, context: &RunContext) {
        if let Some(pending) = &self.pending {
            context.pending().remove(&pending.seq);
        }
        *self = Self {
            // An access that was not completed belongs to the guest before.
            entry: VcpuEntry::Retry,
            ..Self::default()
        };
    }

    /// Runs the vCPU until it parks. An abort that waits is settled first, as `decisions` say.
    pub(super) fn run(
        &mut self,
        index: u32,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
        decisions: &Decisions,
    ) -> ParkReason {
        if let (Some(deferral), Some(parked)) = (&mut self.deferral, self.parked) {
            deferral.leave_out(parked.elapsed());
        }
        let reason = self.run_until_parked(index, vcpu, context, mailbox, decisions);
        self.parked = Some(Instant::now());
        reason
    }

    fn run_until_parked(
        &mut self,
        index: u32,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
        decisions: &Decisions,
    ) -> ParkReason {
        if let Some(reason) = self.settle_pending(index, vcpu, context, mailbox, decisions) {
            return reason;
        }
        let (way, exits) = (context.gate.way(index), context.statistics.exits_of(index));
        let mut faults = 0;
        loop {
            // From here on the last exit is history, also where no other follows it.
            self.last_exit = LastExit::None;
            let inside = way.enter();
            let ran = vcpu.run(std::mem::take(&mut self.entry));
            drop(inside);
            let exit = match &ran {
                Ok(exit) => exit,
                // A page that another thread takes out of reach at this moment is neither there nor marked yet.
                Err(error) if is_fault(error) && faults < FAULTS => {
                    faults += 1;
                    context.quarantine.settle();
                    &VcpuExit::Interrupted
                }
                Err(error) => return ParkReason::Failed(error.clone().into()),
            };
            if let Some(exits) = exits {
                exits.count(exit);
            }
            let served = context.bus.serve(exit, &mut self.entry);
            if served && self.deferral.is_none() {
                faults = 0;
                continue;
            }
            if !matches!(exit, VcpuExit::Interrupted) {
                faults = 0;
            }
            let looked = self.look_after_deferral(vcpu, context);
            // Also where that failed: the exit may be that of another error.
            let reason = if served {
                None
            } else {
                self.handle(index, exit, vcpu, context, mailbox)
            };
            mailbox.set_defers(self.deferral.is_some());
            if let Err(error) = looked {
                return ParkReason::Failed(error.into());
            }
            if let Some(reason) = reason {
                return reason;
            }
        }
    }

    /// Ends a deferral whose vCPU has gone on.
    fn look_after_deferral(
        &mut self,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
    ) -> Result<(), KvmError> {
        if self.deferral.is_some() {
            let pc = vcpu.get_register(RegId::PC)?;
            if let Some(deferral) = self.deferral.take_if(|deferral| deferral.is_behind(pc, context)) {
                deferral.tell_retired(context);
            }
        }
        Ok(())
    }

    fn handle(
        &mut self,
        index: u32,
        exit: &VcpuExit,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
    ) -> Option<ParkReason> {
        match *exit {
            // What no device has served.
            VcpuExit::MmioWrite { gpa, .. } => {
                self.unclaimed(index, AccessKind::Mmio, gpa, true, vcpu, context, mailbox)
            }
            VcpuExit::MmioRead { gpa, .. } => {
                self.unclaimed(index, AccessKind::Mmio, gpa, false, vcpu, context, mailbox)
            }
            VcpuExit::ArmSea(sea) => self.sea(index, sea, vcpu, context, mailbox),
            VcpuExit::MemoryErrorSignal(signal) => self.signal(index, signal, vcpu, context, mailbox),
            VcpuExit::Nisv { gpa, esr_iss } => self.unclaimed(
                index,
                AccessKind::Nisv,
                gpa,
                esr_iss & ISS_WNR != 0,
                vcpu,
                context,
                mailbox,
            ),
            VcpuExit::Ldst64b { gpa, esr_iss } => self.unclaimed(
                index,
                AccessKind::Ldst64b,
                gpa,
                esr_iss & ISS_WNR != 0,
                vcpu,
                context,
                mailbox,
            ),
            VcpuExit::Interrupted => mailbox.park_requested().then_some(ParkReason::Requested),
            VcpuExit::SystemEvent { kind, .. } => {
                self.last_exit = LastExit::Other("a PSCI call");
                Some(match kind {
                    SystemEventKind::Other(kind) => unhandled(index, UnhandledExit::SystemEvent { kind }),
                    kind => ParkReason::SystemEvent(kind),
                })
            }
            VcpuExit::MemoryFault { gpa, errno, .. }
                if errno == Errno::HWPOISON || context.ledger().lost(gpa.bits(), 1).is_some() =>
            {
                self.memory_failure(index, ErrorReport::MemoryFault, Some(gpa), vcpu, context, mailbox)
            }
            VcpuExit::MemoryFault { gpa, size, errno, .. } => Some(unhandled(
                index,
                UnhandledExit::MemoryFault {
                    gpa: gpa.bits(),
                    size,
                    errno,
                },
            )),
            VcpuExit::FailEntry {
                hardware_entry_failure_reason,
                cpu,
            } => Some(unhandled(
                index,
                UnhandledExit::FailEntry {
                    hardware_entry_failure_reason,
                    cpu,
                },
            )),
            VcpuExit::InternalError { suberror } => {
                Some(unhandled(index, UnhandledExit::InternalError { suberror }))
            }
            VcpuExit::Unknown { reason, payload } => {
                let payload = (!context.redact).then_some(payload);
                Some(unhandled(index, UnhandledExit::Unknown { reason, payload }))
            }
        }
    }

    /// An access to where nothing is: told, and treated as the policy says. Where memory was until its page was lost, it is
    /// a memory error.
    #[expect(
        clippy::too_many_arguments,
        reason = "an exit, whose it is, and what it is handled with"
    )]
    fn unclaimed(
        &mut self,
        index: u32,
        kind: AccessKind,
        gpa: Gpa,
        write: bool,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
        mailbox: &Arc<Mailbox>,
    ) -> Option<ParkReason> {
        // It is not completed, but where the policy says so below.
        self.entry = VcpuEntry::Retry;
        match context.page_state(Some(gpa)) {
            None => {}
            // It left the guest before its page was replaced, and finds the new memory.
            Some(PageState::Replaced) => return None,
            Some(
                PageState::Poisoned
                | PageState::Quarantined
                | PageState::GuestRetired
                | PageState::HostOffline,
            ) => {
                let report = ErrorReport::Hole { write };
                let page = Some(gpa.page(PAGE_SIZE));
                return self.memory_failure(index, report, page, vcpu, context, mailbox);
            }
        }
        let esr = bare_abort(write);
        let access = Access { esr, gva: None };
        self.last_exit = LastExit::Access(access);
        let action = match (context.unclaimed, kind) {
            (UnclaimedAccessPolicy::ReadZero, AccessKind::Nisv | AccessKind::Ldst64b) => {
                UnclaimedAccessPolicy::Abort
            }
            (policy, _) => policy,
        };
        let reason = match action {
            UnclaimedAccessPolicy::Stop => Some(ParkReason::PolicyStops),
            UnclaimedAccessPolicy::ReadZero => {
                self.entry = if write {
                    VcpuEntry::Run
                } else {
                    VcpuEntry::MmioRead([0; 8])
                };
                None
            }
            UnclaimedAccessPolicy::Abort => match interrupted(vcpu) {
                Err(error) => Some(ParkReason::Failed(error.into())),
                Ok(interrupted) => {
                    let plan = sea::plan(access, interrupted.pstate, Fidelity::Restored);
                    let failed = inject(vcpu, &plan, interrupted).error;
                    failed.map(|source| ParkReason::Failed(VmError::InjectionFailed { vcpu: index, source }))
                }
            },
        };
        context.outbox.push(EventKind::UnclaimedAccess(UnclaimedAccess {
            vcpu: index,
            kind,
            gpa,
            write: Some(write),
            action,
        }));
        reason
    }
}

/// How often in a row a run may fail for want of a page before that is an error.
const FAULTS: u32 = 3;

/// Whether a run failed because a page was not there, with nothing said about it.
fn is_fault(error: &KvmError) -> bool {
    error.syscall() == Some("KVM_RUN") && error.errno() == Some(Errno::FAULT)
}

fn unhandled(vcpu: u32, exit: UnhandledExit) -> ParkReason {
    ParkReason::Failed(VmError::UnhandledExit { vcpu, exit })
}

#[cfg(test)]
mod tests;
