//! A guest that resets itself, and boots again in the same virtual machine.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use seawall_kvm::Gic;

use crate::boot::{BootRegisters, BootSource};
use crate::error::VmError;
use crate::event::EventKind;
use crate::vcpu::{Decisions, VcpuCommand};
use crate::vm::control::Control;
use crate::vm::lost_page;
use crate::vm::state::{ExitReason, VmExit};

/// What a guest is booted with once more.
#[derive(Debug)]
pub(super) struct Restart {
    pub(super) boot: BootSource,
    pub(super) gic: Option<Gic>,
    /// The values of MPIDR_EL1.
    pub(super) cpus: Vec<u64>,
}

impl Control {
    /// Boots the guest once more, every vCPU being out of it; with `pause`, up to its first instruction.
    pub(super) fn restart(&mut self, vcpu: u32, pause: bool) {
        if let Err(error) = self.reset_machine() {
            return self.end(VmExit {
                reason: ExitReason::Failed,
                vcpu: Some(vcpu),
                error: Some(error),
            });
        }
        self.shared.outbox.push(EventKind::GuestReset);
        if pause {
            self.reach_pause();
        } else {
            self.let_run(&Arc::new(Decisions::new()));
        }
    }

    /// As after power-on, but for what the guest's memory holds: a reset leaves that alone, too.
    fn reset_machine(&mut self) -> Result<(), VmError> {
        let Some((memory, context)) = self.resources() else {
            return Err(VmError::Closed { operation: "a reset" });
        };
        let Some(restart) = &self.restart else {
            return Err(VmError::Bug {
                message: "a restart without anything to boot".to_owned(),
            });
        };
        let boot = restart.boot.read(memory.len() as u64)?;
        lost_page::replace_all(&memory, &context);
        let registers = boot.place(&memory, &restart.cpus)?;
        drop(boot);
        context.bus.reset();
        if let Some(gic) = &restart.gic {
            gic.reset(&restart.cpus)?;
        }
        self.reset_vcpus(&registers)
    }

    fn reset_vcpus(&self, registers: &BootRegisters) -> Result<(), VmError> {
        let (sender, done) = mpsc::channel();
        let mut first = Some(registers.clone());
        for vcpu in &self.vcpus {
            let sender = sender.clone();
            let reply = Box::new(move |reset| drop(sender.send(reset)));
            vcpu.mailbox.send(VcpuCommand::Reset(first.take(), reply));
        }
        let deadline = Instant::now() + self.limits.park;
        for _ in &self.vcpus {
            let left = deadline.saturating_duration_since(Instant::now());
            match done.recv_timeout(left.max(Duration::from_millis(1))) {
                Ok(reset) => reset?,
                Err(_) => {
                    return Err(VmError::Bug {
                        message: "a vCPU that is out of the guest was not reset".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}
