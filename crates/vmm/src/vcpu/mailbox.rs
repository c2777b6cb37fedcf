//! How other threads speak to a vCPU's thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use seawall_kvm::RegId;

use crate::error::VmError;
use crate::event::Injection;
use crate::sea::Fidelity;
use crate::vm::Reply;

/// Something to do on a parked vCPU.
pub(crate) enum VcpuCommand {
    /// Read a register.
    GetRegister(RegId, Reply<u64>),
    /// Write a register.
    SetRegister(RegId, u64, Reply<()>),
    /// Inject a data abort by hand.
    InjectDataAbort(Fidelity, Reply<Injection>),
}

/// What a vCPU's thread is to do next.
#[derive(Default)]
struct Requests {
    run: bool,
    park: bool,
    quit: bool,
    commands: VecDeque<VcpuCommand>,
}

/// What a parked vCPU is to do.
pub(crate) enum Wakeup {
    Command(VcpuCommand),
    Run,
    Quit,
}

/// The requests to one vCPU's thread.
#[derive(Default)]
pub(crate) struct Mailbox {
    requests: Mutex<Requests>,
    changed: Condvar,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a parked vCPU run. Whoever calls it has seen it park.
    pub(crate) fn request_run(&self) {
        let mut requests = self.lock();
        requests.run = true;
        requests.park = false;
        self.changed.notify_all();
    }

    /// Makes a running vCPU park; the caller kicks it afterwards. A parked one stays parked.
    pub(crate) fn request_park(&self) {
        self.lock().park = true;
    }

    /// Ends the thread as soon as the vCPU is parked; the caller kicks it afterwards.
    pub(crate) fn request_quit(&self) {
        let mut requests = self.lock();
        requests.park = true;
        requests.quit = true;
        self.changed.notify_all();
    }

    /// Hands over something to do while parked.
    pub(crate) fn send(&self, command: VcpuCommand) {
        self.lock().commands.push_back(command);
        self.changed.notify_all();
    }

    /// Whether the running vCPU is to park. Asked after every interruption, not after every exit: a kick follows each
    /// request, and the exit after a kick is an interruption.
    pub(super) fn park_requested(&self) -> bool {
        self.lock().park
    }

    /// Waits for something to do.
    pub(super) fn wait(&self) -> Wakeup {
        let mut requests = self.lock();
        loop {
            // Commands first: what was asked before a quit or a run is answered before it.
            if let Some(command) = requests.commands.pop_front() {
                return Wakeup::Command(command);
            }
            if requests.quit {
                return Wakeup::Quit;
            }
            if std::mem::take(&mut requests.run) {
                return Wakeup::Run;
            }
            requests = self
                .changed
                .wait(requests)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl VcpuCommand {
    /// Answers the command with an error.
    pub(crate) fn refuse(self, error: VmError) {
        match self {
            Self::GetRegister(_, reply) => reply(Err(error)),
            Self::SetRegister(_, _, reply) => reply(Err(error)),
            Self::InjectDataAbort(_, reply) => reply(Err(error)),
        }
    }
}
