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

use crate::esr::abort;
use crate::event::{NativeEvent, SCHEMA_VERSION};

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct Consumer {
    #[napi(ts_type = "'user' | 'kernel'")]
    pub mode: &'static str,
    #[napi(ts_type = "bigint")]
    pub pc: u64,
    #[napi(ts_type = "bigint")]
    pub pstate: u64,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct Page {
    #[napi(ts_type = "bigint")]
    pub gpa: u64,
    pub size: i64,
    pub first: bool,
    pub hits: i64,
    #[napi(ts_type = "'poisoned' | 'quarantined' | 'host-offlined' | 'replaced'")]
    pub state: &'static str,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct Signal {
    #[napi(ts_type = "'BUS_MCEERR_AR' | 'BUS_MCEERR_AO' | 'BUS_OBJERR'")]
    pub code: &'static str,
    pub lsb: u8,
}

#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Debug)]
pub struct Notified {
    #[napi(ts_type = "'sea' | 'gsiv' | 'agent'")]
    pub source: &'static str,
    pub acked: Option<bool>,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct Deferral {
    pub retries: u32,
    pub ms: f64,
    #[napi(ts_type = "'retired' | 'deadline'")]
    pub outcome: &'static str,
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct Quarantine {
    #[napi(ts_type = "'userfaultfd' | 'memslot-hole' | 'hwpoison'")]
    pub method: &'static str,
    pub granule: i64,
}

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

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct Flags {
    pub action_required: bool,
    pub recursive: bool,
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

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct LedgerTotals {
    pub distinct_pages: i64,
    pub total: i64,
}

impl From<&seawall_vmm::Injection> for Injection {
    fn from(injection: &seawall_vmm::Injection) -> Self {
        Self {
            method: match injection.method {
                InjectionMethod::VcpuEvents => "vcpu-events",
                InjectionMethod::VcpuEventsAndRegisters => "vcpu-events+registers",
                InjectionMethod::Registers => "registers",
                InjectionMethod::SError => "serror",
            },
            esr: injection.esr.map(seawall_arm64::Esr::bits),
            result: if injection.error.is_none() { "ok" } else { "error" },
            errno: injection
                .error
                .as_ref()
                .and_then(|error| error.errno())
                .map(|errno| errno.to_string()),
        }
    }
}

impl From<&sea::PoisonedPage> for PoisonedPage {
    fn from(page: &sea::PoisonedPage) -> Self {
        Self {
            gpa: page.gpa.bits(),
            size: count(page.size),
            state: state(page.state),
            hits: count(page.hits),
            first_seen: time(page.first_seen),
            source: source(page.source),
        }
    }
}

pub(crate) const fn notification_source(source: NotificationSource) -> &'static str {
    match source {
        NotificationSource::Sea => "sea",
        NotificationSource::Gsiv => "gsiv",
        NotificationSource::Agent => "agent",
    }
}

pub(crate) const fn state(state: PageState) -> &'static str {
    match state {
        PageState::Poisoned => "poisoned",
        PageState::Quarantined => "quarantined",
        PageState::GuestRetired => "guest-retired",
        PageState::HostOffline => "host-offlined",
        PageState::Replaced => "replaced",
    }
}

const fn source(source: FailureSource) -> &'static str {
    match source {
        FailureSource::Sea => "sea",
        FailureSource::SigbusAr => "sigbus-ar",
        FailureSource::SigbusAo => "sigbus-ao",
        FailureSource::QuarantinedPage => "quarantined-page",
        FailureSource::DeviceAccess => "device-access",
        FailureSource::Reported => "reported",
    }
}

/// Counts as JavaScript numbers: exact below 2^53, which no counter here ever reaches.
pub(crate) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// A failure whose abort waits, as the event that told of it; the clocks are not kept.
pub(crate) fn pending_failure(seq: u64, failure: &MemoryFailure) -> NativeEvent {
    memory_failure(count(seq), String::new(), 0, failure)
}

/// A failure as its event.
pub(crate) fn memory_failure(
    seq: i64,
    time: String,
    monotonic_ns: u64,
    failure: &MemoryFailure,
) -> NativeEvent {
    NativeEvent::MemoryFailure {
        schema_version: SCHEMA_VERSION,
        seq,
        time,
        monotonic_ns,
        backend: match failure.backend {
            BackendKind::Kvm => "kvm",
            BackendKind::Simulated => "simulated",
        },
        vcpu: failure.error.vcpu,
        source: source(failure.source),
        severity: match failure.severity {
            Severity::Recoverable => "recoverable",
            Severity::Fatal => "fatal",
        },
        abort: failure.error.esr().and_then(abort),
        signal: match failure.error.report {
            ErrorReport::Signal { code, lsb } => Some(Signal {
                code: match code {
                    SignalCode::ActionRequired => "BUS_MCEERR_AR",
                    SignalCode::ActionOptional => "BUS_MCEERR_AO",
                    SignalCode::ObjectError => "BUS_OBJERR",
                },
                lsb,
            }),
            ErrorReport::Sea { .. }
            | ErrorReport::Hole { .. }
            | ErrorReport::MemoryFault
            | ErrorReport::Owner => None,
        },
        gva: failure.error.gva().map(seawall_arm64::Gva::bits),
        gpa: failure.error.gpa.map(seawall_arm64::Gpa::bits),
        consumer: failure.error.consumer.map(|consumer| Consumer {
            mode: match consumer.mode() {
                ConsumerMode::User => "user",
                ConsumerMode::Kernel => "kernel",
            },
            pc: consumer.pc.bits(),
            pstate: consumer.pstate.bits(),
        }),
        page: failure.page.map(|hit| Page {
            gpa: hit.page.gpa.bits(),
            size: count(hit.page.size),
            first: hit.first,
            hits: count(hit.page.hits),
            state: state(hit.page.state),
        }),
        recipient: match failure.source {
            FailureSource::DeviceAccess => "hypervisor",
            FailureSource::Sea
            | FailureSource::SigbusAr
            | FailureSource::SigbusAo
            | FailureSource::QuarantinedPage
            | FailureSource::Reported => "guest",
        },
        action: match failure.action {
            FailureAction::Inject => "inject",
            FailureAction::InjectSError(_) => "inject-serror",
            FailureAction::Pause => "pause",
            FailureAction::Stop => "stop",
            FailureAction::Defer => "defer",
            FailureAction::Resume => "resume",
            FailureAction::Ignore => "ignore",
        },
        flags: Flags {
            action_required: failure.error.vcpu.is_some(),
            recursive: failure.recursive,
        },
        decided_by: match failure.decided_by {
            DecidedBy::Policy => "policy",
            DecidedBy::Decide => "decide",
            DecidedBy::Fallback => "fallback",
        },
        reason: match &failure.quarantine_error {
            None => failure.reason.to_string(),
            Some(error) => format!("{}; the page is still in reach: {error}", failure.reason),
        },
        quarantine: failure.quarantine.map(|quarantine| Quarantine {
            method: match quarantine.method {
                QuarantineMethod::Userfaultfd => "userfaultfd",
                QuarantineMethod::MemslotHole => "memslot-hole",
                QuarantineMethod::Hwpoison => "hwpoison",
            },
            granule: count(quarantine.granule),
        }),
        notified: failure.notified.map(|notified| Notified {
            source: notification_source(notified.source),
            acked: notified.acked,
        }),
        deferral: failure.deferral.map(|deferral| Deferral {
            retries: deferral.retries,
            ms: deferral.time.as_secs_f64() * 1000.0,
            outcome: match deferral.outcome {
                DeferralOutcome::Retired => "retired",
                DeferralOutcome::Deadline => "deadline",
            },
        }),
        injection: failure.injection.as_ref().map(Injection::from),
        ledger: LedgerTotals {
            distinct_pages: count(failure.ledger.distinct_pages),
            total: count(failure.ledger.failures),
        },
    }
}
