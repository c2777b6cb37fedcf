//! What a handle does to vCPUs that do not run: registers and injections.

use seawall_arm64::{AbortKind, Pstate};
use seawall_kvm::RegId;

use crate::error::VmError;
use crate::event::Injection;
use crate::mode;
use crate::sea::AbortRequest;
use crate::vcpu::VcpuCommand;
use crate::vm::Vm;
use crate::vm::message::{Message, Reply, answered};

impl Vm {
    /// Reads a register of a vCPU that does not run, by its Arm name in lower case.
    pub fn get_register(&self, vcpu: u32, name: &str, reply: Reply<u64>) {
        match RegId::by_name(name) {
            Some(register) => self.command(vcpu, "getRegister()", reply, |reply| {
                VcpuCommand::GetRegister(register, reply)
            }),
            None => reply(Err(VmError::NoSuchRegister {
                name: name.to_owned(),
            })),
        }
    }

    /// Writes a register of a vCPU that does not run, by its Arm name in lower case. PSTATE takes the modes of a guest that we
    /// support: no EL2, no AArch32 but EL0's.
    pub fn set_register(&self, vcpu: u32, name: &str, value: u64, reply: Reply<()>) {
        let Some(register) = RegId::by_name(name) else {
            return reply(Err(VmError::NoSuchRegister {
                name: name.to_owned(),
            }));
        };
        // The kernel refuses some of these modes, as an ioctl that failed; the simulator has nobody to refuse them.
        if register == RegId::PSTATE
            && let Err(mode) = mode::check(Pstate::from_bits(value))
        {
            return reply(Err(VmError::UnsupportedPstate { mode }));
        }
        self.command(vcpu, "setRegister()", reply, |reply| {
            VcpuCommand::SetRegister(register, value, reply)
        });
    }

    /// Injects an abort into a vCPU that does not run, for its last access where there was one. It takes the place of an
    /// abort that waits.
    pub fn inject_abort(&self, vcpu: u32, request: AbortRequest, reply: Reply<Injection>) {
        let operation = match request.kind {
            AbortKind::Data => "injectDataAbort()",
            AbortKind::Instruction => "injectInstructionAbort()",
        };
        self.command(vcpu, operation, reply, |reply| {
            VcpuCommand::InjectAbort(request, reply)
        });
    }

    /// Injects an SError into a vCPU that does not run; `iss` has 25 bits.
    pub fn inject_serror(&self, vcpu: u32, iss: Option<u32>, reply: Reply<Injection>) {
        self.command(vcpu, "injectSError()", reply, |reply| {
            VcpuCommand::InjectSError(iss, reply)
        });
    }

    fn command<T: 'static>(
        &self,
        vcpu: u32,
        operation: &'static str,
        reply: Reply<T>,
        command: impl FnOnce(Reply<T>) -> VcpuCommand,
    ) {
        self.send(Message::Vcpu {
            vcpu,
            operation,
            command: command(answered(operation, reply)),
        });
    }
}
