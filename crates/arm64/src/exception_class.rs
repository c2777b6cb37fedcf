//! The class of an exception: what the rest of the syndrome is about.

use core::fmt;

/// EC, bits 31:26 of ESR_ELx (DDI 0487, ESR_EL1, *EC, bits \[31:26\]*).
///
/// Displayed as the Arm ARM's name of the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExceptionClass {
    /// 0x00: Unknown reason. No other class fits, for example an undefined instruction.
    Unknown,
    /// 0x01: Trapped WFI, WFE, WFIT or WFET instruction execution.
    TrappedWf,
    /// 0x03: Trapped MCR or MRC access, coproc 0b1111.
    TrappedMcrMrcCp15,
    /// 0x04: Trapped MCRR or MRRC access, coproc 0b1111.
    TrappedMcrrMrrcCp15,
    /// 0x05: Trapped MCR or MRC access, coproc 0b1110.
    TrappedMcrMrcCp14,
    /// 0x06: Trapped LDC or STC access.
    TrappedLdcStc,
    /// 0x07: Trapped access to SME, SVE, Advanced SIMD or floating-point functionality.
    TrappedSimdFp,
    /// 0x08: Trapped VMRS access, from ID group trap. Reported to EL2 only.
    TrappedVmrs,
    /// 0x09: Trapped use of a Pointer authentication instruction.
    TrappedPointerAuthentication,
    /// 0x0a: Trapped execution of an instruction not covered by other EC values. For example LD64B and ST64B.
    TrappedOther,
    /// 0x0c: Trapped MRRC access, coproc 0b1110.
    TrappedMrrcCp14,
    /// 0x0d: Branch Target Exception.
    BranchTarget,
    /// 0x0e: Illegal Execution state.
    IllegalExecutionState,
    /// 0x11: SVC instruction execution in AArch32 state.
    Svc32,
    /// 0x12: HVC instruction execution in AArch32 state.
    Hvc32,
    /// 0x13: SMC instruction execution in AArch32 state.
    Smc32,
    /// 0x14: Trapped MSRR, MRRS or 128-bit System instruction execution in AArch64 state.
    TrappedSystem128,
    /// 0x15: SVC instruction execution in AArch64 state.
    Svc64,
    /// 0x16: HVC instruction execution in AArch64 state.
    Hvc64,
    /// 0x17: SMC instruction execution in AArch64 state.
    Smc64,
    /// 0x18: Trapped MSR, MRS or System instruction execution in AArch64 state.
    TrappedSystem,
    /// 0x19: Access to SVE functionality trapped.
    TrappedSve,
    /// 0x1a: Trapped ERET, ERETAA or ERETAB instruction execution.
    TrappedEret,
    /// 0x1b: Trapped TSTART instruction execution.
    TrappedTstart,
    /// 0x1c: Pointer Authentication instruction authentication failure.
    PointerAuthenticationFailure,
    /// 0x1d: Access to SME functionality trapped.
    TrappedSme,
    /// 0x1e: Granule Protection Check exception. Reported to EL3 only.
    GranuleProtectionCheck,
    /// 0x1f: IMPLEMENTATION DEFINED exception taken to EL3.
    ImplementationDefined,
    /// 0x20: Instruction Abort from a lower Exception level.
    InstructionAbortLowerEl,
    /// 0x21: Instruction Abort taken without a change in Exception level.
    InstructionAbortSameEl,
    /// 0x22: PC alignment fault.
    PcAlignment,
    /// 0x24: Data Abort from a lower Exception level.
    DataAbortLowerEl,
    /// 0x25: Data Abort taken without a change in Exception level. KVM_EXIT_ARM_SEA reports it only for a nested guest's access to its VNCR page.
    DataAbortSameEl,
    /// 0x26: SP alignment fault.
    SpAlignment,
    /// 0x27: Memory Operation Exception.
    MemoryOperation,
    /// 0x28: Trapped floating-point exception taken from AArch32 state.
    TrappedFp32,
    /// 0x2c: Trapped floating-point exception taken from AArch64 state.
    TrappedFp64,
    /// 0x2d: Guarded Control Stack exception.
    GuardedControlStack,
    /// 0x2f: SError exception.
    SError,
    /// 0x30: Breakpoint exception from a lower Exception level.
    BreakpointLowerEl,
    /// 0x31: Breakpoint exception taken without a change in Exception level.
    BreakpointSameEl,
    /// 0x32: Software Step exception from a lower Exception level.
    SoftwareStepLowerEl,
    /// 0x33: Software Step exception taken without a change in Exception level.
    SoftwareStepSameEl,
    /// 0x34: Watchpoint exception from a lower Exception level.
    WatchpointLowerEl,
    /// 0x35: Watchpoint exception taken without a change in Exception level.
    WatchpointSameEl,
    /// 0x38: BKPT instruction execution in AArch32 state.
    Bkpt32,
    /// 0x3a: Vector Catch exception from AArch32 state.
    VectorCatch32,
    /// 0x3c: BRK instruction execution in AArch64 state.
    Brk64,
    /// 0x3d: Profiling exception.
    Profiling,
    /// Any other value, reserved by the architecture: the six bits themselves.
    Reserved(u8),
}

impl ExceptionClass {
    /// Decodes the six bits of EC; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x3f {
            0x00 => Self::Unknown,
            0x01 => Self::TrappedWf,
            0x03 => Self::TrappedMcrMrcCp15,
            0x04 => Self::TrappedMcrrMrrcCp15,
            0x05 => Self::TrappedMcrMrcCp14,
            0x06 => Self::TrappedLdcStc,
            0x07 => Self::TrappedSimdFp,
            0x08 => Self::TrappedVmrs,
            0x09 => Self::TrappedPointerAuthentication,
            0x0a => Self::TrappedOther,
            0x0c => Self::TrappedMrrcCp14,
            0x0d => Self::BranchTarget,
            0x0e => Self::IllegalExecutionState,
            0x11 => Self::Svc32,
            0x12 => Self::Hvc32,
            0x13 => Self::Smc32,
            0x14 => Self::TrappedSystem128,
            0x15 => Self::Svc64,
            0x16 => Self::Hvc64,
            0x17 => Self::Smc64,
            0x18 => Self::TrappedSystem,
            0x19 => Self::TrappedSve,
            0x1a => Self::TrappedEret,
            0x1b => Self::TrappedTstart,
            0x1c => Self::PointerAuthenticationFailure,
            0x1d => Self::TrappedSme,
            0x1e => Self::GranuleProtectionCheck,
            0x1f => Self::ImplementationDefined,
            0x20 => Self::InstructionAbortLowerEl,
            0x21 => Self::InstructionAbortSameEl,
            0x22 => Self::PcAlignment,
            0x24 => Self::DataAbortLowerEl,
            0x25 => Self::DataAbortSameEl,
            0x26 => Self::SpAlignment,
            0x27 => Self::MemoryOperation,
            0x28 => Self::TrappedFp32,
            0x2c => Self::TrappedFp64,
            0x2d => Self::GuardedControlStack,
            0x2f => Self::SError,
            0x30 => Self::BreakpointLowerEl,
            0x31 => Self::BreakpointSameEl,
            0x32 => Self::SoftwareStepLowerEl,
            0x33 => Self::SoftwareStepSameEl,
            0x34 => Self::WatchpointLowerEl,
            0x35 => Self::WatchpointSameEl,
            0x38 => Self::Bkpt32,
            0x3a => Self::VectorCatch32,
            0x3c => Self::Brk64,
            0x3d => Self::Profiling,
            reserved => Self::Reserved(reserved),
        }
    }

    /// Encodes the six bits of EC.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Unknown => 0x00,
            Self::TrappedWf => 0x01,
            Self::TrappedMcrMrcCp15 => 0x03,
            Self::TrappedMcrrMrrcCp15 => 0x04,
            Self::TrappedMcrMrcCp14 => 0x05,
            Self::TrappedLdcStc => 0x06,
            Self::TrappedSimdFp => 0x07,
            Self::TrappedVmrs => 0x08,
            Self::TrappedPointerAuthentication => 0x09,
            Self::TrappedOther => 0x0a,
            Self::TrappedMrrcCp14 => 0x0c,
            Self::BranchTarget => 0x0d,
            Self::IllegalExecutionState => 0x0e,
            Self::Svc32 => 0x11,
            Self::Hvc32 => 0x12,
            Self::Smc32 => 0x13,
            Self::TrappedSystem128 => 0x14,
            Self::Svc64 => 0x15,
            Self::Hvc64 => 0x16,
            Self::Smc64 => 0x17,
            Self::TrappedSystem => 0x18,
            Self::TrappedSve => 0x19,
            Self::TrappedEret => 0x1a,
            Self::TrappedTstart => 0x1b,
            Self::PointerAuthenticationFailure => 0x1c,
            Self::TrappedSme => 0x1d,
            Self::GranuleProtectionCheck => 0x1e,
            Self::ImplementationDefined => 0x1f,
            Self::InstructionAbortLowerEl => 0x20,
            Self::InstructionAbortSameEl => 0x21,
            Self::PcAlignment => 0x22,
            Self::DataAbortLowerEl => 0x24,
            Self::DataAbortSameEl => 0x25,
            Self::SpAlignment => 0x26,
            Self::MemoryOperation => 0x27,
            Self::TrappedFp32 => 0x28,
            Self::TrappedFp64 => 0x2c,
            Self::GuardedControlStack => 0x2d,
            Self::SError => 0x2f,
            Self::BreakpointLowerEl => 0x30,
            Self::BreakpointSameEl => 0x31,
            Self::SoftwareStepLowerEl => 0x32,
            Self::SoftwareStepSameEl => 0x33,
            Self::WatchpointLowerEl => 0x34,
            Self::WatchpointSameEl => 0x35,
            Self::Bkpt32 => 0x38,
            Self::VectorCatch32 => 0x3a,
            Self::Brk64 => 0x3c,
            Self::Profiling => 0x3d,
            Self::Reserved(bits) => bits & 0x3f,
        }
    }

    /// Returns the Arm ARM's name of the class.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown reason",
            Self::TrappedWf => "Trapped WFI, WFE, WFIT or WFET instruction execution",
            Self::TrappedMcrMrcCp15 => "Trapped MCR or MRC access, coproc 0b1111",
            Self::TrappedMcrrMrrcCp15 => "Trapped MCRR or MRRC access, coproc 0b1111",
            Self::TrappedMcrMrcCp14 => "Trapped MCR or MRC access, coproc 0b1110",
            Self::TrappedLdcStc => "Trapped LDC or STC access",
            Self::TrappedSimdFp => {
                "Trapped access to SME, SVE, Advanced SIMD or floating-point functionality"
            }
            Self::TrappedVmrs => "Trapped VMRS access, from ID group trap",
            Self::TrappedPointerAuthentication => "Trapped use of a Pointer authentication instruction",
            Self::TrappedOther => "Trapped execution of an instruction not covered by other EC values",
            Self::TrappedMrrcCp14 => "Trapped MRRC access, coproc 0b1110",
            Self::BranchTarget => "Branch Target Exception",
            Self::IllegalExecutionState => "Illegal Execution state",
            Self::Svc32 => "SVC instruction execution in AArch32 state",
            Self::Hvc32 => "HVC instruction execution in AArch32 state",
            Self::Smc32 => "SMC instruction execution in AArch32 state",
            Self::TrappedSystem128 => {
                "Trapped MSRR, MRRS or 128-bit System instruction execution in AArch64 state"
            }
            Self::Svc64 => "SVC instruction execution in AArch64 state",
            Self::Hvc64 => "HVC instruction execution in AArch64 state",
            Self::Smc64 => "SMC instruction execution in AArch64 state",
            Self::TrappedSystem => "Trapped MSR, MRS or System instruction execution in AArch64 state",
            Self::TrappedSve => "Access to SVE functionality trapped",
            Self::TrappedEret => "Trapped ERET, ERETAA or ERETAB instruction execution",
            Self::TrappedTstart => "Trapped TSTART instruction execution",
            Self::PointerAuthenticationFailure => "Pointer Authentication instruction authentication failure",
            Self::TrappedSme => "Access to SME functionality trapped",
            Self::GranuleProtectionCheck => "Granule Protection Check exception",
            Self::ImplementationDefined => "IMPLEMENTATION DEFINED exception taken to EL3",
            Self::InstructionAbortLowerEl => "Instruction Abort from a lower Exception level",
            Self::InstructionAbortSameEl => "Instruction Abort taken without a change in Exception level",
            Self::PcAlignment => "PC alignment fault",
            Self::DataAbortLowerEl => "Data Abort from a lower Exception level",
            Self::DataAbortSameEl => "Data Abort taken without a change in Exception level",
            Self::SpAlignment => "SP alignment fault",
            Self::MemoryOperation => "Memory Operation Exception",
            Self::TrappedFp32 => "Trapped floating-point exception taken from AArch32 state",
            Self::TrappedFp64 => "Trapped floating-point exception taken from AArch64 state",
            Self::GuardedControlStack => "Guarded Control Stack exception",
            Self::SError => "SError exception",
            Self::BreakpointLowerEl => "Breakpoint exception from a lower Exception level",
            Self::BreakpointSameEl => "Breakpoint exception taken without a change in Exception level",
            Self::SoftwareStepLowerEl => "Software Step exception from a lower Exception level",
            Self::SoftwareStepSameEl => "Software Step exception taken without a change in Exception level",
            Self::WatchpointLowerEl => "Watchpoint exception from a lower Exception level",
            Self::WatchpointSameEl => "Watchpoint exception taken without a change in Exception level",
            Self::Bkpt32 => "BKPT instruction execution in AArch32 state",
            Self::VectorCatch32 => "Vector Catch exception from AArch32 state",
            Self::Brk64 => "BRK instruction execution in AArch64 state",
            Self::Profiling => "Profiling exception",
            Self::Reserved(_) => "Reserved exception class",
        }
    }
}

impl fmt::Display for ExceptionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
