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
use crate::record::{Records, Word};

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

/// A failure whose abort waits, as whoever decides sees it: by the number of its event.
pub(crate) fn write_failure(records: &mut Records, seq: u64, failure: &MemoryFailure) {
    records.u64(seq);
    records.word(match failure.backend {
        BackendKind::Kvm => Word::Kvm,
        BackendKind::Simulated => Word::Simulated,
    });
    records.option(failure.error.vcpu, Records::u32);
    records.word(source(failure.source));
    records.word(match failure.severity {
        Severity::Recoverable => Word::Recoverable,
        Severity::Fatal => Word::Fatal,
    });
    let abort = failure
        .error
        .esr()
        .and_then(|esr| Some((esr, failure.error.abort()?)));
    records.option(abort, |records, (esr, abort)| write_abort(records, esr, &abort));
    let signal = match failure.error.report {
        ErrorReport::Signal { code, lsb } => Some((code, lsb)),
        ErrorReport::Sea { .. }
        | ErrorReport::Hole { .. }
        | ErrorReport::MemoryFault
        | ErrorReport::Owner => None,
    };
    records.option(signal, |records, (code, lsb)| {
        records.word(match code {
            SignalCode::ActionRequired => Word::ActionRequired,
            SignalCode::ActionOptional => Word::ActionOptional,
            SignalCode::ObjectError => Word::ObjectError,
        });
        records.u32(lsb.into());
    });
    records.option(failure.error.gva().map(seawall_arm64::Gva::bits), Records::u64);
    records.option(failure.error.gpa.map(seawall_arm64::Gpa::bits), Records::u64);
    records.option(failure.error.consumer, |records, consumer| {
        records.word(match consumer.mode() {
            ConsumerMode::User => Word::User,
            ConsumerMode::Kernel => Word::Kernel,
        });
        records.u64(consumer.pc.bits());
        records.u64(consumer.pstate.bits());
    });
    records.option(failure.page, |records, hit| {
        records.u64(hit.page.gpa.bits());
        records.u64(hit.page.size);
        records.flag(hit.first);
        records.u64(hit.page.hits);
        records.word(state(hit.page.state));
    });
}

/// What was done about a failure, behind the failure.
pub(crate) fn write_outcome(records: &mut Records, failure: &MemoryFailure) {
    records.word(match failure.source {
        FailureSource::DeviceAccess => Word::Hypervisor,
        FailureSource::Sea
        | FailureSource::SigbusAr
        | FailureSource::SigbusAo
        | FailureSource::QuarantinedPage
        | FailureSource::Reported => Word::Guest,
    });
    records.word(match failure.action {
        FailureAction::Inject => Word::Inject,
        FailureAction::InjectSError(_) => Word::InjectSError,
        FailureAction::Pause => Word::Pause,
        FailureAction::Stop => Word::Stop,
        FailureAction::Defer => Word::Defer,
        FailureAction::Resume => Word::Resume,
        FailureAction::Ignore => Word::Ignore,
    });
    records.flag(failure.error.vcpu.is_some());
    records.flag(failure.recursive);
    records.word(match failure.decided_by {
        DecidedBy::Policy => Word::Policy,
        DecidedBy::Decide => Word::Decide,
        DecidedBy::Fallback => Word::Fallback,
    });
    match &failure.quarantine_error {
        None => records.reason(failure.reason),
        Some(error) => records.text(format!("{}; the page is still in reach: {error}", failure.reason)),
    }
    records.option(failure.quarantine, |records, quarantine| {
        records.word(match quarantine.method {
            QuarantineMethod::Userfaultfd => Word::Userfaultfd,
            QuarantineMethod::MemslotHole => Word::MemslotHole,
            QuarantineMethod::Hwpoison => Word::Hwpoison,
        });
        records.u64(quarantine.granule);
    });
    records.option(failure.notified, |records, notified| {
        records.word(notification_source(notified.source));
        records.option(notified.acked, Records::flag);
    });
    records.option(failure.deferral, |records, deferral| {
        records.u32(deferral.retries);
        records.f64(deferral.time.as_secs_f64() * 1000.0);
        records.word(match deferral.outcome {
            DeferralOutcome::Retired => Word::Retired,
            DeferralOutcome::Deadline => Word::Deadline,
        });
    });
    records.option(failure.injection.as_ref(), |records, injection| {
        records.word(injection_method(injection.method));
        records.option(injection.esr.map(seawall_arm64::Esr::bits), Records::u64);
        records.word(injection_result(injection));
        records.option(errno(injection), Records::text);
    });
    records.u64(failure.ledger.distinct_pages);
    records.u64(failure.ledger.failures);
}
