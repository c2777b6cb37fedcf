//! Events, to JavaScript. Names and order of the fields are those of the public type `VmEvent`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use napi::bindgen_prelude::Either;
use napi_derive::napi;
use seawall_vmm::ghes::FailedReason;
use seawall_vmm::sea::ThresholdAction;
use seawall_vmm::{
    AccessKind, Event, EventKind, ExitReason, FailedNotification, FallbackReason, UnclaimedAccessPolicy,
    VmExit,
};

use crate::error::NativeError;
use crate::failure::{PoisonedPage, add_outcome, count, failure_record, notification_source, state, time};
use crate::record::{RECORD, Slot};

/// What happened, but for memory failures, which go as records; what is the same for every event of a VM is added by the
/// TypeScript side.
#[napi(
    discriminant = "type",
    discriminant_case = "kebab-case",
    object_from_js = false,
    use_nullable = true
)]
#[derive(Debug)]
pub enum NativeEvent {
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
const SCHEMA_VERSION: u8 = 1;

/// An event as its object; a memory failure has none.
fn object(event: Event) -> Option<NativeEvent> {
    let schema_version = SCHEMA_VERSION;
    let seq = count(event.seq);
    let monotonic_ns = nanoseconds(event.monotonic);
    let time = time(event.time);
    Some(match event.kind {
        EventKind::MemoryFailure(_) => return None,
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
            from: state(from).text(),
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
                source: notification_source(source).text(),
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
    })
}

/// Events in order: the memory failures as records, the others as objects.
#[napi(object, object_from_js = false)]
#[derive(Debug)]
pub struct NativeBatch {
    /// How many records there are. Each has the number of other events before it.
    pub failures: u32,
    pub others: Vec<NativeEvent>,
    /// What the records say in words of their own.
    pub texts: Vec<String>,
}

/// Writes the memory failures among events into a buffer that has room for as many as there are events. Where that is all
/// there is to say, it returns how many there were.
pub(crate) fn batch(events: Vec<Event>, buffer: &mut [u8]) -> Either<u32, NativeBatch> {
    let mut room = buffer.chunks_exact_mut(RECORD);
    let mut others = Vec::new();
    let mut texts = Vec::new();
    let mut failures = 0;
    for event in events {
        if let EventKind::MemoryFailure(failure) = &event.kind {
            let mut record = failure_record(event.seq, failure);
            record.before(u32::try_from(others.len()).unwrap_or(u32::MAX));
            record.set(Slot::Milliseconds, milliseconds(event.time).to_bits());
            record.set(Slot::MonotonicNs, nanoseconds(event.monotonic));
            add_outcome(&mut record, failure);
            if let Some(room) = room.next() {
                texts.extend(record.copy_to(room));
                failures += 1;
            }
        } else {
            others.extend(object(event));
        }
    }
    if others.is_empty() && texts.is_empty() {
        return Either::A(failures);
    }
    Either::B(NativeBatch {
        failures,
        others,
        texts,
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole milliseconds since 1970, as JavaScript has it.
fn milliseconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    #[expect(
        clippy::cast_precision_loss,
        reason = "it is exact for the next 285,000 years"
    )]
    let milliseconds = since.as_millis() as f64;
    milliseconds
}
