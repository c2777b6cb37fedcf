//! The class of an exception: what the rest of the syndrome is about.

use core::fmt;

/// Defines [`ExceptionClass`] and its three views from one table, so that no two of them can disagree.
macro_rules! exception_classes {
    ($($(#[$note:meta])* $bits:literal $class:ident $name:literal,)*) => {
        /// EC, bits 31:26 of ESR_ELx (DDI 0487, ESR_EL1, *EC, bits \[31:26\]*).
        ///
        /// Displayed as the Arm ARM's name of the class.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ExceptionClass {
            $(
                #[doc = concat!(stringify!($bits), ": ", $name, ".")]
                $(#[doc = ""] #[$note])*
                $class,
            )*
            /// Any other value, reserved by the architecture: the six bits themselves.
            Reserved(u8),
        }

        impl ExceptionClass {
            /// Decodes the six bits of EC; higher bits of `bits` are ignored.
            pub const fn from_bits(bits: u8) -> Self {
                match bits & 0x3f {
                    $($bits => Self::$class,)*
                    reserved => Self::Reserved(reserved),
                }
            }

            /// Encodes the six bits of EC.
            pub const fn bits(self) -> u8 {
                match self {
                    $(Self::$class => $bits,)*
                    Self::Reserved(bits) => bits & 0x3f,
                }
            }

            /// Returns the Arm ARM's name of the class.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$class => $name,)*
                    Self::Reserved(_) => "Reserved exception class",
                }
            }
        }
    };
}

exception_classes! {
    /// No other class fits, for example an undefined instruction.
    0x00 Unknown "Unknown reason",
    0x01 TrappedWf "Trapped WFI, WFE, WFIT or WFET instruction execution",
    0x03 TrappedMcrMrcCp15 "Trapped MCR or MRC access, coproc 0b1111",
    0x04 TrappedMcrrMrrcCp15 "Trapped MCRR or MRRC access, coproc 0b1111",
    0x05 TrappedMcrMrcCp14 "Trapped MCR or MRC access, coproc 0b1110",
    0x06 TrappedLdcStc "Trapped LDC or STC access",
    0x07 TrappedSimdFp "Trapped access to SME, SVE, Advanced SIMD or floating-point functionality",
    /// Reported to EL2 only.
    0x08 TrappedVmrs "Trapped VMRS access, from ID group trap",
    0x09 TrappedPointerAuthentication "Trapped use of a Pointer authentication instruction",
    /// For example LD64B and ST64B.
    0x0a TrappedOther "Trapped execution of an instruction not covered by other EC values",
    0x0c TrappedMrrcCp14 "Trapped MRRC access, coproc 0b1110",
    0x0d BranchTarget "Branch Target Exception",
    0x0e IllegalExecutionState "Illegal Execution state",
    0x11 Svc32 "SVC instruction execution in AArch32 state",
    0x12 Hvc32 "HVC instruction execution in AArch32 state",
    0x13 Smc32 "SMC instruction execution in AArch32 state",
    0x14 TrappedSystem128 "Trapped MSRR, MRRS or 128-bit System instruction execution in AArch64 state",
    0x15 Svc64 "SVC instruction execution in AArch64 state",
    0x16 Hvc64 "HVC instruction execution in AArch64 state",
    0x17 Smc64 "SMC instruction execution in AArch64 state",
    0x18 TrappedSystem "Trapped MSR, MRS or System instruction execution in AArch64 state",
    0x19 TrappedSve "Access to SVE functionality trapped",
    0x1a TrappedEret "Trapped ERET, ERETAA or ERETAB instruction execution",
    0x1b TrappedTstart "Trapped TSTART instruction execution",
    0x1c PointerAuthenticationFailure "Pointer Authentication instruction authentication failure",
    0x1d TrappedSme "Access to SME functionality trapped",
    /// Reported to EL3 only.
    0x1e GranuleProtectionCheck "Granule Protection Check exception",
    0x1f ImplementationDefined "IMPLEMENTATION DEFINED exception taken to EL3",
    0x20 InstructionAbortLowerEl "Instruction Abort from a lower Exception level",
    0x21 InstructionAbortSameEl "Instruction Abort taken without a change in Exception level",
    0x22 PcAlignment "PC alignment fault",
    0x24 DataAbortLowerEl "Data Abort from a lower Exception level",
    /// KVM_EXIT_ARM_SEA reports it only for a nested guest's access to its VNCR page.
    0x25 DataAbortSameEl "Data Abort taken without a change in Exception level",
    0x26 SpAlignment "SP alignment fault",
    0x27 MemoryOperation "Memory Operation Exception",
    0x28 TrappedFp32 "Trapped floating-point exception taken from AArch32 state",
    0x2c TrappedFp64 "Trapped floating-point exception taken from AArch64 state",
    0x2d GuardedControlStack "Guarded Control Stack exception",
    0x2f SError "SError exception",
    0x30 BreakpointLowerEl "Breakpoint exception from a lower Exception level",
    0x31 BreakpointSameEl "Breakpoint exception taken without a change in Exception level",
    0x32 SoftwareStepLowerEl "Software Step exception from a lower Exception level",
    0x33 SoftwareStepSameEl "Software Step exception taken without a change in Exception level",
    0x34 WatchpointLowerEl "Watchpoint exception from a lower Exception level",
    0x35 WatchpointSameEl "Watchpoint exception taken without a change in Exception level",
    0x38 Bkpt32 "BKPT instruction execution in AArch32 state",
    0x3a VectorCatch32 "Vector Catch exception from AArch32 state",
    0x3c Brk64 "BRK instruction execution in AArch64 state",
    0x3d Profiling "Profiling exception",
}

impl fmt::Display for ExceptionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
