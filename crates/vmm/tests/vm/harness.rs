//! Virtual machines of the simulated backend, driven from a test: every answer is waited for, and only so long.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use seawall_arm64::{AbortKind, Esr, Gpa, Gva, Pstate};
use seawall_vmm::sea::{AbortRequest, Decision, Fidelity};
use seawall_vmm::{
    AbortStep, BackendOptions, Boot, ClosedVm, Event, EventKind, Image, Injection, MemoryFailure,
    MemoryFailurePolicy, NotifyGuest, OnReset, RecoverablePolicy, Reply, Script, Step, UnclaimedAccessPolicy,
    UncontainablePolicy, Vm, VmError, VmExit, VmOptions, VmState,
};

/// How long an answer may take. Nothing here needs more than milliseconds; a loaded machine may.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The guest's vector table in every script.
pub(crate) const VBAR: u64 = 0xffff_8000_0801_0800;
/// The address of the access that consumes an error.
pub(crate) const FAR: u64 = 0x0000_aaaa_df25_4828;
/// The page that is lost.
pub(crate) const PAGE: u64 = 0x8010_0000;
/// The instruction that consumes an error.
pub(crate) const CONSUMER: u64 = 0x0000_aaaa_0000_1234;
/// An application: EL0t, nothing masked, Z and C set.
pub(crate) const EL0T: u64 = 0x6000_0000;
/// A kernel: EL1h with D, A, I and F masked, N and PAN set.
pub(crate) const EL1H: u64 = 0x8040_03c5;

/// A data abort that software can contain: external, SET UER.
pub(crate) const DATA_ABORT: u64 = 0x9200_0010;
/// The same with SET UC: nobody can contain it.
pub(crate) const UNCONTAINABLE: u64 = 0x9200_1010;

/// Inject what can be contained, stop at the rest: the policy of a guest that is left alone.
pub(crate) const INJECT: MemoryFailurePolicy = policy(RecoverablePolicy::Inject, UncontainablePolicy::Stop);
/// Pause at every memory error.
pub(crate) const PAUSE: MemoryFailurePolicy = policy(RecoverablePolicy::Pause, UncontainablePolicy::Pause);

pub(crate) const fn policy(
    recoverable: RecoverablePolicy,
    uncontainable: UncontainablePolicy,
) -> MemoryFailurePolicy {
    MemoryFailurePolicy {
        recoverable,
        uncontainable,
        quarantine: true,
        threshold: None,
        same_fault_limit: 3,
        notify_guest: NotifyGuest::Ghes,
        defer: Duration::from_millis(200),
    }
}

/// A memory error that an application consumes.
pub(crate) const fn abort(esr: u64) -> AbortStep {
    AbortStep {
        esr: Esr::from_bits(esr),
        far: Gva::from_bits(FAR),
        gpa: Some(Gpa::from_bits(PAGE)),
        pc: Gva::from_bits(CONSUMER),
        pstate: Pstate::from_bits(EL0T),
        ignores_injection: false,
    }
}

/// The same on a page of its own, which the error of another vCPU does not put out of reach.
pub(crate) const fn abort_on_page(number: u64, esr: u64) -> AbortStep {
    AbortStep {
        gpa: Some(Gpa::from_bits(PAGE + number * 4096)),
        ..abort(esr)
    }
}

/// The steps of a guest that installs its vectors, does `steps`, and then computes for ever.
pub(crate) fn guest(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let vectors = Step::SetRegister {
        register: seawall_kvm::RegId::VBAR_EL1,
        value: VBAR,
    };
    [vectors].into_iter().chain(steps).chain([Step::Spin]).collect()
}

/// Options of a machine with one vCPU for each of `vcpus`.
pub(crate) fn options(policy: MemoryFailurePolicy, vcpus: Vec<Vec<Step>>) -> VmOptions {
    VmOptions {
        id: "test".to_owned(),
        name: None,
        memory: 64 << 20,
        huge_page: None,
        vcpus: u32::try_from(vcpus.len()).expect("a few"),
        backend: BackendOptions::Simulated(Script::new(vcpus).expect("playable")),
        boot: Boot::Flat {
            image: Image::Bytes(vec![0; 4]),
            load_address: None,
            entry: None,
        },
        on_reset: OnReset::Exit,
        arm_sea_to_user: true,
        arm_nisv_to_user: true,
        memory_failure: policy,
        unclaimed_access: UnclaimedAccessPolicy::Abort,
        decision_timeout: Duration::from_millis(100),
        redact: false,
    }
}

/// Asks for something and waits for the answer.
pub(crate) fn ask<T: Send + 'static, R>(operation: impl FnOnce(Reply<T>) -> R) -> Result<T, VmError> {
    asked(operation)
        .recv_timeout(LIMIT)
        .expect("every operation is answered")
}

/// Asks for something; the answer arrives later.
pub(crate) fn asked<T: Send + 'static, R>(
    operation: impl FnOnce(Reply<T>) -> R,
) -> mpsc::Receiver<Result<T, VmError>> {
    let (sender, receiver) = mpsc::channel();
    // A test that has failed waits no more.
    operation(Box::new(move |answer| drop(sender.send(answer))));
    receiver
}

/// Creates a virtual machine without anything around it.
pub(crate) fn create(options: VmOptions) -> Result<Vm, VmError> {
    ask(|reply| Vm::create(options, Box::new(|| {}), None, reply))
}

/// A virtual machine and the events that came from it so far.
pub(crate) struct Machine {
    pub(crate) vm: Vm,
    pub(crate) events: Vec<Event>,
    pub(crate) console: Vec<u8>,
}

impl Machine {
    pub(crate) fn new(policy: MemoryFailurePolicy, vcpus: Vec<Vec<Step>>) -> Self {
        Self::with(options(policy, vcpus))
    }

    pub(crate) fn with(options: VmOptions) -> Self {
        Self {
            vm: create(options).expect("options that work"),
            events: Vec::new(),
            console: Vec::new(),
        }
    }

    /// A machine that was started.
    pub(crate) fn started(policy: MemoryFailurePolicy, vcpus: Vec<Vec<Step>>) -> Self {
        let machine = Self::new(policy, vcpus);
        machine.start().expect("it was created");
        machine
    }

    pub(crate) fn start(&self) -> Result<(), VmError> {
        ask(|reply| self.vm.start(reply))
    }

    pub(crate) fn pause(&self) -> Result<(), VmError> {
        ask(|reply| self.vm.pause(reply))
    }

    pub(crate) fn resume(&self) -> Result<(), VmError> {
        self.resume_with([])
    }

    pub(crate) fn resume_with(
        &self,
        decisions: impl IntoIterator<Item = (u64, Decision)>,
    ) -> Result<(), VmError> {
        ask(|reply| self.vm.resume(decisions.into_iter().collect(), reply))
    }

    pub(crate) fn stop(&self) -> Result<VmExit, VmError> {
        ask(|reply| self.vm.stop(reply))
    }

    pub(crate) fn wait(&self) -> Result<VmExit, VmError> {
        ask(|reply| self.vm.wait(reply))
    }

    pub(crate) fn close(&self) -> Result<ClosedVm, VmError> {
        ask(|reply| self.vm.close(reply))
    }

    pub(crate) fn get(&self, vcpu: u32, register: &str) -> Result<u64, VmError> {
        ask(|reply| self.vm.get_register(vcpu, register, reply))
    }

    pub(crate) fn set(&self, vcpu: u32, register: &str, value: u64) -> Result<(), VmError> {
        ask(|reply| self.vm.set_register(vcpu, register, value, reply))
    }

    pub(crate) fn inject(&self, vcpu: u32, fidelity: Fidelity) -> Result<Injection, VmError> {
        let request = AbortRequest {
            fidelity,
            ..AbortRequest::of_kind(AbortKind::Data)
        };
        ask(|reply| self.vm.inject_abort(vcpu, request, reply))
    }

    /// The registers an exception entry changes.
    pub(crate) fn registers(&self, vcpu: u32) -> Registers {
        let read = |name| self.get(vcpu, name).expect("a vCPU that does not run");
        Registers {
            pc: read("pc"),
            pstate: read("pstate"),
            elr: read("elr_el1"),
            spsr: read("spsr_el1"),
            esr: read("esr_el1"),
            far: read("far_el1"),
        }
    }

    fn take(&mut self) {
        self.events.extend(self.vm.take_events());
        self.console.extend(self.vm.take_console(usize::MAX));
    }

    /// Waits until what came so far is enough.
    pub(crate) fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        self.repeat_until(what, |machine| {
            machine.take();
            enough(machine)
        });
    }

    /// The same without taking anything, neither events nor console output.
    pub(crate) fn until_untaken(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        self.repeat_until(what, |machine| enough(machine));
    }

    fn repeat_until(&mut self, what: &str, mut enough: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !enough(self) {
            assert!(Instant::now() < deadline, "no {what} within {LIMIT:?}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until the guest has consumed `count` memory errors, and returns all of them.
    pub(crate) fn failures(&mut self, count: usize) -> Vec<MemoryFailure> {
        self.until("memory failure", |machine| machine.seen_failures().len() >= count);
        self.seen_failures()
    }

    /// The memory failures of the events so far.
    pub(crate) fn seen_failures(&self) -> Vec<MemoryFailure> {
        let failure = |event: &Event| match &event.kind {
            EventKind::MemoryFailure(failure) => Some((**failure).clone()),
            _ => None,
        };
        self.events.iter().filter_map(failure).collect()
    }

    /// Waits until the machine is in this state.
    pub(crate) fn reaches(&mut self, state: VmState) {
        self.until(state.name(), |machine| machine.vm.state() == state);
    }

    /// Everything there is so far, in order.
    pub(crate) fn kinds(&mut self) -> Vec<EventKind> {
        self.take();
        self.events.iter().map(|event| event.kind.clone()).collect()
    }
}

/// The registers an exception entry changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) pc: u64,
    pub(crate) pstate: u64,
    pub(crate) elr: u64,
    pub(crate) spsr: u64,
    pub(crate) esr: u64,
    pub(crate) far: u64,
}

/// The code of an error, or why there is none.
pub(crate) fn code<T>(result: &Result<T, VmError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}
