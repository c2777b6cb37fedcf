//! A vCPU's thread, from start to end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use seawall_kvm::Errno;

use crate::backend::{Kicker, VcpuBackend, power_at_reset};
use crate::boot::BootRegisters;
use crate::error::VmError;
use crate::vcpu::mailbox::{Mailbox, VcpuCommand, Wakeup};
use crate::vcpu::run_loop::{ParkReason, RunContext, VcpuPosition};
use crate::vm::Message;

/// What the control thread keeps of a vCPU.
#[derive(Debug)]
pub(crate) struct VcpuThread {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) kicker: Arc<dyn Kicker>,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts the thread `vcpu-<index>`, parked.
pub(crate) fn spawn(
    index: u32,
    vcpu: Box<dyn VcpuBackend>,
    boot: Option<BootRegisters>,
    context: Arc<RunContext>,
    control: mpsc::Sender<Message>,
) -> Result<VcpuThread, VmError> {
    let mailbox = Arc::new(Mailbox::default());
    let kicker = vcpu.kicker();
    let name = format!("vcpu-{index}");
    let requests = Arc::clone(&mailbox);
    let thread = std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || serve(index, vcpu, boot, &context, &requests, &control))
        .map_err(|error| VmError::Thread {
            thread: name,
            errno: Errno::of(&error),
        })?;
    Ok(VcpuThread {
        mailbox,
        kicker,
        thread,
    })
}

fn serve(
    index: u32,
    mut vcpu: Box<dyn VcpuBackend>,
    boot: Option<BootRegisters>,
    context: &RunContext,
    mailbox: &Arc<Mailbox>,
    control: &mpsc::Sender<Message>,
) {
    // The control thread outlives this one; should it be gone, there is nobody left to tell.
    let park = |reason| drop(control.send(Message::Parked { vcpu: index, reason }));
    let target = vcpu.enter_thread();
    let mut position = VcpuPosition::default();
    let prepared = match (&target, boot) {
        (Err(error), _) => Err(error.clone().into()),
        (Ok(_), Some(boot)) => set_registers(vcpu.as_mut(), &boot),
        (Ok(_), None) => Ok(()),
    };
    park(match prepared {
        Ok(()) => ParkReason::Requested,
        Err(error) => ParkReason::Failed(error),
    });
    loop {
        match mailbox.wait() {
            Wakeup::Quit => break,
            Wakeup::Command(command) => execute(command, index, vcpu.as_mut(), &mut position, context),
            Wakeup::Run(decisions) => {
                // A panic must not take the vCPU's state, the VM or Node with it.
                let reason = catch_unwind(AssertUnwindSafe(|| {
                    position.run(index, vcpu.as_mut(), context, mailbox, &decisions)
                }));
                mailbox.end_run();
                park(reason.unwrap_or_else(|payload| ParkReason::Failed(VmError::of_panic(&*payload))));
            }
        }
    }
    // Before the vCPU goes: nobody may signal a thread that is about to end.
    drop(target);
    drop(vcpu);
    drop(control.send(Message::Ended));
}

fn set_registers(vcpu: &mut dyn VcpuBackend, boot: &BootRegisters) -> Result<(), VmError> {
    for (register, value) in &boot.0 {
        vcpu.set_register(*register, *value)?;
    }
    Ok(())
}

fn reset(index: u32, vcpu: &mut dyn VcpuBackend, boot: Option<&BootRegisters>) -> Result<(), VmError> {
    vcpu.reset(power_at_reset(index))?;
    boot.map_or(Ok(()), |boot| set_registers(vcpu, boot))
}

fn execute(
    command: VcpuCommand,
    index: u32,
    vcpu: &mut dyn VcpuBackend,
    position: &mut VcpuPosition,
    context: &RunContext,
) {
    match command {
        VcpuCommand::GetRegister(register, reply) => {
            reply(vcpu.get_register(register).map_err(VmError::from));
        }
        VcpuCommand::SetRegister(register, value, reply) => {
            reply(vcpu.set_register(register, value).map_err(VmError::from));
        }
        VcpuCommand::Reset(boot, reply) => {
            position.forget(context);
            reply(reset(index, vcpu, boot.as_ref()));
        }
        VcpuCommand::InjectAbort(request, reply) => reply(position.inject_by_hand(&request, vcpu, context)),
        VcpuCommand::InjectSError(iss, reply) => reply(position.inject_serror_by_hand(iss, vcpu, context)),
    }
}

#[cfg(test)]
mod tests;
