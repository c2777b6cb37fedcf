use seawall_arm64::{Esr, Gpa, Gva, Pstate};

use super::*;
use crate::sea::memory_error::Consumer;

const INJECT: MemoryFailurePolicy = MemoryFailurePolicy {
    recoverable: RecoverablePolicy::Inject,
    uncontainable: UncontainablePolicy::Stop,
    quarantine: true,
    threshold: None,
    same_fault_limit: 3,
    notify_guest: NotifyGuest::Ghes,
    defer: Duration::ZERO,
};
const FIRST: History = History {
    distinct_pages: 1,
    first: true,
    same_fault: 0,
};
const KERNEL: u64 = 0x3c5;
const USER: u64 = 0;

const SIGNAL: ErrorReport = ErrorReport::Signal {
    code: SignalCode::ActionRequired,
    lsb: 12,
};

fn error(report: ErrorReport, pstate: u64) -> MemoryError {
    MemoryError {
        vcpu: Some(0),
        report,
        gpa: Some(Gpa::from_bits(0x8010_0000)),
        consumer: Some(Consumer {
            pc: Gva::from_bits(0x8000_0000),
            pstate: Pstate::from_bits(pstate),
        }),
    }
}

fn sea(esr: u64) -> MemoryError {
    error(
        ErrorReport::Sea {
            esr: Esr::from_bits(esr),
            gva: None,
        },
        USER,
    )
}

#[test]
fn severity_follows_the_error_type() {
    for (set, severity, action) in [
        (0b00, Severity::Recoverable, FailureAction::Inject),
        (0b01, Severity::Fatal, FailureAction::Stop),
        (0b10, Severity::Fatal, FailureAction::Stop),
        (0b11, Severity::Recoverable, FailureAction::Inject),
    ] {
        let verdict = decide(&sea(0x9200_0010 | set << 11), &FIRST, &INJECT);
        assert_eq!(
            (verdict.severity, verdict.action),
            (severity, action),
            "SET {set:#b}"
        );
    }
}

#[test]
fn uncontainable_error_is_never_injected() {
    for recoverable in [
        RecoverablePolicy::Inject,
        RecoverablePolicy::Pause,
        RecoverablePolicy::Stop,
    ] {
        for uncontainable in [UncontainablePolicy::Pause, UncontainablePolicy::Stop] {
            for esr in [0x9200_1010, 0x9200_0810, 0x8200_1010, 0x5600_0000] {
                let policy = MemoryFailurePolicy {
                    recoverable,
                    uncontainable,
                    ..INJECT
                };
                let verdict = decide(&sea(esr), &FIRST, &policy);
                assert_eq!(verdict.severity, Severity::Fatal);
                assert_ne!(verdict.action, FailureAction::Inject, "{esr:#x}");
            }
        }
    }
}

#[test]
fn aborts_without_a_severity_are_taken_as_recoverable() {
    // On a table walk, and parity or ECC: SET is not defined there, whatever its bits say.
    for esr in [0x9200_0017, 0x9200_1017, 0x9200_0018, 0x9200_101f] {
        let verdict = decide(&sea(esr), &FIRST, &INJECT);
        assert_eq!(verdict.action, FailureAction::Inject, "{esr:#x}");
        assert_eq!(verdict.reason, VerdictReason::NoErrorType);
    }
}

#[test]
fn a_signal_is_recoverable() {
    let verdict = decide(&error(SIGNAL, USER), &FIRST, &INJECT);
    assert_eq!(
        (verdict.severity, verdict.action),
        (Severity::Recoverable, FailureAction::Inject)
    );
    assert_eq!(verdict.reason, VerdictReason::Signal);
}

#[test]
fn a_kernel_that_touches_the_page_again_and_again_stops_the_vm() {
    let report = ErrorReport::Sea {
        esr: Esr::from_bits(0x9200_0010),
        gva: None,
    };
    for (same_fault, action) in [
        (0, FailureAction::Inject),
        (2, FailureAction::Inject),
        (3, FailureAction::Stop),
        (u32::MAX, FailureAction::Stop),
    ] {
        let verdict = decide(&error(report, KERNEL), &History { same_fault, ..FIRST }, &INJECT);
        assert_eq!(verdict.action, action, "{same_fault} injections");
    }
}

#[test]
fn a_user_process_that_survives_its_signal_never_stops_the_vm() {
    let verdict = decide(
        &sea(0x9200_0010),
        &History {
            same_fault: u32::MAX,
            ..FIRST
        },
        &INJECT,
    );
    assert_eq!(verdict.action, FailureAction::Inject);
}

#[test]
fn the_threshold_counts_pages_and_not_hits() {
    for (action, expected) in [
        (ThresholdAction::Pause, FailureAction::Pause),
        (ThresholdAction::Stop, FailureAction::Stop),
        (ThresholdAction::Report, FailureAction::Inject),
    ] {
        let threshold = Threshold {
            distinct_pages: 3,
            action,
        };
        let policy = MemoryFailurePolicy {
            threshold: Some(threshold),
            ..INJECT
        };
        for (distinct_pages, first, reached) in [
            (2, true, false),
            (3, true, true),
            (4, true, true),
            (3, false, false),
        ] {
            let verdict = decide(
                &sea(0x9200_0010),
                &History {
                    distinct_pages,
                    first,
                    same_fault: 0,
                },
                &policy,
            );
            let wanted = if reached { expected } else { FailureAction::Inject };
            assert_eq!(
                verdict.action, wanted,
                "{action:?}, {distinct_pages} pages, first {first}"
            );
            assert_eq!(verdict.threshold, reached.then_some(threshold));
        }
    }
}

#[test]
fn what_nobody_can_contain_comes_before_every_other_rule() {
    let threshold = Some(Threshold {
        distinct_pages: 1,
        action: ThresholdAction::Stop,
    });
    let policy = MemoryFailurePolicy {
        threshold,
        uncontainable: UncontainablePolicy::Pause,
        ..INJECT
    };
    let history = History {
        same_fault: 9,
        ..FIRST
    };
    let verdict = decide(&sea(0x9200_1010), &history, &policy);
    assert_eq!(verdict.action, FailureAction::Pause);
    assert_eq!(verdict.threshold, threshold, "it is reached all the same");
}
