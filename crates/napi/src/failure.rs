//! Memory failures, to JavaScript: what their events say, value by value.

use std::time::SystemTime;

use napi_derive::napi;
use seawall_vmm::sea::{
    self, ConsumerMode, ErrorReport, FailureAction, FailureSource, PageState, Severity, SignalCode,
};
use seawall_vmm::{
    BackendKind, DecidedBy, DeferralOutcome, InjectionMethod, MemoryFailure, NotificationSource,
    QuarantineMethod,
};

use crate::esr::write_abort;
use crate::record::{Byte, Flag, Record, Slot, Word};

/// A lost page, for `poisonedPages()` and `page-state-changed`.
#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct PoisonedPage {
    #[napi(ts_type = "bigint")]
    pub gpa: u64,
    pub size: i64,
    #[napi(ts_type = "'poisoned' | 'quarantined' | 'host-offlined' | 'replaced'")]
    pub state: &'static str,
    pub hits: i64,
    pub first_seen: String,
    #[napi(
        ts_type = "'sea' | 'sigbus-ar' | 'sigbus-ao' | 'quarantined-page' | 'device-access' | 'reported'"
    )]
    pub source: &'static str,
}

#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Debug)]
pub struct Injection {
    #[napi(ts_type = "'vcpu-events' | 'vcpu-events+registers' | 'registers' | 'serror'")]
    pub method: &'static str,
    #[napi(ts_type = "bigint | null")]
    pub esr: Option<u64>,
    #[napi(ts_type = "'ok' | 'error'")]
    pub result: &'static str,
    pub errno: Option<String>,
}

impl From<&seawall_vmm::Injection> for Injection {
    fn from(injection: &seawall_vmm::Injection) -> Self {
        Self {
            method: injection_method(injection.method).text(),
            esr: injection.esr.map(seawall_arm64::Esr::bits),
            result: injection_result(injection).text(),
            errno: errno(injection),
        }
    }
}

impl From<&sea::PoisonedPage> for PoisonedPage {
    fn from(page: &sea::PoisonedPage) -> Self {
        Self {
            gpa: page.gpa.bits(),
            size: count(page.size),
            state: state(page.state).text(),
            hits: count(page.hits),
            first_seen: time(page.first_seen),
            source: source(page.source).text(),
        }
    }
}

const fn injection_method(method: InjectionMethod) -> Word {
    match method {
        InjectionMethod::VcpuEvents => Word::VcpuEvents,
        InjectionMethod::VcpuEventsAndRegisters => Word::VcpuEventsAndRegisters,
        InjectionMethod::Registers => Word::Registers,
        InjectionMethod::SError => Word::SError,
    }
}

const fn injection_result(injection: &seawall_vmm::Injection) -> Word {
    match injection.error {
        None => Word::Ok,
        Some(_) => Word::Error,
    }
}

/// What the kernel answered, where it refused an injection.
fn errno(injection: &seawall_vmm::Injection) -> Option<String> {
    let error = injection.error.as_ref()?;
    error.errno().map(|errno| errno.to_string())
}

pub(crate) const fn notification_source(source: NotificationSource) -> Word {
    match source {
        NotificationSource::Sea => Word::Sea,
        NotificationSource::Gsiv => Word::Gsiv,
        NotificationSource::Agent => Word::Agent,
    }
}

pub(crate) const fn state(state: PageState) -> Word {
    match state {
        PageState::Poisoned => Word::Poisoned,
        PageState::Quarantined => Word::Quarantined,
        PageState::GuestRetired => Word::GuestRetired,
        PageState::HostOffline => Word::HostOfflined,
        PageState::Replaced => Word::Replaced,
    }
}

const fn source(source: FailureSource) -> Word {
    match source {
        FailureSource::Sea => Word::Sea,
        FailureSource::SigbusAr => Word::SigbusAr,
        FailureSource::SigbusAo => Word::SigbusAo,
        FailureSource::QuarantinedPage => Word::QuarantinedPage,
        FailureSource::DeviceAccess => Word::DeviceAccess,
        FailureSource::Reported => Word::Reported,
    }
}

/// Counts as JavaScript numbers: exact below 2^53, which no counter here ever reaches.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// A failure as whoever decides sees it, by the number of its event.
pub(crate) fn failure_record(seq: u64, failure: &MemoryFailure) -> Record {
    let mut record = Record::default();
    record.set(Slot::Seq, seq);
    record.word(
        Byte::Backend,
        match failure.backend {
            BackendKind::Kvm => Word::Kvm,
            BackendKind::Simulated => Word::Simulated,
        },
    );
    record.vcpu(failure.error.vcpu);
    record.word(Byte::Source, source(failure.source));
    record.word(
        Byte::Severity,
        match failure.severity {
            Severity::Recoverable => Word::Recoverable,
            Severity::Fatal => Word::Fatal,
        },
    );
    if let (Some(esr), Some(abort)) = (failure.error.esr(), failure.error.abort()) {
        write_abort(&mut record, esr, &abort);
    }
    match failure.error.report {
        ErrorReport::Signal { code, lsb } => {
            record.flag(Flag::Signal, true);
            record.byte(Byte::Lsb, lsb);
            record.word(
                Byte::SignalCode,
                match code {
                    SignalCode::ActionRequired => Word::ActionRequired,
                    SignalCode::ActionOptional => Word::ActionOptional,
                    SignalCode::ObjectError => Word::ObjectError,
                },
            );
        }
        ErrorReport::Sea { .. }
        | ErrorReport::Hole { .. }
        | ErrorReport::MemoryFault
        | ErrorReport::Owner => {}
    }
    let gva = failure.error.gva().map(seawall_arm64::Gva::bits);
    let gpa = failure.error.gpa.map(seawall_arm64::Gpa::bits);
    record.option(Flag::Gva, Slot::Gva, gva);
    record.option(Flag::Gpa, Slot::Gpa, gpa);
    if let Some(consumer) = failure.error.consumer {
        record.option(Flag::Consumer, Slot::Pc, Some(consumer.pc.bits()));
        record.set(Slot::Pstate, consumer.pstate.bits());
        record.word(
            Byte::Mode,
            match consumer.mode() {
                ConsumerMode::User => Word::User,
                ConsumerMode::Kernel => Word::Kernel,
            },
        );
    }
    if let Some(hit) = failure.page {
        record.option(Flag::Page, Slot::PageGpa, Some(hit.page.gpa.bits()));
        record.set(Slot::PageSize, hit.page.size);
        record.flag(Flag::First, hit.first);
        record.set(Slot::PageHits, hit.page.hits);
        record.word(Byte::PageState, state(hit.page.state));
    }
    record
}

/// Adds what was done about a failure.
pub(crate) fn add_outcome(record: &mut Record, failure: &MemoryFailure) {
    record.word(
        Byte::Recipient,
        match failure.source {
            FailureSource::DeviceAccess => Word::Hypervisor,
            FailureSource::Sea
            | FailureSource::SigbusAr
            | FailureSource::SigbusAo
            | FailureSource::QuarantinedPage
            | FailureSource::Reported => Word::Guest,
        },
    );
    record.word(
        Byte::Action,
        match failure.action {
            FailureAction::Inject => Word::Inject,
            FailureAction::InjectSError(_) => Word::InjectSError,
            FailureAction::Pause => Word::Pause,
            FailureAction::Stop => Word::Stop,
            FailureAction::Defer => Word::Defer,
            FailureAction::Resume => Word::Resume,
            FailureAction::Ignore => Word::Ignore,
        },
    );
    record.flag(Flag::ActionRequired, failure.error.vcpu.is_some());
    record.flag(Flag::Recursive, failure.recursive);
    record.word(
        Byte::DecidedBy,
        match failure.decided_by {
            DecidedBy::Policy => Word::Policy,
            DecidedBy::Decide => Word::Decide,
            DecidedBy::Fallback => Word::Fallback,
        },
    );
    match &failure.quarantine_error {
        None => record.reason(failure.reason),
        Some(error) => {
            record.reason_text(format!("{}; the page is still in reach: {error}", failure.reason));
        }
    }
    if let Some(quarantine) = failure.quarantine {
        record.option(Flag::Quarantine, Slot::Granule, Some(quarantine.granule));
        record.word(
            Byte::QuarantineMethod,
            match quarantine.method {
                QuarantineMethod::Userfaultfd => Word::Userfaultfd,
                QuarantineMethod::MemslotHole => Word::MemslotHole,
                QuarantineMethod::Hwpoison => Word::Hwpoison,
            },
        );
    }
    if let Some(notified) = failure.notified {
        record.flag(Flag::Notified, true);
        record.word(Byte::NotifiedSource, notification_source(notified.source));
        record.flag(Flag::AckedKnown, notified.acked.is_some());
        record.flag(Flag::Acked, notified.acked == Some(true));
    }
    if let Some(deferral) = failure.deferral {
        record.option(Flag::Deferral, Slot::Retries, Some(deferral.retries.into()));
        let milliseconds = deferral.time.as_secs_f64() * 1000.0;
        record.set(Slot::DeferralMs, milliseconds.to_bits());
        record.word(
            Byte::DeferralOutcome,
            match deferral.outcome {
                DeferralOutcome::Retired => Word::Retired,
                DeferralOutcome::Deadline => Word::Deadline,
            },
        );
    }
    if let Some(injection) = &failure.injection {
        record.flag(Flag::Injection, true);
        record.word(Byte::InjectionMethod, injection_method(injection.method));
        let esr = injection.esr.map(seawall_arm64::Esr::bits);
        record.option(Flag::InjectedEsr, Slot::InjectedEsr, esr);
        record.word(Byte::InjectionResult, injection_result(injection));
        record.errno(errno(injection));
    }
    record.set(Slot::DistinctPages, failure.ledger.distinct_pages);
    record.set(Slot::Total, failure.ledger.failures);
}
