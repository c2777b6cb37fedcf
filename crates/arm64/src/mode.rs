//! The mode of a PE: Exception level, stack pointer and execution state.

/// PSTATE.M, bits 4:0: Exception level, stack pointer and execution state in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 0b00000: EL0, AArch64.
    El0t,
    /// 0b00100: EL1 with SP_EL0.
    El1t,
    /// 0b00101: EL1 with SP_EL1.
    El1h,
    /// 0b01000: EL2 with SP_EL0.
    El2t,
    /// 0b01001: EL2 with SP_EL2.
    El2h,
    /// 0b01100: EL3 with SP_EL0.
    El3t,
    /// 0b01101: EL3 with SP_EL3.
    El3h,
    /// M\[4\] is 1: AArch32.
    AArch32(AArch32Mode),
    /// Any other value with M\[4\] 0, reserved by the architecture: the five bits themselves.
    Reserved(u8),
}

/// PSTATE.M, bits 3:0, in AArch32 state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AArch32Mode {
    /// 0b0000: User, the one mode an arm64 Linux guest runs.
    User,
    /// 0b0001: FIQ.
    Fiq,
    /// 0b0010: IRQ.
    Irq,
    /// 0b0011: Supervisor.
    Supervisor,
    /// 0b0110: Monitor.
    Monitor,
    /// 0b0111: Abort.
    Abort,
    /// 0b1010: Hyp.
    Hyp,
    /// 0b1011: Undefined.
    Undefined,
    /// 0b1111: System.
    System,
    /// Any other value, reserved by the architecture: the four bits themselves.
    Reserved(u8),
}

/// An Exception level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExceptionLevel {
    /// Applications.
    El0,
    /// The guest's kernel.
    El1,
    /// A hypervisor.
    El2,
    /// The secure monitor.
    El3,
}

impl Mode {
    /// Decodes the five bits of M; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0x1f {
            0b00000 => Self::El0t,
            0b00100 => Self::El1t,
            0b00101 => Self::El1h,
            0b01000 => Self::El2t,
            0b01001 => Self::El2h,
            0b01100 => Self::El3t,
            0b01101 => Self::El3h,
            aarch32 if aarch32 & 0b10000 != 0 => Self::AArch32(AArch32Mode::from_bits(aarch32)),
            reserved => Self::Reserved(reserved),
        }
    }

    /// Encodes the five bits of M.
    pub const fn bits(self) -> u8 {
        match self {
            Self::El0t => 0b00000,
            Self::El1t => 0b00100,
            Self::El1h => 0b00101,
            Self::El2t => 0b01000,
            Self::El2h => 0b01001,
            Self::El3t => 0b01100,
            Self::El3h => 0b01101,
            Self::AArch32(mode) => 0b10000 | mode.bits(),
            Self::Reserved(bits) => bits & 0x1f,
        }
    }

    /// Returns the Exception level; none for reserved values. Privileged AArch32 modes are those of EL1.
    pub const fn exception_level(self) -> Option<ExceptionLevel> {
        match self {
            Self::El0t | Self::AArch32(AArch32Mode::User) => Some(ExceptionLevel::El0),
            Self::El2t | Self::El2h | Self::AArch32(AArch32Mode::Hyp) => Some(ExceptionLevel::El2),
            Self::El3t | Self::El3h | Self::AArch32(AArch32Mode::Monitor) => Some(ExceptionLevel::El3),
            Self::AArch32(AArch32Mode::Reserved(_)) | Self::Reserved(_) => None,
            Self::El1t | Self::El1h | Self::AArch32(_) => Some(ExceptionLevel::El1),
        }
    }

    /// Returns the Arm ARM's short name of the mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::El0t => "EL0t",
            Self::El1t => "EL1t",
            Self::El1h => "EL1h",
            Self::El2t => "EL2t",
            Self::El2h => "EL2h",
            Self::El3t => "EL3t",
            Self::El3h => "EL3h",
            Self::AArch32(mode) => mode.name(),
            Self::Reserved(_) => "reserved mode",
        }
    }
}

impl AArch32Mode {
    /// Decodes the four bits of M\[3:0\]; higher bits of `bits` are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 0xf {
            0b0000 => Self::User,
            0b0001 => Self::Fiq,
            0b0010 => Self::Irq,
            0b0011 => Self::Supervisor,
            0b0110 => Self::Monitor,
            0b0111 => Self::Abort,
            0b1010 => Self::Hyp,
            0b1011 => Self::Undefined,
            0b1111 => Self::System,
            reserved => Self::Reserved(reserved),
        }
    }

    /// Encodes the four bits of M\[3:0\].
    pub const fn bits(self) -> u8 {
        match self {
            Self::User => 0b0000,
            Self::Fiq => 0b0001,
            Self::Irq => 0b0010,
            Self::Supervisor => 0b0011,
            Self::Monitor => 0b0110,
            Self::Abort => 0b0111,
            Self::Hyp => 0b1010,
            Self::Undefined => 0b1011,
            Self::System => 0b1111,
            Self::Reserved(bits) => bits & 0xf,
        }
    }

    /// Returns the mode's name with its execution state.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "AArch32 usr",
            Self::Fiq => "AArch32 fiq",
            Self::Irq => "AArch32 irq",
            Self::Supervisor => "AArch32 svc",
            Self::Monitor => "AArch32 mon",
            Self::Abort => "AArch32 abt",
            Self::Hyp => "AArch32 hyp",
            Self::Undefined => "AArch32 und",
            Self::System => "AArch32 sys",
            Self::Reserved(_) => "AArch32 reserved mode",
        }
    }
}
