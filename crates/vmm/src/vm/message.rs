//! What the control thread is told.

use crate::error::VmError;
use crate::vcpu::{ParkReason, VcpuCommand};
use crate::vm::state::{ClosedVm, VmExit};

/// Called with the answer to an operation, once, on a thread of the virtual machine's own. Must not block.
pub type Reply<T> = Box<dyn FnOnce(Result<T, VmError>) + Send>;

/// What the control thread is told.
pub(crate) enum Message {
    /// A vCPU left the guest and waits.
    Parked {
        vcpu: u32,
        reason: ParkReason,
    },
    /// A vCPU's thread is about to end.
    Ended,
    Start(Reply<()>),
    Pause(Reply<()>),
    Resume(Reply<()>),
    Stop(Reply<VmExit>),
    Wait(Reply<VmExit>),
    Close(Reply<ClosedVm>),
    /// Something to do on a vCPU that does not run.
    Vcpu {
        vcpu: u32,
        operation: &'static str,
        command: VcpuCommand,
    },
}

impl Message {
    /// Answers the message with an error made of the operation's name.
    pub(super) fn refuse(self, error: impl FnOnce(&'static str) -> VmError) {
        match self {
            Self::Parked { .. } | Self::Ended => {}
            Self::Start(reply) => reply(Err(error("start()"))),
            Self::Pause(reply) => reply(Err(error("pause()"))),
            Self::Resume(reply) => reply(Err(error("resume()"))),
            Self::Stop(reply) => reply(Err(error("stop()"))),
            Self::Wait(reply) => reply(Err(error("wait()"))),
            Self::Close(reply) => reply(Err(error("close()"))),
            Self::Vcpu {
                operation, command, ..
            } => command.refuse(error(operation)),
        }
    }
}
