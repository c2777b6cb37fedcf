use std::cell::RefCell;

use seawall_arm64::Gpa;
use seawall_kvm::{MemoryErrorSignal, SignalCode, VcpuExit};

use super::*;
use crate::backend::fake::{self, FakeVcpu};
use crate::backend::{PageQuarantine, QuarantineError};
use crate::event::{Outbox, QuarantineMethod};
use crate::memory_layout::RAM_BASE;
use crate::options::{Boot, Image};
use crate::sea::{FailureSource, NotifyGuest, PageState, RecoverablePolicy, Threshold, ThresholdAction};
use crate::simulated::SimulatedQuarantine;
use crate::vcpu;
use crate::vm::Shared;
use crate::vm::control::Limits;
use crate::vm::message::Message;
use crate::vm::state::VmState;

const IMAGE: &[u8] = b"12345678";

/// A running machine whose one vCPU has parked to reset the guest.
struct Machine {
    control: Control,
    memory: Arc<GuestMemory>,
    exits: mpsc::Sender<VcpuExit>,
    messages: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
}

/// What attempts to put the guest into memory come to: each loses the next of these pages, or fails otherwise.
#[derive(Default)]
struct Attempts {
    lost: Vec<u64>,
    fails: bool,
    made: u32,
}

impl Machine {
    fn new(adapt: impl FnOnce(&mut RunContext)) -> Self {
        let outbox = Arc::new(Outbox::new(Box::new(|| {})));
        let memory = Arc::new(GuestMemory::create(2 << 20, None).expect("memory"));
        let mut context = fake::context(RecoverablePolicy::Inject, Arc::clone(&outbox));
        context.quarantine = Box::new(SimulatedQuarantine::new(&memory));
        adapt(&mut context);
        let context = Arc::new(context);
        let (messages, inbox) = mpsc::channel();
        let (vcpu, exits) = FakeVcpu::new();
        let thread =
            vcpu::spawn(0, Box::new(vcpu), None, Arc::clone(&context), messages.clone()).expect("a thread");
        assert!(matches!(inbox.recv(), Ok(Message::Parked { .. })));
        let shared = Arc::new(Shared::new(None, Arc::clone(&memory), context));
        shared.state.set(VmState::Running);
        let image = Image::Bytes(IMAGE.to_vec());
        let boot = Boot::Flat {
            image,
            load_address: None,
            entry: None,
        };
        let restart = Restart {
            boot: BootSource::open(&boot, NotifyGuest::None).expect("bytes"),
            gic: None,
            cpus: vec![0],
        };
        Self {
            control: Control::new(vec![thread], None, shared, Limits::DEFAULT, Some(restart)),
            memory,
            exits,
            messages,
            inbox,
        }
    }

    fn with_threshold(action: ThresholdAction) -> Self {
        Self::new(|context| {
            context.policy.threshold = Some(Threshold {
                distinct_pages: 1,
                action,
            });
        })
    }

    /// Restarts the guest over memory that is lost page by page, and says how often it was put there.
    fn restart(&mut self, lost: &[u64], fails: bool) -> u32 {
        let attempts = RefCell::new(Attempts {
            lost: lost.iter().rev().copied().collect(),
            fails,
            made: 0,
        });
        self.control.restart_by(0, false, &|boot, memory, cpus| {
            attempts.borrow_mut().place(boot, memory, cpus)
        });
        attempts.into_inner().made
    }

    /// Loses a page as a copy does that meets it.
    fn lose(&mut self, offset: u64) {
        let (gpa, report) = signalled(signal(SignalCode::ActionRequired, offset));
        self.control.lost(gpa, report).expect("out of reach");
    }

    /// The host finds an error by itself. The control thread serves it when it has time.
    fn signal(&self, offset: u64) {
        let (gpa, report) = signalled(signal(SignalCode::ActionOptional, offset));
        self.messages
            .send(Message::Lost { gpa, report })
            .expect("there is an inbox");
    }

    fn serve_signal(&mut self) {
        let Ok(Message::Lost { gpa, report }) = self.inbox.try_recv() else {
            panic!("a signal waits");
        };
        self.control.lost(gpa, report).expect("out of reach");
    }

    fn page_state(&self, offset: u64) -> Option<PageState> {
        let (_, context) = self.control.resources()?;
        context.page_state(Some(Gpa::from_bits(RAM_BASE + offset)))
    }

    fn image(&self) -> [u8; 8] {
        let mut image = [0; 8];
        self.memory.read(0, &mut image).expect("good memory");
        image
    }

    /// The events so far, and the end of it, which joins the vCPU's thread.
    fn close(self) -> Vec<EventKind> {
        let shared = Arc::clone(&self.control.shared);
        let events = shared.outbox.take_events();
        let (sender, closed) = mpsc::channel();
        let reply = Box::new(move |closed| drop(sender.send(closed)));
        self.messages.send(Message::Close(reply)).expect("it serves");
        drop(self.exits);
        self.control.serve(&self.inbox);
        assert!(matches!(closed.try_recv(), Ok(Ok(_))));
        events.into_iter().map(|event| event.kind).collect()
    }
}

impl Attempts {
    fn place(
        &mut self,
        boot: &PreparedBoot<'_>,
        memory: &BootMemory<'_>,
        cpus: &[u64],
    ) -> Result<BootRegisters, PlaceError> {
        self.made += 1;
        match self.lost.pop() {
            Some(offset) => Err(PlaceError {
                error: inaccessible(offset),
                lost: Some(signal(SignalCode::ActionRequired, offset)),
            }),
            None if self.fails => Err(inaccessible(0).into()),
            None => boot.place(memory, cpus),
        }
    }
}

const fn signal(code: SignalCode, offset: u64) -> MemoryErrorSignal {
    MemoryErrorSignal {
        code,
        offset,
        lsb: 12,
    }
}

const fn inaccessible(offset: u64) -> VmError {
    VmError::InaccessibleGuestMemory {
        gpa: RAM_BASE + offset,
    }
}

/// What matters of the events, in a word each.
fn told(events: &[EventKind]) -> Vec<String> {
    let word = |kind: &EventKind| match kind {
        EventKind::MemoryFailure(failure) => {
            assert_eq!(failure.source, FailureSource::DeviceAccess);
            let gpa = failure.error.gpa.expect("the signal says it").bits();
            Some(format!("{gpa:#x} is lost: {:?}", failure.action))
        }
        EventKind::PageStateChanged { page, .. } => Some(format!("{:#x} {:?}", page.gpa.bits(), page.state)),
        EventKind::GuestReset => Some("reset".to_owned()),
        EventKind::StateChanged { to, .. } => Some(to.to_string()),
        EventKind::Exit(exit) => Some(format!("{:?} {:?}", exit.reason, exit.error)),
        _ => None,
    };
    events.iter().filter_map(word).collect()
}

#[test]
fn memory_that_is_lost_under_a_booting_guest_is_told_and_replaced_and_the_guest_boots() {
    let mut machine = Machine::new(|_| {});
    assert_eq!(machine.restart(&[0, 0x1000], false), 3);
    assert_eq!(machine.image(), IMAGE);
    assert_eq!(machine.control.running, [true]);
    assert_eq!(
        told(&machine.close()),
        [
            "0x80000000 is lost: Ignore",
            "0x80000000 Replaced",
            "0x80001000 is lost: Ignore",
            "0x80001000 Replaced",
            "reset",
        ]
    );
}

#[test]
fn memory_that_is_lost_again_and_again_ends_the_machine_in_the_end() {
    let often = vec![0x1000; PLACE_ATTEMPTS as usize];
    let mut machine = Machine::new(|_| {});
    assert_eq!(machine.restart(&often[1..], false), PLACE_ATTEMPTS);
    assert_eq!(machine.control.state(), VmState::Running);
    machine.close();
    let mut machine = Machine::new(|_| {});
    assert_eq!(machine.restart(&often, false), PLACE_ATTEMPTS);
    let events = told(&machine.close());
    let exit = format!("Failed {:?}", Some(inaccessible(0x1000)));
    assert!(events.ends_with(&["failed".to_owned(), exit]), "{events:?}");
    assert!(!events.contains(&"reset".to_owned()));
}

#[test]
fn memory_that_cannot_be_replaced_is_not_tried_again() {
    let mut machine = Machine::new(|context| context.quarantine = Box::new(Irreplaceable));
    assert_eq!(machine.restart(&[0x1000, 0x1000], false), 1);
    let exit = format!("Failed {:?}", Some(inaccessible(0x1000)));
    assert_eq!(
        told(&machine.close()),
        ["0x80001000 is lost: Ignore", "failed", &exit]
    );
}

#[test]
fn nothing_is_copied_to_a_page_that_is_known_to_be_lost() {
    let mut machine = Machine::new(|context| context.quarantine = Box::new(Irreplaceable));
    machine.lose(0);
    assert_eq!(machine.restart(&[], false), 1);
    assert_eq!(machine.image(), [0; 8]);
    let error = VmError::PoisonedPage {
        gpa: RAM_BASE,
        size: 4096,
    };
    assert_eq!(error.code(), "ERR_POISONED_PAGE");
    let exit = format!("Failed {:?}", Some(error));
    assert_eq!(
        told(&machine.close()),
        ["0x80000000 is lost: Ignore", "failed", &exit]
    );
}

#[test]
fn a_guest_boots_beside_a_page_that_stays_lost() {
    let mut machine = Machine::new(|context| context.quarantine = Box::new(Irreplaceable));
    machine.lose(0x1000);
    assert_eq!(machine.restart(&[], false), 1);
    assert_eq!(machine.image(), IMAGE);
    assert_eq!(machine.page_state(0x1000), Some(PageState::Quarantined));
    assert_eq!(told(&machine.close()), ["0x80001000 is lost: Ignore", "reset"]);
}

#[test]
fn what_is_no_memory_error_is_not_tried_again() {
    let mut machine = Machine::new(|_| {});
    assert_eq!(machine.restart(&[], true), 1);
    let exit = format!("Failed {:?}", Some(inaccessible(0)));
    assert_eq!(told(&machine.close()), ["failed", &exit]);
}

#[test]
fn a_signal_that_waited_while_its_page_was_replaced_is_late() {
    for known in [false, true] {
        let mut machine = Machine::new(|_| {});
        let met: &[u64] = if known { &[] } else { &[0x1000] };
        if known {
            machine.lose(0x1000);
        }
        machine.signal(0x1000);
        machine.restart(met, false);
        machine.serve_signal();
        assert_eq!(machine.page_state(0x1000), Some(PageState::Replaced));
        let events = ["0x80001000 is lost: Ignore", "0x80001000 Replaced", "reset"];
        assert_eq!(told(&machine.close()), events);
    }
}

#[test]
fn one_signal_of_a_replaced_page_is_late_and_a_second_is_of_a_new_error() {
    let mut machine = Machine::new(|_| {});
    machine.restart(&[0x1000], false);
    for (offset, state) in [
        (0x2000, PageState::Quarantined),
        (0x1000, PageState::Replaced),
        (0x1000, PageState::Quarantined),
    ] {
        machine.signal(offset);
        machine.serve_signal();
        assert_eq!(machine.page_state(offset), Some(state));
    }
    machine.close();
}

#[test]
fn an_error_that_a_copy_meets_on_a_replaced_page_is_never_late() {
    let mut machine = Machine::new(|_| {});
    machine.restart(&[0x1000], false);
    machine.lose(0x1000);
    assert_eq!(machine.page_state(0x1000), Some(PageState::Quarantined));
    machine.close();
}

#[test]
fn what_an_earlier_restart_replaced_is_not_waited_for_any_more() {
    let mut machine = Machine::with_threshold(ThresholdAction::Pause);
    machine.restart(&[0x1000], false);
    machine.restart(&[], false);
    machine.signal(0x1000);
    machine.serve_signal();
    assert_eq!(machine.page_state(0x1000), Some(PageState::Quarantined));
    machine.close();
}

#[test]
fn a_policy_that_pauses_has_the_guest_paused_before_its_first_instruction() {
    let mut machine = Machine::with_threshold(ThresholdAction::Pause);
    assert_eq!(machine.restart(&[0x1000], false), 2);
    assert_eq!(machine.image(), IMAGE);
    assert_eq!(machine.control.running, [false]);
    assert_eq!(machine.control.state(), VmState::Paused);
    assert_eq!(
        told(&machine.close()),
        [
            "0x80001000 is lost: Pause",
            "0x80001000 Replaced",
            "reset",
            "paused"
        ]
    );
}

#[test]
fn a_policy_that_stops_ends_the_machine_before_the_guest_boots() {
    let mut machine = Machine::with_threshold(ThresholdAction::Stop);
    assert_eq!(machine.restart(&[0x1000], false), 1);
    assert_eq!(machine.page_state(0x1000), Some(PageState::Quarantined));
    assert_eq!(
        told(&machine.close()),
        ["0x80001000 is lost: Stop", "stopped", "Policy None"]
    );
}

/// Memory of which no part can be replaced, such as a huge page.
#[derive(Debug)]
struct Irreplaceable;

impl PageQuarantine for Irreplaceable {
    fn take(&self, _: u64, _: u64) -> Result<QuarantineMethod, QuarantineError> {
        Ok(QuarantineMethod::MemslotHole)
    }

    fn settle(&self) {}

    fn method(&self, _: u64) -> Option<QuarantineMethod> {
        None
    }

    fn replace(&self, _: u64, _: u64) -> Result<(), QuarantineError> {
        Err(QuarantineError::HugePage)
    }

    fn retire(&self, _: Instant) -> Vec<(u64, bool)> {
        Vec::new()
    }
}
