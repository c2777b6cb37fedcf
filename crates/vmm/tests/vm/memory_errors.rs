//! The path of a memory error: what the guest's registers hold before and after, and what the event says.

use seawall_arm64::{Esr, Gpa, Gva, Pstate, SynchronousErrorType};
use seawall_vmm::sea::{ConsumerMode, FailureAction, FailureSource, PageState, Severity, VerdictReason};
use seawall_vmm::{
    AbortStep, BackendKind, ExitReason, InjectionMethod, MemoryFailurePolicy, RecoverablePolicy, Step,
    UncontainablePolicy, VmState,
};

use crate::harness::{
    CONSUMER, DATA_ABORT, EL0T, EL1H, FAR, INJECT, Machine, PAGE, PAUSE, Registers, UNCONTAINABLE, VBAR,
    abort, guest, policy,
};

const FNV: u64 = 1 << 10;
/// SET at bits 12:11, and how bad it is.
const SETS: [(u64, Severity); 4] = [
    (0b00, Severity::Recoverable), // UER
    (0b10, Severity::Fatal),       // UC
    (0b11, Severity::Recoverable), // UEO
    (0b01, Severity::Fatal),       // reserved
];

/// The same exception, taken from the other exception level or fetching instead of accessing data.
struct Row {
    /// ESR_EL2: to EL2 every guest is a lower exception level.
    exit_class: u64,
    pstate: u64,
    /// ESR_EL1.EC as the guest must read it.
    class: u64,
    /// The vector, from VBAR_EL1.
    vector: u64,
    /// PSTATE in the handler.
    handler: u64,
}

const ROWS: [Row; 4] = [
    Row {
        exit_class: 0x24,
        pstate: EL0T,
        class: 0x24,
        vector: 0x400,
        handler: 0x6000_03c5,
    },
    Row {
        exit_class: 0x24,
        pstate: EL1H,
        class: 0x25,
        vector: 0x200,
        handler: 0x8040_03c5,
    },
    Row {
        exit_class: 0x20,
        pstate: EL0T,
        class: 0x20,
        vector: 0x400,
        handler: 0x6000_03c5,
    },
    Row {
        exit_class: 0x20,
        pstate: EL1H,
        class: 0x21,
        vector: 0x200,
        handler: 0x8040_03c5,
    },
];

/// A class, IL, and the fault status of an external abort that is not on a table walk.
const fn syndrome(class: u64, fnv: u64, set: u64) -> u64 {
    class << 26 | 1 << 25 | set << 11 | fnv | 0x10
}

#[test]
fn the_guest_takes_the_abort_its_processor_reported() {
    for Row {
        exit_class,
        pstate,
        class,
        vector,
        handler,
    } in ROWS
    {
        for fnv in [0, FNV] {
            for set in [0b00, 0b11] {
                let esr = syndrome(exit_class, fnv, set);
                let mut machine = Machine::started(
                    INJECT,
                    vec![guest([Step::Sea(AbortStep {
                        pstate: Pstate::from_bits(pstate),
                        ..abort(esr)
                    })])],
                );
                let failure = machine.failures(1).remove(0);
                machine.pause().expect("the guest goes on");
                assert_eq!(
                    machine.registers(0),
                    Registers {
                        pc: VBAR + vector,
                        pstate: handler,
                        elr: CONSUMER,
                        spsr: pstate,
                        esr: syndrome(class, fnv, set),
                        far: if fnv == 0 { FAR } else { 0 },
                    },
                    "ESR_EL2 {esr:#x} PSTATE {pstate:#x}"
                );
                let injection = failure.injection.expect("injected");
                assert_eq!(injection.esr, Some(Esr::from_bits(syndrome(class, fnv, set))));
                assert_eq!(injection.error, None);
                assert_eq!(failure.error.gva(), (fnv == 0).then_some(Gva::from_bits(FAR)));
            }
        }
    }
}

#[test]
fn an_uncontainable_abort_leaves_the_registers_alone_and_stops() {
    for Row {
        exit_class, pstate, ..
    } in ROWS
    {
        for fnv in [0, FNV] {
            for set in [0b10, 0b01] {
                let mut machine = Machine::new(
                    INJECT,
                    vec![guest([Step::Sea(AbortStep {
                        pstate: Pstate::from_bits(pstate),
                        ..abort(syndrome(exit_class, fnv, set))
                    })])],
                );
                machine.set(0, "esr_el1", 0x5600_0000).expect("created");
                machine.set(0, "far_el1", 0x77).expect("created");
                machine.start().expect("created");
                let failure = machine.failures(1).remove(0);
                assert_eq!((failure.action, failure.injection), (FailureAction::Stop, None));
                let exit = machine.wait().expect("stops");
                assert_eq!(
                    (exit.reason, exit.vcpu, exit.error),
                    (ExitReason::Policy, Some(0), None)
                );
                assert_eq!(machine.vm.state(), VmState::Stopped);
                assert_eq!(
                    machine.registers(0),
                    Registers {
                        pc: CONSUMER,
                        pstate,
                        elr: 0,
                        spsr: 0,
                        esr: 0x5600_0000,
                        far: 0x77
                    }
                );
            }
        }
    }
}

#[test]
fn the_severity_chooses_which_policy_decides() {
    use FailureAction::{Inject, Pause, Stop};
    for (recoverable, contained) in [
        (RecoverablePolicy::Inject, Inject),
        (RecoverablePolicy::Pause, Pause),
        (RecoverablePolicy::Stop, Stop),
    ] {
        for (uncontainable, fatal) in [
            (UncontainablePolicy::Pause, Pause),
            (UncontainablePolicy::Stop, Stop),
        ] {
            for (set, severity) in SETS {
                for class in [0x20, 0x24] {
                    let expected = match severity {
                        Severity::Recoverable => contained,
                        Severity::Fatal => fatal,
                    };
                    let failure = one_failure(
                        policy(recoverable, uncontainable),
                        syndrome(class, 0, set),
                        expected,
                    );
                    assert_eq!(failure, (severity, expected), "class {class:#x} SET {set:#b}");
                }
            }
        }
    }
}

fn one_failure(policy: MemoryFailurePolicy, esr: u64, expected: FailureAction) -> (Severity, FailureAction) {
    let mut machine = Machine::started(policy, vec![guest([Step::Sea(abort(esr))])]);
    let failure = machine.failures(1).remove(0);
    machine.reaches(match expected {
        FailureAction::Inject
        | FailureAction::InjectSError(_)
        | FailureAction::Defer
        | FailureAction::Resume
        | FailureAction::Ignore => VmState::Running,
        FailureAction::Pause => VmState::Paused,
        FailureAction::Stop => VmState::Stopped,
    });
    (failure.severity, failure.action)
}

#[test]
fn an_exit_that_is_no_abort_is_fatal() {
    // EC 0x15, SVC: the kernel never reports it here, so nothing about the vCPU can be trusted.
    let mut machine = Machine::started(INJECT, vec![guest([Step::Sea(abort(0x5600_0000))])]);
    let failure = machine.failures(1).remove(0);
    assert_eq!(failure.severity, Severity::Fatal);
    assert_eq!(failure.reason, VerdictReason::NoAbort);
    assert_eq!(machine.wait().expect("stops").reason, ExitReason::Policy);
}

#[test]
fn every_family_of_faults_reaches_the_guest_with_its_fields() {
    // External and parity or ECC, each on and not on a table walk of each level. SET means nothing on the last three
    // families, EA and CM and WnR are kept where the abort has them.
    let walks = [0x13, 0x14, 0x15, 0x16, 0x17, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f];
    for fsc in [0x10, 0x18].into_iter().chain(walks) {
        for (class, extra) in [(0x24, 0x340), (0x24, 0), (0x20, 0x200), (0x20, 0)] {
            let esr = class << 26 | 1 << 25 | extra | fsc;
            let mut machine = Machine::started(INJECT, vec![guest([Step::Sea(abort(esr))])]);
            let failure = machine.failures(1).remove(0);
            assert_eq!(failure.action, FailureAction::Inject, "{esr:#x}");
            machine.pause().expect("the guest goes on");
            assert_eq!(machine.get(0, "esr_el1"), Ok(esr), "{esr:#x}");
        }
    }
}

#[test]
fn the_event_tells_who_consumed_what_where() {
    let mut machine = Machine::started(INJECT, vec![guest([Step::Sea(abort(DATA_ABORT))])]);
    let failure = machine.failures(1).remove(0);
    assert_eq!(failure.backend, BackendKind::Simulated);
    assert_eq!(failure.source, FailureSource::Sea);
    assert_eq!(failure.error.vcpu, Some(0));
    assert_eq!(failure.error.esr(), Some(Esr::from_bits(DATA_ABORT)));
    assert_eq!(failure.error.gva(), Some(Gva::from_bits(FAR)));
    assert_eq!(failure.error.gpa, Some(Gpa::from_bits(PAGE)));
    let consumer = failure.error.consumer.expect("a vCPU");
    assert_eq!(consumer.pc, Gva::from_bits(CONSUMER));
    assert_eq!(consumer.pstate, Pstate::from_bits(EL0T));
    assert_eq!(consumer.mode(), ConsumerMode::User);
    assert_eq!(
        failure.reason,
        VerdictReason::ErrorType(SynchronousErrorType::Recoverable)
    );
    assert!(!failure.recursive);
    let hit = failure.page.expect("the page is known");
    assert_eq!((hit.page.gpa, hit.page.size), (Gpa::from_bits(PAGE), 4096));
    assert_eq!(
        (hit.page.hits, hit.first, hit.page.state),
        (1, true, PageState::Quarantined)
    );
    assert_eq!((failure.ledger.distinct_pages, failure.ledger.failures), (1, 1));
    let injection = failure.injection.expect("injected");
    // The kernel's own syndrome was right already, so nothing had to be written over it.
    assert_eq!(injection.method, InjectionMethod::VcpuEvents);
}

#[test]
fn an_unknown_page_is_counted_and_is_not_page_zero() {
    let mut machine = Machine::started(
        INJECT,
        vec![guest([Step::Sea(AbortStep {
            gpa: None,
            ..abort(DATA_ABORT)
        })])],
    );
    let failure = machine.failures(1).remove(0);
    assert_eq!((failure.error.gpa, failure.page), (None, None));
    assert_eq!((failure.ledger.distinct_pages, failure.ledger.failures), (0, 1));
    assert_eq!(machine.close().expect("closes").unretired_host_pages, 0);
}

#[test]
fn the_same_instruction_on_the_same_page_again_is_recursive() {
    let other_page = AbortStep {
        gpa: Some(Gpa::from_bits(PAGE + 4096)),
        ..abort(DATA_ABORT)
    };
    let other_instruction = AbortStep {
        pc: Gva::from_bits(CONSUMER + 4),
        ..other_page
    };
    let steps = [
        abort(DATA_ABORT),
        abort(DATA_ABORT),
        other_page,
        other_instruction,
        abort(DATA_ABORT),
    ];
    let mut machine = Machine::started(INJECT, vec![guest(steps.map(Step::Sea))]);
    let failures = machine.failures(5);
    let recursive: Vec<bool> = failures.iter().map(|failure| failure.recursive).collect();
    assert_eq!(recursive, [false, true, false, false, false]);
    let hits: Vec<u64> = failures
        .iter()
        .filter_map(|failure| failure.page)
        .map(|hit| hit.page.hits)
        .collect();
    assert_eq!(hits, [1, 2, 1, 2, 3]);
    let last = failures[4].ledger;
    assert_eq!((last.distinct_pages, last.failures), (2, 5));
    assert_eq!(machine.close().expect("closes").unretired_host_pages, 2);
}

#[test]
fn an_uncontainable_abort_on_a_paused_policy_waits() {
    let mut machine = Machine::started(PAUSE, vec![guest([Step::Sea(abort(UNCONTAINABLE))])]);
    let failure = machine.failures(1).remove(0);
    assert_eq!(
        (failure.severity, failure.action),
        (Severity::Fatal, FailureAction::Pause)
    );
    machine.reaches(VmState::Paused);
    assert_eq!(machine.get(0, "pc"), Ok(CONSUMER));
}
