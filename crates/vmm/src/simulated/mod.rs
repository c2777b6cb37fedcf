//! A vCPU that follows a script and answers as KVM would, for hosts without one and for tests of handlers.

mod kick;
mod quarantine;
mod script;
mod vcpu;

pub(crate) use quarantine::SimulatedQuarantine;
pub use script::{AbortStep, Script, ScriptError, Step};
pub(crate) use vcpu::SimulatedVcpu;
