//! Making a virtual machine, on the thread that will control it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};

use seawall_kvm::{GuestMemory, KvmError, MemoryErrorSignal, MemoryErrorWatch, RegId, host_page_size};

use crate::agent::AgentChannel;
use crate::backend;
use crate::boot::{BootMemory, BootSource};
use crate::containment::signalled;
use crate::devices::Bus;
use crate::error::VmError;
use crate::event::{Outbox, Wake};
use crate::notifier::{ErrorSources, GuestNotifier, Way};
use crate::options::{OnReset, VmOptions};
use crate::sea::Ledger;
use crate::statistics::Statistics;
use crate::vcpu::{self, Ask, ParkReason, Patience, Questions, RunContext, VcpuThread};
use crate::vm::control::{Control, Limits};
use crate::vm::message::Message;
use crate::vm::restart::Restart;
use crate::vm::{Shared, Vm};

/// Creates the virtual machine, hands its handle to `reply`, and serves it until it is closed.
pub(super) fn create_and_serve(
    options: VmOptions,
    wake: Wake,
    ask: Option<Ask>,
    reply: impl FnOnce(Result<Vm, VmError>),
) {
    let vcpus = options.vcpus;
    // The options go with it: an image may be large, and is in guest memory by then.
    let create = move |sender: &_, inbox: &_| create(&options, wake, ask, sender, inbox);
    serve_created(vcpus, create, reply);
}

fn serve_created(
    vcpus: u32,
    create: impl FnOnce(
        &mpsc::Sender<Message>,
        &mpsc::Receiver<Message>,
    ) -> Result<(Control, Arc<Shared>), VmError>,
    reply: impl FnOnce(Result<Vm, VmError>),
) {
    let (sender, inbox) = mpsc::channel();
    // Whoever waits for the reply must get one.
    let created = catch_unwind(AssertUnwindSafe(|| create(&sender, &inbox)));
    match created.unwrap_or_else(|payload| Err(VmError::of_panic(&*payload))) {
        Ok((control, shared)) => {
            reply(Ok(Vm {
                control: sender,
                shared,
                vcpus,
            }));
            control.serve(&inbox);
        }
        Err(error) => reply(Err(error)),
    }
}

fn create(
    options: &VmOptions,
    wake: Wake,
    ask: Option<Ask>,
    sender: &mpsc::Sender<Message>,
    inbox: &mpsc::Receiver<Message>,
) -> Result<(Control, Arc<Shared>), VmError> {
    options.validate()?;
    let size = usize::try_from(options.memory).map_err(|_| VmError::InvalidMemory {
        page: host_page_size(),
        received: options.memory,
    })?;
    let source = BootSource::open(&options.boot, options.memory_failure.notify_guest)?;
    let boot = source.read(options.memory)?;
    let memory = Arc::new(GuestMemory::create(size, options.huge_page)?);
    let mut machine = backend::create(options, &memory)?;
    let cpus = machine
        .vcpus
        .iter_mut()
        .map(|vcpu| vcpu.get_register(RegId::MPIDR_EL1));
    let cpus = cpus.collect::<Result<Vec<u64>, KvmError>>()?;
    let ledger = Arc::new(Mutex::new(Ledger::of_ram(options.memory)));
    let boot_memory = BootMemory {
        memory: &memory,
        ledger: &ledger,
    };
    let registers = boot.place(&boot_memory, &cpus)?;
    let ghes_region = boot.ghes_region();
    drop(boot);
    let agent = options.has_agent_channel().then(|| {
        let control = sender.clone();
        // The control thread is gone once the VM is closed.
        let wake = Box::new(move || drop(control.send(Message::LookAfterGuest)));
        Arc::new(AgentChannel::new(machine.agent_interrupt, wake))
    });
    let ghes =
        ghes_region.map(|region| Way::Ghes(Box::new(ErrorSources::new(region, machine.ghes_interrupt))));
    let way = ghes.or_else(|| agent.clone().map(Way::Agent));
    let notifier = way.map(|way| GuestNotifier::new(way, Arc::clone(&memory), sender.clone()));
    let outbox = Arc::new(Outbox::new(wake));
    let context = Arc::new(RunContext {
        backend: options.backend.kind(),
        policy: options.memory_failure,
        unclaimed: options.unclaimed_access,
        bus: Bus::new(Arc::clone(&outbox), machine.serial_interrupt, agent),
        ledger,
        gate: machine.gate,
        quarantine: machine.quarantine,
        granule: machine.granule,
        outbox,
        patience: Patience::default(),
        notifier,
        questions: ask.map(|ask| Questions::new(ask, options.decision_timeout)),
        control: sender.clone(),
        statistics: Arc::new(Statistics::new(machine.vcpus.len())),
        redact: options.redact,
        pending: Mutex::default(),
    });
    let watch = match machine.vm {
        Some(_) => Some(watch(&memory, sender.clone())?),
        // Nothing of a simulated guest is lost for real.
        None => None,
    };
    let mut registers = Some(registers);
    let mut threads = Vec::new();
    let mut failure = None;
    for (index, vcpu) in (0..options.vcpus).zip(machine.vcpus) {
        match vcpu::spawn(
            index,
            vcpu,
            registers.take(),
            Arc::clone(&context),
            sender.clone(),
        ) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let unprepared = await_parks(threads.len(), sender, inbox);
    if let Some(error) = failure.or(unprepared) {
        quit(threads);
        return Err(error);
    }
    let shared = Arc::new(Shared::new(watch, memory, context));
    let restart = match options.on_reset {
        OnReset::Exit => None,
        OnReset::Restart => Some(Restart {
            boot: source,
            gic: machine.gic,
            cpus,
        }),
    };
    let control = Control::new(threads, machine.vm, Arc::clone(&shared), Limits::DEFAULT, restart);
    Ok((control, shared))
}

/// Waits until so many vCPUs have parked, as each does before anything else; one that cannot prepare itself says so then.
/// What else comes meanwhile, a page that the host finds lost, comes again afterwards.
fn await_parks(
    vcpus: usize,
    sender: &mpsc::Sender<Message>,
    inbox: &mpsc::Receiver<Message>,
) -> Option<VmError> {
    let (mut parks, mut others, mut failure) = (0, Vec::new(), None);
    while parks < vcpus {
        match inbox.recv() {
            Ok(Message::Parked { reason, .. }) => {
                parks += 1;
                if let ParkReason::Failed(error) = reason {
                    failure.get_or_insert(error);
                }
            }
            Ok(other) => others.push(other),
            Err(mpsc::RecvError) => break,
        }
    }
    for other in others {
        // There is a receiver.
        drop(sender.send(other));
    }
    failure
}

/// Has the control thread told of errors that the host finds before anybody needs the memory.
fn watch(memory: &GuestMemory, control: mpsc::Sender<Message>) -> Result<MemoryErrorWatch, VmError> {
    let tell = move |signal: MemoryErrorSignal| {
        let (gpa, report) = signalled(signal);
        // The control thread is gone once the VM is closed.
        drop(control.send(Message::Lost { gpa, report }));
    };
    Ok(MemoryErrorWatch::new(memory, tell)?)
}

fn quit(threads: Vec<VcpuThread>) {
    for thread in threads {
        thread.mailbox.request_quit();
        // The vCPU is parked, so its thread ends at once. A panic there has nothing left to damage.
        drop(thread.thread.join());
    }
}

#[cfg(test)]
mod tests {
    use seawall_arm64::Gpa;

    use super::*;
    use crate::memory_layout::RAM_BASE;
    use crate::sea::ErrorReport;

    #[test]
    fn a_panic_while_a_machine_is_created_is_answered_with_its_message() {
        let (sender, replies) = mpsc::channel();
        let reply = move |created: Result<Vm, VmError>| {
            sender.send(created.map(|_| ())).expect("somebody waits");
        };
        serve_created(1, |_, _| panic!("page {} is missing", 7), reply);
        let message = "page 7 is missing".to_owned();
        assert_eq!(replies.try_recv(), Ok(Err(VmError::Bug { message })));
    }

    #[test]
    fn a_page_that_is_lost_before_the_vcpus_have_parked_is_told_afterwards_and_is_no_park() {
        let (sender, inbox) = mpsc::channel();
        let gpa = Gpa::from_bits(RAM_BASE);
        let park = |vcpu, reason| Message::Parked { vcpu, reason };
        let error = VmError::Bug {
            message: "it cannot prepare itself".to_owned(),
        };
        for message in [
            park(0, ParkReason::Requested),
            Message::Lost {
                gpa,
                report: ErrorReport::Owner,
            },
            park(1, ParkReason::Failed(error.clone())),
        ] {
            sender.send(message).expect("there is a receiver");
        }
        assert_eq!(await_parks(2, &sender, &inbox), Some(error));
        assert!(matches!(inbox.try_recv(), Ok(Message::Lost { gpa: lost, .. }) if lost == gpa));
        assert!(inbox.try_recv().is_err());
    }
}
