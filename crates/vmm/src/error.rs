//! What can go wrong with a virtual machine, each with its stable code.

use std::any::Any;

use seawall_kvm::{Errno, KvmError};

use crate::backend::QuarantineError;
use crate::boot::BootError;
use crate::mode::UnsupportedMode;
use crate::options::MAX_VCPUS;
use crate::sea;
use crate::vm::VmState;

/// An error of this crate. [`VmError::code`] is what programs test; the message is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// The kernel refused something.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The size of guest RAM is not usable.
    #[error("Expected a non-zero multiple of {page} bytes for memory but received {received}")]
    InvalidMemory {
        /// The size of its pages, in bytes.
        page: u64,
        /// What was asked for, in bytes.
        received: u64,
    },
    /// The number of vCPUs is not usable.
    #[error("Expected 1 to {MAX_VCPUS} for vcpus but received {received}")]
    InvalidVcpus {
        /// What was asked for.
        received: u32,
    },
    /// A simulated script speaks of more vCPUs than there are.
    #[error("Expected scripts for at most {vcpus} vCPUs for backend but received {scripts}")]
    ScriptForMissingVcpu {
        /// How many scripts there are.
        scripts: usize,
        /// How many vCPUs there are.
        vcpus: u32,
    },
    /// The guest cannot be started.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The operation makes no sense in this state.
    #[error("Expected a VM that is {expected} for {operation} but received one that is {state}")]
    InvalidState {
        /// What was asked for, such as `start()`.
        operation: &'static str,
        /// The states it is allowed in.
        expected: &'static str,
        /// The state the VM is in.
        state: VmState,
    },
    /// The virtual machine was closed.
    #[error("Expected an open VM for {operation} but received a closed one")]
    Closed {
        /// What was asked for.
        operation: &'static str,
    },
    /// The vCPU runs, so that its registers are the processor's.
    #[error("Expected a vCPU that does not run for {operation} but received one of a VM that is {state}")]
    VcpuRunning {
        /// What was asked for.
        operation: &'static str,
        /// The state of its VM.
        state: VmState,
    },
    /// There is no such vCPU.
    #[error("Expected a vCPU index below {vcpus} but received {index}")]
    NoSuchVcpu {
        /// The index.
        index: u32,
        /// How many vCPUs there are.
        vcpus: u32,
    },
    /// The register has no such name.
    #[error("Expected the name of an arm64 register but received {name:?}")]
    NoSuchRegister {
        /// The name.
        name: String,
    },
    /// The register may not hold this: no guest of ours is in such a mode.
    #[error("Expected a mode of EL0t, EL1t, EL1h or AArch32 usr for pstate but received {mode}")]
    UnsupportedPstate {
        /// The mode of the value.
        mode: UnsupportedMode,
    },
    /// A decision is about a failure that does not wait.
    #[error("Expected the number of a failure that waits for decisions but received {failure}")]
    NoSuchFailure {
        /// The number.
        failure: u64,
    },
    /// What was decided, or left open, must not be done about this error.
    #[error(
        "Expected pause or stop where nobody can contain the error, resume only after replacePage(), and an ISS of 25 bits, \
         for the decision about failure {failure}"
    )]
    DecisionNotAllowed {
        /// The number of the failure's event.
        failure: u64,
    },
    /// The range is not guest RAM.
    #[error(
        "Expected a range of guest RAM ({base:#x}, {size:#x} bytes) but received {len:#x} bytes at {gpa:#x}"
    )]
    OutsideGuestMemory {
        /// The first byte asked for.
        gpa: u64,
        /// How many bytes were asked for.
        len: usize,
        /// Where RAM starts.
        base: u64,
        /// The size of RAM in bytes.
        size: u64,
    },
    /// A byte of the range is on a page that is known to be lost.
    #[error("guest RAM at {gpa:#x} ({size} bytes) is a lost page: nobody may read or write it")]
    PoisonedPage {
        /// The first byte of the page.
        gpa: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// A page could not be taken out of reach, or not be replaced.
    #[error("the page of guest RAM at {gpa:#x} could not be {wanted}: {source}")]
    Quarantine {
        /// The first byte of the page.
        gpa: u64,
        /// What was to be done, such as `replaced`.
        wanted: &'static str,
        /// Why it was not.
        source: QuarantineError,
    },
    /// This process has no memory for a copy.
    #[error("there is no memory for a copy of {len} bytes of guest RAM")]
    NoMemory {
        /// How many bytes were asked for.
        len: usize,
    },
    /// The host has lost the page.
    #[error("guest RAM at {gpa:#x} cannot be accessed: the host has lost the page")]
    InaccessibleGuestMemory {
        /// The first byte that could not be copied.
        gpa: u64,
    },
    /// No way of injecting an abort worked.
    #[error("the abort could not be injected into vCPU {vcpu}: {source}")]
    InjectionFailed {
        /// The vCPU.
        vcpu: u32,
        /// What the last way said.
        source: InjectionError,
    },
    /// An abort was asked for where none can be taken.
    #[error(
        "Expected a vCPU whose last exit was a memory access for {operation} but received one after {last_exit}"
    )]
    InvalidInjection {
        /// What was asked for.
        operation: &'static str,
        /// What the vCPU's last exit was.
        last_exit: &'static str,
    },
    /// The vCPU is where no exception entry of ours is right.
    #[error("Expected a vCPU in EL0t, EL1t, EL1h or AArch32 usr for {operation} but received one in {mode}")]
    InjectionInMode {
        /// What was asked for.
        operation: &'static str,
        /// Where it is.
        mode: UnsupportedMode,
    },
    /// KVM exited for a reason that this version does not know, or that no virtual machine survives.
    #[error("vCPU {vcpu} left the guest for a reason Seawall cannot handle: {exit}")]
    UnhandledExit {
        /// The vCPU.
        vcpu: u32,
        /// The exit, with its numbers.
        exit: UnhandledExit,
    },
    /// A vCPU's thread could not be started.
    #[error("the thread {thread} could not be started ({errno})")]
    Thread {
        /// The thread's name.
        thread: String,
        /// What the system said.
        errno: Errno,
    },
    /// A vCPU's thread did not answer in time.
    #[error("the thread vcpu-{vcpu} did not leave the guest within {seconds} seconds")]
    VcpuStuck {
        /// The vCPU.
        vcpu: u32,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A defect of Seawall.
    #[error("this is a bug in Seawall, please report it: {message}")]
    Bug {
        /// What happened.
        message: String,
    },
}

/// Why an injection did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectionError {
    /// The kernel refused.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The vCPU is where no exception entry of ours is right.
    #[error("Expected a vCPU in EL0t, EL1t, EL1h or AArch32 usr for an injection but received one in {0}")]
    Mode(UnsupportedMode),
    /// The kernel said success and the registers did not change.
    #[error("ESR_EL1 reads {found:#x} instead of {expected:#x} after the injection")]
    NotObserved {
        /// What ESR_EL1 should read.
        expected: u64,
        /// What it reads.
        found: u64,
    },
}

impl InjectionError {
    /// What the kernel answered, where it did.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kvm(error) => error.errno(),
            Self::Mode(_) | Self::NotObserved { .. } => None,
        }
    }
}

/// An exit that ends the virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnhandledExit {
    /// A number this version does not know.
    #[error("exit reason {reason}{}", payload_text(payload))]
    Unknown {
        /// `kvm_run.exit_reason`.
        reason: u32,
        /// The first 32 bytes of the exit union: nobody knows what is in them, so they are absent where the guest's addresses
        /// must not be told.
        payload: Option<[u64; 4]>,
    },
    /// `KVM_EXIT_FAIL_ENTRY`.
    #[error("KVM_EXIT_FAIL_ENTRY, hardware reason {hardware_entry_failure_reason:#x} on CPU {cpu}")]
    FailEntry {
        /// The hardware's reason.
        hardware_entry_failure_reason: u64,
        /// The physical CPU.
        cpu: u32,
    },
    /// `KVM_EXIT_INTERNAL_ERROR`.
    #[error("KVM_EXIT_INTERNAL_ERROR, suberror {suberror}")]
    InternalError {
        /// `KVM_INTERNAL_ERROR_*`.
        suberror: u32,
    },
    /// `KVM_EXIT_MEMORY_FAULT`.
    #[error("KVM_EXIT_MEMORY_FAULT at {gpa:#x}, {size:#x} bytes ({errno})")]
    MemoryFault {
        /// The first byte.
        gpa: u64,
        /// The length in bytes.
        size: u64,
        /// What `KVM_RUN` returned.
        errno: Errno,
    },
    /// A system event no PSCI call of ours leads to.
    #[error("KVM_EXIT_SYSTEM_EVENT {kind}")]
    SystemEvent {
        /// `KVM_SYSTEM_EVENT_*`.
        kind: u32,
    },
}

fn payload_text(payload: &Option<[u64; 4]>) -> String {
    payload.map_or_else(String::new, |payload| {
        // In one line, which `{:#x?}` of an array is not.
        let words = payload.map(|word| format!("{word:#x}"));
        format!(" with payload [{}]", words.join(", "))
    })
}

impl VmError {
    /// The error of an access to a page that is known to be lost.
    pub(crate) const fn poisoned(page: &sea::PoisonedPage) -> Self {
        Self::PoisonedPage {
            gpa: page.gpa.bits(),
            size: page.size,
        }
    }

    /// The stable code that programs test.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Kvm(KvmError::UnsupportedHost(_)) => "ERR_UNSUPPORTED_HOST",
            Self::Kvm(KvmError::Permission { .. }) => "ERR_KVM_PERMISSION",
            Self::Kvm(KvmError::SignalHandler) => "ERR_SIGNAL_HANDLER",
            Self::Kvm(KvmError::Syscall { errno, .. }) if errno.is_out_of_resources() => {
                "ERR_OUT_OF_RESOURCES"
            }
            Self::Kvm(_) | Self::UnhandledExit { .. } => "ERR_KVM_IOCTL",
            Self::InvalidMemory { .. }
            | Self::InvalidVcpus { .. }
            | Self::ScriptForMissingVcpu { .. }
            | Self::NoSuchFailure { .. }
            | Self::DecisionNotAllowed { .. }
            | Self::NoSuchVcpu { .. }
            | Self::NoSuchRegister { .. }
            | Self::UnsupportedPstate { .. } => "ERR_INVALID_OPTION",
            Self::Boot(error) => error.code(),
            Self::InvalidState { .. } => "ERR_INVALID_STATE",
            Self::Closed { .. } => "ERR_VM_CLOSED",
            Self::VcpuRunning { .. } => "ERR_VCPU_RUNNING",
            Self::OutsideGuestMemory { .. } | Self::InaccessibleGuestMemory { .. } => "ERR_GUEST_MEMORY",
            Self::PoisonedPage { .. } => "ERR_POISONED_PAGE",
            Self::Quarantine { .. } => "ERR_QUARANTINE",
            Self::InvalidInjection { .. }
            | Self::InjectionInMode { .. }
            | Self::InjectionFailed {
                source: InjectionError::Mode(_),
                ..
            } => "ERR_INVALID_INJECTION",
            Self::InjectionFailed { .. } => "ERR_INJECTION_FAILED",
            Self::Thread { .. } | Self::NoMemory { .. } => "ERR_OUT_OF_RESOURCES",
            Self::VcpuStuck { .. } | Self::Bug { .. } => "ERR_INTERNAL",
        }
    }

    /// A panic, which is a defect, by what it was called with.
    pub(crate) fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        Self::Bug { message }
    }

    const fn kvm(&self) -> Option<&KvmError> {
        match self {
            Self::Kvm(error)
            | Self::InjectionFailed {
                source: InjectionError::Kvm(error),
                ..
            }
            | Self::Quarantine {
                source: QuarantineError::Kvm(error),
                ..
            } => Some(error),
            _ => None,
        }
    }

    /// The system call that failed, where one did.
    #[must_use]
    pub const fn syscall(&self) -> Option<&'static str> {
        match self {
            Self::UnhandledExit {
                exit: UnhandledExit::MemoryFault { .. },
                ..
            } => Some("KVM_RUN"),
            _ => match self.kvm() {
                Some(error) => error.syscall(),
                None => None,
            },
        }
    }

    /// What the system answered, where it did.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Boot(error) => error.errno(),
            Self::Thread { errno, .. }
            | Self::UnhandledExit {
                exit: UnhandledExit::MemoryFault { errno, .. },
                ..
            } => Some(*errno),
            _ => match self.kvm() {
                Some(error) => error.errno(),
                None => None,
            },
        }
    }
}
