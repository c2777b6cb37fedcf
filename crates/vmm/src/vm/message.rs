//! What the control thread is told.

use seawall_arm64::Gpa;

use crate::error::VmError;
use crate::sea::ErrorReport;
use crate::vcpu::{Decisions, ParkReason, VcpuCommand};
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
    Resume(Decisions, Reply<()>),
    Stop(Reply<VmExit>),
    Wait(Reply<VmExit>),
    Close(Reply<ClosedVm>),
    /// A page of guest RAM is lost, and no vCPU needed it.
    Lost {
        gpa: Gpa,
        report: ErrorReport,
    },
    ReportPoison {
        gpa: u64,
        len: u64,
        reply: Reply<()>,
    },
    ReplacePage {
        gpa: u64,
        reply: Reply<()>,
    },
    /// The guest was told of a lost page and has something to read, or an access runs again without its abort.
    LookAfterGuest,
    /// Something to do on a vCPU that does not run.
    Vcpu {
        vcpu: u32,
        operation: &'static str,
        command: VcpuCommand,
    },
}

/// Makes a reply that is answered in any case: dropped unused, it says that the virtual machine is closed.
///
/// A message may reach the control thread's inbox just as that thread ends, and nobody takes it out any more.
pub(super) fn answered<T: 'static>(operation: &'static str, reply: Reply<T>) -> Reply<T> {
    let mut answer = Answer {
        reply: Some(reply),
        operation,
    };
    Box::new(move |result| answer.give(result))
}

struct Answer<T> {
    reply: Option<Reply<T>>,
    operation: &'static str,
}

impl<T> Answer<T> {
    fn give(&mut self, result: Result<T, VmError>) {
        if let Some(reply) = self.reply.take() {
            reply(result);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.give(Err(VmError::Closed {
            operation: self.operation,
        }));
    }
}
