//! Exceptions that somebody asked for, on a vCPU that does not run.

use seawall_arm64::AbortKind;

use crate::backend::VcpuBackend;
use crate::error::{InjectionError, VmError};
use crate::event::Injection;
use crate::sea::{self, AbortRequest};
use crate::vcpu::apply::{inject, inject_serror, interrupted};
use crate::vcpu::run_loop::{LastExit, RunContext, VcpuPosition};
use crate::vcpu::telling::tell_in_passing;

impl VcpuPosition {
    /// Injects an abort because somebody asked. It takes the place of an abort that waits.
    pub(super) fn inject_by_hand(
        &mut self,
        request: &AbortRequest,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
    ) -> Result<Injection, VmError> {
        let operation = match request.kind {
            AbortKind::Data => "injectDataAbort()",
            AbortKind::Instruction => "injectInstructionAbort()",
        };
        let last = match self.last_exit {
            LastExit::Access(access) => Some(access),
            LastExit::None => None,
            LastExit::Other(last_exit) => {
                return Err(VmError::InvalidInjection { operation, last_exit });
            }
        };
        let interrupted = interrupted(vcpu)?;
        let plan = sea::plan_request(request, last, interrupted.pstate);
        let injection = inject(vcpu, &plan, interrupted);
        self.injected_by_hand(operation, injection, context)
    }

    /// Injects an SError because somebody asked. It takes the place of an abort that waits: the access runs again once the
    /// guest has taken it.
    pub(super) fn inject_serror_by_hand(
        &mut self,
        iss: Option<u32>,
        vcpu: &mut dyn VcpuBackend,
        context: &RunContext,
    ) -> Result<Injection, VmError> {
        let operation = "injectSError()";
        if let LastExit::Other(last_exit) = self.last_exit {
            return Err(VmError::InvalidInjection { operation, last_exit });
        }
        let injection = inject_serror(vcpu, iss);
        self.injected_by_hand(operation, injection, context)
    }

    fn injected_by_hand(
        &mut self,
        operation: &'static str,
        injection: Injection,
        context: &RunContext,
    ) -> Result<Injection, VmError> {
        if let Some(InjectionError::Mode(mode)) = injection.error {
            return Err(VmError::InjectionInMode { operation, mode });
        }
        if injection.entered() {
            // One exception at a time: the guest has to take this one first.
            self.last_exit = LastExit::Other("an injection");
            self.deferral = None;
            if let Some(mut pending) = self.pending.take() {
                context.pending().remove(&pending.seq);
                // The guest that has lost the page is to know of it all the same.
                tell_in_passing(&mut pending.failure, context);
            }
        }
        Ok(injection)
    }
}
