//! A guest that resets itself, and boots again in the same virtual machine.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use seawall_arm64::Gpa;
use seawall_kvm::{Gic, GuestMemory};

use crate::boot::{BootMemory, BootRegisters, BootSource, PlaceError, PreparedBoot};
use crate::containment::signalled;
use crate::error::VmError;
use crate::event::EventKind;
use crate::sea::FailureAction;
use crate::vcpu::{Decisions, RunContext, VcpuCommand};
use crate::vm::control::Control;
use crate::vm::lost_page::{self, STOPPED_BY_POLICY};
use crate::vm::state::{ExitReason, VmExit};

/// How often a guest is put into its memory, each time over what was lost the time before.
const PLACE_ATTEMPTS: u32 = 16;

/// What a guest is booted with once more.
#[derive(Debug)]
pub(super) struct Restart {
    pub(super) boot: BootSource,
    pub(super) gic: Option<Gic>,
    /// The values of MPIDR_EL1.
    pub(super) cpus: Vec<u64>,
}

/// How a guest is put into its memory: [`PreparedBoot::place`] but in tests, whose memory is good.
type Place<'a> = dyn Fn(&PreparedBoot<'_>, &BootMemory<'_>, &[u64]) -> Result<BootRegisters, PlaceError> + 'a;

/// What became of a machine that was to be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    /// It is as after power-on. With `pause` the policy wants it to pause.
    Done { pause: bool },
    /// The policy ended it, by a page that was lost meanwhile.
    Stopped,
}

impl Control {
    /// Boots the guest once more, every vCPU being out of it; with `pause`, up to its first instruction.
    pub(super) fn restart(&mut self, vcpu: u32, pause: bool) {
        self.restart_by(vcpu, pause, &|boot, memory, cpus| boot.place(memory, cpus));
    }

    fn restart_by(&mut self, vcpu: u32, pause: bool, place: &Place<'_>) {
        let mut fresh_pages = BTreeSet::new();
        let reset = self.reset_machine(place, &mut fresh_pages);
        self.fresh_pages = fresh_pages;
        let pause = match reset {
            Ok(Reset::Done { pause: by_policy }) => pause || by_policy,
            Ok(Reset::Stopped) => return self.end(STOPPED_BY_POLICY),
            Err(error) => {
                return self.end(VmExit {
                    reason: ExitReason::Failed,
                    vcpu: Some(vcpu),
                    error: Some(error),
                });
            }
        };
        self.shared.outbox.push(EventKind::GuestReset);
        if pause {
            self.reach_pause();
        } else {
            self.let_run(&Arc::new(Decisions::new()));
        }
    }

    /// As after power-on, but for what the guest's memory holds: a reset leaves that alone, too. Every page that is replaced
    /// is put into `fresh_pages`.
    fn reset_machine(&self, place: &Place<'_>, fresh_pages: &mut BTreeSet<Gpa>) -> Result<Reset, VmError> {
        let Some((memory, context)) = self.resources() else {
            return Err(VmError::Closed { operation: "a reset" });
        };
        let Some(restart) = &self.restart else {
            return Err(VmError::Bug {
                message: "a restart without anything to boot".to_owned(),
            });
        };
        let boot = restart.boot.read(memory.len() as u64)?;
        fresh_pages.extend(lost_page::replace_all(&memory, &context));
        let boot_memory = BootMemory {
            memory: &memory,
            ledger: &context.ledger,
        };
        let place = || place(&boot, &boot_memory, &restart.cpus);
        let placed = self.place_over_lost_pages(&memory, &context, &place, fresh_pages)?;
        let Some((registers, pause)) = placed else {
            return Ok(Reset::Stopped);
        };
        drop(boot);
        context.patience.forget();
        if let Some(notifier) = &context.notifier {
            notifier.place();
            lost_page::forget_retired(&context);
            for page in lost_page::lost(&context) {
                notifier.tell_by_interrupt((page.gpa, page.size), None);
            }
        }
        context.bus.reset();
        if let Some(gic) = &restart.gic {
            gic.reset(&restart.cpus)?;
        }
        self.reset_vcpus(&registers)?;
        Ok(Reset::Done { pause })
    }

    /// Puts the guest into its memory. A memory error that this meets is one of the guest's: it is told and contained, and
    /// fresh memory is put in its place. Says what the first vCPU starts with and whether the policy wants a pause; nothing
    /// where it wants an end.
    fn place_over_lost_pages(
        &self,
        memory: &GuestMemory,
        context: &RunContext,
        place: &dyn Fn() -> Result<BootRegisters, PlaceError>,
        fresh_pages: &mut BTreeSet<Gpa>,
    ) -> Result<Option<(BootRegisters, bool)>, VmError> {
        let mut pause = false;
        let mut attempts = PLACE_ATTEMPTS;
        loop {
            let PlaceError { error, lost } = match place() {
                Ok(registers) => return Ok(Some((registers, pause))),
                Err(error) => error,
            };
            let Some(signal) = lost else { return Err(error) };
            let (gpa, report) = signalled(signal);
            // Where the page could not be taken out of reach, that is in the event.
            match self.contain(gpa, report) {
                Some((FailureAction::Stop, _)) => return Ok(None),
                Some((FailureAction::Pause, _)) => pause = true,
                _ => {}
            }
            fresh_pages.extend(lost_page::replace_all(memory, context));
            attempts -= 1;
            // A page that stays lost ends each attempt alike.
            if attempts == 0 || !context.is_replaced(gpa) {
                return Err(error);
            }
        }
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

#[cfg(test)]
mod tests;
