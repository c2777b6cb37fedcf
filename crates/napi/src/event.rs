//! Events, to JavaScript. Names and order of the fields are those of the public type `VmEvent`.

use napi_derive::napi;
use seawall_vmm::ghes::FailedReason;
use seawall_vmm::sea::ThresholdAction;
use seawall_vmm::{
    AccessKind, Event, EventKind, ExitReason, FailedNotification, FallbackReason, UnclaimedAccessPolicy,
    VmExit,
};

use crate::error::NativeError;
use crate::esr::Abort;
use crate::failure::{
    Consumer, Deferral, Flags, Injection, LedgerTotals, Notified, Page, PoisonedPage, Quarantine, Signal,
    count, memory_failure, notification_source, state, time,
};

/// What happened, with everything that is the same for every event of a VM added by the TypeScript side.
#[napi(
    discriminant = "type",
    discriminant_case = "kebab-case",
    object_from_js = false,
    use_nullable = true
)]
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a value lives from the ring to the JavaScript object, on one stack"
)]
pub enum NativeEvent {
    MemoryFailure {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        #[napi(ts_type = "'kvm' | 'simulated'")]
        backend: &'static str,
        vcpu: Option<u32>,
        #[napi(
            ts_type = "'sea' | 'sigbus-ar' | 'sigbus-ao' | 'quarantined-page' | 'device-access' | 'reported'"
        )]
        source: &'static str,
        #[napi(ts_type = "'recoverable' | 'fatal'")]
        severity: &'static str,
        abort: Option<Abort>,
        signal: Option<Signal>,
        gva: Option<u64>,
        gpa: Option<u64>,
        consumer: Option<Consumer>,
        page: Option<Page>,
        #[napi(ts_type = "'guest' | 'hypervisor'")]
        recipient: &'static str,
        #[napi(ts_type = "'ignore' | 'inject' | 'inject-serror' | 'defer' | 'pause' | 'stop' | 'resume'")]
        action: &'static str,
        flags: Flags,
        #[napi(ts_type = "'policy' | 'decide' | 'fallback'")]
        decided_by: &'static str,
        reason: String,
        quarantine: Option<Quarantine>,
        notified: Option<Notified>,
        deferral: Option<Deferral>,
        injection: Option<Injection>,
        ledger: LedgerTotals,
    },
    StateChanged {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        from: &'static str,
        to: &'static str,
    },
    Exit {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        exit: NativeExit,
    },
    GuestReset {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
    },
    UnclaimedAccess {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        vcpu: u32,
        #[napi(ts_type = "'mmio' | 'nisv' | 'ldst64b'")]
        kind: &'static str,
        gpa: u64,
        write: Option<bool>,
        #[napi(ts_type = "'abort' | 'stop' | 'read-zero'")]
        action: &'static str,
    },
    PageStateChanged {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        page: PoisonedPage,
        from: &'static str,
    },
    PoisonThresholdReached {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        distinct_pages: i64,
        #[napi(ts_type = "'pause' | 'stop' | 'report'")]
        action: &'static str,
    },
    NotificationFailed {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        #[napi(ts_type = "'sea' | 'gsiv' | 'agent'")]
        source: &'static str,
        #[napi(ts_type = "'unread' | 'lost'")]
        reason: &'static str,
    },
    DecisionFallback {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        failure: i64,
        #[napi(ts_type = "'timeout' | 'threw' | 'rejected' | 'invalid' | 'queue-full' | 'closing'")]
        reason: &'static str,
        error: Option<String>,
    },
    DecisionLate {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        failure: i64,
        after_ms: f64,
    },
    VcpuFailed {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        vcpu: u32,
        error: FailureText,
    },
    EventsLost {
        schema_version: u8,
        seq: i64,
        time: String,
        monotonic_ns: u64,
        from_seq: i64,
        to_seq: i64,
    },
}

#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct FailureText {
    pub code: String,
    pub message: String,
}

#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Debug)]
pub struct NativeExit {
    #[napi(ts_type = "'shutdown' | 'reset' | 'crash' | 'requested' | 'policy' | 'failed'")]
    pub reason: &'static str,
    pub vcpu: Option<u32>,
    pub error: Option<NativeError>,
}

impl From<&VmExit> for NativeExit {
    fn from(exit: &VmExit) -> Self {
        Self {
            reason: match exit.reason {
                ExitReason::Shutdown => "shutdown",
                ExitReason::Reset => "reset",
                ExitReason::Crash => "crash",
                ExitReason::Requested => "requested",
                ExitReason::Policy => "policy",
                ExitReason::Failed => "failed",
            },
            vcpu: exit.vcpu,
            error: exit.error.as_ref().map(NativeError::from),
        }
    }
}

/// The version of the events' shapes.
pub(crate) const SCHEMA_VERSION: u8 = 1;

pub(crate) fn event(event: Event) -> NativeEvent {
    let schema_version = SCHEMA_VERSION;
    let seq = count(event.seq);
    let monotonic_ns = u64::try_from(event.monotonic.as_nanos()).unwrap_or(u64::MAX);
    let time = time(event.time);
    match event.kind {
        EventKind::MemoryFailure(failure) => memory_failure(seq, time, monotonic_ns, &failure),
        EventKind::StateChanged { from, to } => NativeEvent::StateChanged {
            schema_version,
            seq,
            time,
            monotonic_ns,
            from: from.name(),
            to: to.name(),
        },
        EventKind::Exit(exit) => NativeEvent::Exit {
            schema_version,
            seq,
            time,
            monotonic_ns,
            exit: NativeExit::from(&exit),
        },
        EventKind::GuestReset => NativeEvent::GuestReset {
            schema_version,
            seq,
            time,
            monotonic_ns,
        },
        EventKind::UnclaimedAccess(access) => NativeEvent::UnclaimedAccess {
            schema_version,
            seq,
            time,
            monotonic_ns,
            vcpu: access.vcpu,
            kind: match access.kind {
                AccessKind::Mmio => "mmio",
                AccessKind::Nisv => "nisv",
                AccessKind::Ldst64b => "ldst64b",
            },
            gpa: access.gpa.bits(),
            write: access.write,
            action: match access.action {
                UnclaimedAccessPolicy::Abort => "abort",
                UnclaimedAccessPolicy::Stop => "stop",
                UnclaimedAccessPolicy::ReadZero => "read-zero",
            },
        },
        EventKind::PageStateChanged { page, from } => NativeEvent::PageStateChanged {
            schema_version,
            seq,
            time,
            monotonic_ns,
            page: PoisonedPage::from(&page),
            from: state(from),
        },
        EventKind::PoisonThresholdReached {
            distinct_pages,
            action,
        } => NativeEvent::PoisonThresholdReached {
            schema_version,
            seq,
            time,
            monotonic_ns,
            distinct_pages: count(distinct_pages),
            action: match action {
                ThresholdAction::Pause => "pause",
                ThresholdAction::Stop => "stop",
                ThresholdAction::Report => "report",
            },
        },
        EventKind::NotificationFailed(FailedNotification { source, reason }) => {
            NativeEvent::NotificationFailed {
                schema_version,
                seq,
                time,
                monotonic_ns,
                source: notification_source(source),
                reason: match reason {
                    FailedReason::Unread => "unread",
                    FailedReason::Lost => "lost",
                },
            }
        }
        EventKind::DecisionFallback {
            failure,
            reason,
            error,
        } => NativeEvent::DecisionFallback {
            schema_version,
            seq,
            time,
            monotonic_ns,
            failure: count(failure),
            reason: match reason {
                FallbackReason::Timeout => "timeout",
                FallbackReason::Threw => "threw",
                FallbackReason::Rejected => "rejected",
                FallbackReason::Invalid => "invalid",
                FallbackReason::QueueFull => "queue-full",
                FallbackReason::Closing => "closing",
            },
            error,
        },
        EventKind::DecisionLate { failure, after } => NativeEvent::DecisionLate {
            schema_version,
            seq,
            time,
            monotonic_ns,
            failure: count(failure),
            after_ms: after.as_secs_f64() * 1000.0,
        },
        EventKind::VcpuFailed { vcpu, error } => NativeEvent::VcpuFailed {
            schema_version,
            seq,
            time,
            monotonic_ns,
            vcpu,
            error: FailureText {
                code: error.code().to_owned(),
                message: error.to_string(),
            },
        },
        EventKind::EventsLost { from_seq, to_seq } => NativeEvent::EventsLost {
            schema_version,
            seq,
            time,
            monotonic_ns,
            from_seq: count(from_seq),
            to_seq: count(to_seq),
        },
    }
}
