//! A guest that resets itself: the end of the virtual machine, or a new beginning in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};

use seawall_kvm::{RegId, SystemEventKind};
use seawall_vmm::sea::{Decision, PageState};
use seawall_vmm::{
    Answer, AnswerOutcome, Ask, Boot, Event, EventKind, ExitReason, FallbackReason, Image, OnReset, Step, Vm,
    VmOptions, VmState,
};

use crate::harness::{
    DATA_ABORT, INJECT, LIMIT, Machine, PAGE, PAUSE, abort, abort_on_page, ask, guest, options,
};

const RESET: Step = Step::SystemEvent(SystemEventKind::Reset);
const RAM_BASE: u64 = 0x8000_0000;

fn print(text: &str) -> Step {
    Step::Print(text.to_owned())
}

fn restarting(options: VmOptions) -> VmOptions {
    VmOptions {
        memory: 2 << 20,
        on_reset: OnReset::Restart,
        ..options
    }
}

/// The names of the events so far that matter here.
fn told(machine: &mut Machine) -> Vec<&'static str> {
    let name = |kind: &EventKind| match kind {
        EventKind::GuestReset => Some("guest-reset"),
        EventKind::StateChanged { to, .. } => Some(to.name()),
        EventKind::PageStateChanged { .. } => Some("page-state-changed"),
        _ => None,
    };
    machine.kinds().iter().filter_map(name).collect()
}

#[test]
fn a_guest_that_resets_itself_boots_again() {
    let script = vec![
        print("one\n"),
        Step::SetRegister {
            register: RegId::VBAR_EL1,
            value: 0x1000,
        },
        RESET,
        print("two {vbar_el1} {pc}\n"),
        Step::SystemEvent(SystemEventKind::Shutdown),
    ];
    let mut machine = Machine::with(restarting(options(INJECT, vec![script])));
    machine.vm.write_memory(RAM_BASE, &[7; 8]).expect("guest RAM");
    machine.start().expect("created");
    assert_eq!(machine.wait().map(|exit| exit.reason), Ok(ExitReason::Shutdown));
    assert_eq!(told(&mut machine), ["running", "guest-reset", "stopped"]);
    let console = String::from_utf8(machine.console.clone()).expect("text");
    assert_eq!(
        console, "one\ntwo 0x0000000000000000 0x0000000080000000\n",
        "registers are those of a first boot"
    );
    assert_eq!(
        machine.vm.read_memory(RAM_BASE, 8).expect("guest RAM"),
        [0, 0, 0, 0, 7, 7, 7, 7],
        "the image is there again, and the rest is left alone"
    );
}

#[test]
fn without_a_wish_a_reset_ends_the_virtual_machine() {
    let mut machine = Machine::started(INJECT, vec![vec![RESET, print("never\n")]]);
    assert_eq!(machine.wait().map(|exit| exit.reason), Ok(ExitReason::Reset));
    assert_eq!(told(&mut machine), ["running", "stopped"]);
    assert!(machine.console.is_empty());
}

#[test]
fn a_reset_puts_fresh_memory_in_the_place_of_what_is_lost() {
    let script = guest([Step::Sea(abort(DATA_ABORT)), RESET, print("again\n")]);
    let mut machine = Machine::with(restarting(options(INJECT, vec![script])));
    machine.vm.write_memory(PAGE, &[7; 8]).expect("guest RAM");
    machine.start().expect("created");
    machine.until("second boot", |machine| machine.console == b"again\n");
    let states: Vec<_> = machine
        .vm
        .poisoned_pages()
        .iter()
        .map(|page| page.state)
        .collect();
    assert_eq!(states, [PageState::Replaced]);
    assert_eq!(machine.vm.read_memory(PAGE, 8), Ok(vec![0; 8]));
}

#[test]
fn memory_that_is_lost_again_after_a_reset_is_told_again_and_counted_on() {
    let script = guest([
        Step::Sea(abort(DATA_ABORT)),
        RESET,
        Step::Sea(abort(DATA_ABORT)),
        print("again\n"),
    ]);
    let mut machine = Machine::with(restarting(options(INJECT, vec![script])));
    machine.start().expect("created");
    machine.until("second boot", |machine| machine.console == b"again\n");
    assert_eq!(
        told(&mut machine),
        ["running", "page-state-changed", "guest-reset"]
    );
    let failures = machine.seen_failures();
    let seen: Vec<_> = failures
        .iter()
        .filter_map(|failure| failure.page)
        .map(|page| (page.first, page.page.hits, page.page.state))
        .collect();
    assert_eq!(
        seen,
        [
            (true, 1, PageState::Quarantined),
            (true, 2, PageState::Quarantined)
        ],
        "the memory in its place was lost, too"
    );
    assert_eq!(machine.vm.poisoned_pages().len(), 1);
}

#[test]
fn a_failure_that_waits_is_forgotten_by_a_reset_and_the_pause_is_not() {
    let is_failure = |event: &Event| matches!(event.kind, EventKind::MemoryFailure(_));
    let is_reset = |event: &Event| event.kind == EventKind::GuestReset;
    for _ in 0..20 {
        // Whichever of the two vCPUs comes first: the guest starts anew, and pauses.
        let first = guest([Step::Sea(abort(DATA_ABORT)), print("again\n")]);
        let mut machine = Machine::with(restarting(options(PAUSE, vec![first, vec![RESET, Step::Spin]])));
        machine.start().expect("created");
        machine.until("pause", |machine| {
            machine.vm.state() == VmState::Paused && machine.events.iter().any(is_failure)
        });
        // What was told before the pause may have come after the look at the events.
        machine.kinds();
        let failed = machine.events.iter().position(is_failure);
        let reset = machine.events.iter().position(is_reset);
        let waits = reset.is_none() || failed > reset;
        assert_eq!(machine.vm.pending_failures().len(), usize::from(waits));
        machine.resume().expect("paused");
        if reset.is_some() {
            machine.until("output of the handler", |machine| machine.console == b"again\n");
        } else {
            // It still comes, and may take the handler with it.
            machine.until("guest reset", |machine| machine.events.iter().any(is_reset));
        }
    }
}

#[test]
fn whoever_asks_for_a_pause_gets_it_also_from_a_guest_that_resets_itself_for_ever() {
    let script = vec![RESET; 10_000];
    let machine = Machine::with(restarting(options(INJECT, vec![script])));
    machine.start().expect("created");
    for _ in 0..5 {
        machine.pause().expect("running");
        assert_eq!(machine.vm.state(), VmState::Paused);
        assert_eq!(machine.get(0, "pstate"), Ok(0x3c5));
        machine.resume().expect("paused");
    }
    assert_eq!(machine.stop().map(|exit| exit.reason), Ok(ExitReason::Requested));
}

#[test]
fn a_question_ends_with_the_guest_that_it_is_about() {
    let (sender, questions) = mpsc::channel();
    let sender = Mutex::new(sender);
    let question: Ask = Box::new(move |seq, failure| {
        let sent = sender.lock().expect("no panic").send((failure.error.vcpu, seq));
        sent.expect("somebody listens");
        true
    });
    let vcpus = vec![
        guest([Step::Sea(abort(DATA_ABORT))]),
        guest([Step::Sea(abort_on_page(1, DATA_ABORT)), RESET]),
    ];
    let mut options = restarting(options(INJECT, vcpus));
    options.decision_timeout = LIMIT;
    let vm = ask(|reply| Vm::create(options, Box::new(|| {}), Some(question), reply));
    let mut machine = Machine {
        vm: vm.expect("options that work"),
        events: Vec::new(),
        console: Vec::new(),
    };
    machine.start().expect("created");
    let asked: BTreeMap<_, _> = (0..2)
        .map(|_| questions.recv_timeout(LIMIT).expect("both are asked about"))
        .collect();
    let decision = Answer::Decision(Decision::Inject(None));
    assert_eq!(
        machine.vm.answer(asked[&Some(1)], decision.clone()),
        AnswerOutcome::Accepted
    );
    // The other vCPU may have gone on for a moment before it was taken along.
    machine.until("guest reset", |machine| {
        machine
            .events
            .iter()
            .any(|event| event.kind == EventKind::GuestReset)
    });
    assert_eq!(
        machine.vm.answer(asked[&Some(0)], decision),
        AnswerOutcome::Unknown
    );
    let fallback = machine.events.iter().find_map(|event| match &event.kind {
        EventKind::DecisionFallback { failure, reason, .. } => Some((*failure, *reason)),
        _ => None,
    });
    assert_eq!(fallback, Some((asked[&Some(0)], FallbackReason::Closing)));
    assert_eq!(machine.vm.state(), VmState::Running);
}

/// A file of this test's own that holds a flat image.
struct ImageFile(PathBuf);

impl ImageFile {
    fn new(test: &str, bytes: &[u8]) -> Self {
        let name = format!("seawall-restart-{test}-{}.bin", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).expect("a folder for temporary files");
        Self(path)
    }

    /// A guest that boots from it twice.
    fn machine(&self) -> Machine {
        let mut options = restarting(options(INJECT, vec![guest([RESET, print("again\n")])]));
        options.boot = Boot::Flat {
            image: Image::Path(self.0.clone()),
            load_address: None,
            entry: None,
        };
        Machine::with(options)
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        // A test may have removed it.
        drop(std::fs::remove_file(&self.0));
    }
}

fn boots_again_with(machine: &mut Machine, image: &[u8]) {
    machine.vm.write_memory(RAM_BASE, &[7; 8]).expect("guest RAM");
    machine.start().expect("created");
    machine.until("second boot", |machine| {
        machine.console == b"again\n" || machine.vm.state() == VmState::Failed
    });
    assert_eq!(told(machine), ["running", "guest-reset"]);
    assert_eq!(
        machine.vm.read_memory(RAM_BASE, image.len()).expect("guest RAM"),
        image
    );
}

#[test]
fn a_guest_boots_again_from_a_file_that_was_removed() {
    let file = ImageFile::new("removed", b"1234");
    let mut machine = file.machine();
    std::fs::remove_file(&file.0).expect("it was written");
    boots_again_with(&mut machine, b"1234");
}

#[test]
fn a_guest_boots_again_with_what_it_was_created_with_also_when_the_file_is_replaced() {
    let file = ImageFile::new("replaced", b"1234");
    let mut machine = file.machine();
    let newer = ImageFile::new("newer", b"5678");
    std::fs::rename(&newer.0, &file.0).expect("both are there");
    boots_again_with(&mut machine, b"1234");
}

#[test]
fn a_guest_that_cannot_boot_again_fails() {
    let file = ImageFile::new("cut", &[0; 4]);
    let mut machine = file.machine();
    // In place: the same file, and nothing in it.
    std::fs::write(&file.0, []).expect("it was written");
    machine.start().expect("created");
    let exit = machine.wait().expect("an exit");
    assert_eq!((exit.reason, exit.vcpu), (ExitReason::Failed, Some(0)));
    assert_eq!(exit.error.map(|error| error.code()), Some("ERR_INVALID_IMAGE"));
    assert_eq!(told(&mut machine), ["running", "failed"]);
    assert!(machine.console.is_empty());
}
