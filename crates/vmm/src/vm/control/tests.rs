use std::sync::Weak;

use seawall_arm64::Esr;
use seawall_kvm::{GuestMemory, RegId, SeaExit, VcpuExit};

use super::*;
use crate::backend::fake::{self, FakeVcpu, Kicks};
use crate::event::{Event, Outbox};
use crate::sea::RecoverablePolicy;
use crate::vcpu::{self, RunContext, SETTLED};

/// Long enough for a vCPU that works, on a machine with work to do; short enough to wait for.
const LIMITS: Limits = Limits {
    park: Duration::from_millis(900),
    kick: Duration::from_millis(5),
};
const LIMIT: Duration = Duration::from_secs(30);

const RECOVERABLE: VcpuExit = VcpuExit::ArmSea(SeaExit {
    esr: Esr::from_bits(0x9200_0010),
    gva: None,
    gpa: None,
});
const SHUTDOWN: VcpuExit = VcpuExit::SystemEvent {
    kind: SystemEventKind::Shutdown,
    flags: None,
};

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never comes to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A machine of one vCPU that leaves the guest only when told, whatever kicks it.
struct Stuck {
    messages: mpsc::Sender<Message>,
    exits: mpsc::Sender<VcpuExit>,
    kicks: Arc<Kicks>,
    shared: Arc<Shared>,
    memory: Weak<GuestMemory>,
    control: std::thread::JoinHandle<()>,
}

impl Stuck {
    fn started() -> Self {
        let outbox = Arc::new(Outbox::new(Box::new(|| {})));
        let memory = Arc::new(GuestMemory::create(4096, None).expect("memory"));
        let (messages, inbox) = mpsc::channel();
        let context = Arc::new(RunContext {
            control: messages.clone(),
            ..fake::context(RecoverablePolicy::Pause, outbox)
        });
        let (vcpu, exits) = FakeVcpu::new();
        let kicks = vcpu.kicks();
        let thread =
            vcpu::spawn(0, Box::new(vcpu), None, Arc::clone(&context), messages.clone()).expect("a thread");
        assert!(matches!(inbox.recv_timeout(LIMIT), Ok(Message::Parked { .. })));
        let shared = Arc::new(Shared::new(None, Arc::clone(&memory), context));
        let served = Arc::clone(&shared);
        let control = std::thread::spawn(move || {
            Control::new(vec![thread], None, served, LIMITS, None).serve(&inbox);
        });
        let stuck = Self {
            messages,
            exits,
            kicks,
            shared,
            memory: Arc::downgrade(&memory),
            control,
        };
        stuck.ask(Message::Start).expect("created");
        stuck
    }

    fn ask<T: Send + 'static>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, VmError> {
        let (sender, receiver) = mpsc::channel();
        let reply = Box::new(move |answer| sender.send(answer).unwrap_or(()));
        self.messages.send(message(reply)).expect("it serves");
        receiver.recv_timeout(LIMIT).expect("answered")
    }

    fn pc(&self) -> Result<u64, VmError> {
        self.ask(|reply| Message::Vcpu {
            vcpu: 0,
            operation: "getRegister()",
            command: VcpuCommand::GetRegister(RegId::PC, reply),
        })
    }

    fn events(&self) -> Vec<EventKind> {
        let events = self.shared.outbox.take_events();
        events.into_iter().map(|event| event.kind).collect()
    }
}

#[test]
fn a_vcpu_whose_access_runs_again_is_kicked_until_it_has_gone_on() {
    let machine = Stuck::started();
    machine.exits.send(RECOVERABLE).expect("it runs");
    wait_until(|| machine.shared.state.get() == VmState::Paused);
    let events = machine.shared.outbox.take_events();
    let is_failure = |event: &&Event| matches!(event.kind, EventKind::MemoryFailure(_));
    let failure = events.iter().find(is_failure).expect("it is told").seq;
    let decisions = Decisions::from([(failure, Decision::Defer)]);
    machine
        .ask(|reply| Message::Resume(decisions, reply))
        .expect("paused");
    for _ in 0..3 {
        // A kick gets it out of the guest, where it may still be at its access.
        let before = machine.kicks.count();
        wait_until(|| machine.kicks.count() > before);
        machine.exits.send(VcpuExit::Interrupted).expect("it runs");
    }
    machine.exits.send(SHUTDOWN).expect("it runs");
    wait_until(|| machine.shared.state.get() == VmState::Stopped);
    let kicked = machine.kicks.count();
    std::thread::sleep(3 * SETTLED);
    assert_eq!(machine.kicks.count(), kicked, "nothing runs any more");
}

#[test]
fn a_vcpu_that_never_leaves_the_guest_is_kicked_and_then_given_up() {
    let stuck = Stuck::started();
    let exit = stuck.ask(Message::Stop).expect("answered in time");
    let error = VmError::VcpuStuck { vcpu: 0, seconds: 0 };
    assert_eq!(error.code(), "ERR_INTERNAL");
    assert_eq!(
        exit,
        VmExit {
            reason: ExitReason::Failed,
            vcpu: Some(0),
            error: Some(error.clone())
        }
    );
    assert!(stuck.kicks.count() > 1, "it was kicked again");
    assert_eq!(stuck.shared.state.get(), VmState::Failed);
    assert!(stuck.events().contains(&EventKind::VcpuFailed { vcpu: 0, error }));
    assert_eq!(
        stuck.pc().map_err(|error| error.code()),
        Err("ERR_VCPU_RUNNING"),
        "its registers are the processor's"
    );
}

#[test]
fn a_pause_that_a_stuck_vcpu_prevents_is_refused() {
    let stuck = Stuck::started();
    let paused = stuck.ask(Message::Pause);
    assert_eq!(paused.map_err(|error| error.code()), Err("ERR_INVALID_STATE"));
    assert_eq!(stuck.shared.state.get(), VmState::Failed);
}

#[test]
fn a_vcpu_that_parks_after_it_was_given_up_changes_nothing() {
    for late in [RECOVERABLE, SHUTDOWN, VcpuExit::Interrupted] {
        let stuck = Stuck::started();
        let exit = stuck.ask(Message::Stop).expect("answered");
        stuck.events();
        stuck.exits.send(late).expect("it runs");
        wait_until(|| stuck.pc().is_ok());
        let closed = stuck.ask(Message::Close);
        assert_eq!(
            closed,
            Ok(ClosedVm {
                unretired_host_pages: 0
            })
        );
        let changes: Vec<_> = stuck
            .events()
            .into_iter()
            .filter(|kind| !matches!(kind, EventKind::MemoryFailure(_)))
            .collect();
        assert_eq!(
            changes,
            [EventKind::StateChanged {
                from: VmState::Failed,
                to: VmState::Closed
            }],
            "after {exit:?}"
        );
        assert_eq!(
            stuck.memory.strong_count(),
            0,
            "the vCPU is gone, and the memory with it"
        );
        stuck.control.join().expect("no panic");
    }
}

#[test]
fn the_first_end_stays_while_vcpus_are_on_their_way_out() {
    let stuck = Stuck::started();
    let park = |reason| Message::Parked { vcpu: 1, reason };
    let shutdown = park(ParkReason::SystemEvent(SystemEventKind::Shutdown));
    stuck.messages.send(shutdown).expect("it serves");
    // Whatever comes before the last vCPU has parked does not say how it ended.
    let error = VmError::Bug {
        message: "later".to_owned(),
    };
    stuck
        .messages
        .send(park(ParkReason::Failed(error.clone())))
        .expect("it serves");
    stuck
        .messages
        .send(park(ParkReason::MemoryErrorPauses))
        .expect("it serves");
    let (sender, stopped) = mpsc::channel();
    let reply = Box::new(move |answer| sender.send(answer).unwrap_or(()));
    stuck.messages.send(Message::Stop(reply)).expect("it serves");
    wait_until(|| stuck.kicks.count() > 0);
    stuck.exits.send(VcpuExit::Interrupted).expect("it runs");
    let exit = stopped.recv_timeout(LIMIT).expect("answered");
    assert_eq!(
        exit,
        Ok(VmExit {
            reason: ExitReason::Shutdown,
            vcpu: Some(1),
            error: None
        })
    );
    assert_eq!(stuck.shared.state.get(), VmState::Stopped);
    assert!(
        stuck.events().contains(&EventKind::VcpuFailed { vcpu: 1, error }),
        "what failed meanwhile is said"
    );
}

#[test]
fn a_close_gives_a_stuck_vcpu_up_and_keeps_the_memory_it_may_use() {
    let stuck = Stuck::started();
    stuck.ask(Message::Close).expect("answered in time");
    assert_eq!(stuck.shared.state.get(), VmState::Closed);
    assert_eq!(
        stuck.memory.strong_count(),
        1,
        "the kernel still has the address of guest memory"
    );
    assert!(
        stuck.shared.resources.read().expect("no panic").is_none(),
        "and nobody else"
    );
    stuck.control.join().expect("no panic");
}

#[test]
fn a_park_from_before_a_resume_does_not_stand_for_the_run_after_it() {
    let mut stuck = Stuck::started();
    // From here on it leaves the guest all the time.
    stuck.exits = mpsc::channel().0;
    // A vCPU that a pause has left to its question parks when it is answered; the resume may come first.
    let early = Message::Parked {
        vcpu: 0,
        reason: ParkReason::Requested,
    };
    stuck.messages.send(early).expect("it serves");
    let (sender, paused) = mpsc::channel();
    let reply = Box::new(move |answer| sender.send(answer).unwrap_or(()));
    stuck.messages.send(Message::Pause(reply)).expect("it serves");
    assert_eq!(paused.recv_timeout(LIMIT).expect("answered"), Ok(()));
    assert!(stuck.kicks.count() > 0, "it was in the guest");
    assert!(stuck.pc().is_ok(), "and has left it");
}
