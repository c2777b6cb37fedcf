//! Values for JavaScript in a buffer: to make an object field by field is ten times the price.
//!
//! A record is a row of slots of 8 bytes, little-endian as every host, each with the same meaning in every record: here and in
//! `ts/failure-record.ts`. What is absent has no flag. Words are numbers of [`Word`]; other text goes beside the records.

use napi_derive::napi;
use seawall_arm64::SynchronousErrorType;
use seawall_vmm::sea::VerdictReason;

macro_rules! words {
    ($($name:ident = $text:literal,)*) => {
        /// A word of the events' fields.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Word {
            $(#[doc = $text] $name,)*
        }

        impl Word {
            const TEXTS: &'static [&'static str] = &[$($text,)*];
        }
    };
}

words! {
    Kvm = "kvm",
    Simulated = "simulated",
    Sea = "sea",
    SigbusAr = "sigbus-ar",
    SigbusAo = "sigbus-ao",
    QuarantinedPage = "quarantined-page",
    DeviceAccess = "device-access",
    Reported = "reported",
    Recoverable = "recoverable",
    Fatal = "fatal",
    Data = "data",
    Instruction = "instruction",
    External = "external",
    ExternalTableWalk = "external-table-walk",
    ParityEcc = "parity-ecc",
    ParityEccTableWalk = "parity-ecc-table-walk",
    Other = "other",
    Uer = "uer",
    Uc = "uc",
    Ueo = "ueo",
    Reserved = "reserved",
    Unknown = "unknown",
    ActionRequired = "BUS_MCEERR_AR",
    ActionOptional = "BUS_MCEERR_AO",
    ObjectError = "BUS_OBJERR",
    User = "user",
    Kernel = "kernel",
    Poisoned = "poisoned",
    Quarantined = "quarantined",
    GuestRetired = "guest-retired",
    HostOfflined = "host-offlined",
    Replaced = "replaced",
    Guest = "guest",
    Hypervisor = "hypervisor",
    Ignore = "ignore",
    Inject = "inject",
    InjectSError = "inject-serror",
    Pause = "pause",
    Stop = "stop",
    Defer = "defer",
    Resume = "resume",
    Policy = "policy",
    Decide = "decide",
    Fallback = "fallback",
    Userfaultfd = "userfaultfd",
    MemslotHole = "memslot-hole",
    Hwpoison = "hwpoison",
    Gsiv = "gsiv",
    Agent = "agent",
    Retired = "retired",
    Deadline = "deadline",
    VcpuEvents = "vcpu-events",
    VcpuEventsAndRegisters = "vcpu-events+registers",
    Registers = "registers",
    SError = "serror",
    Ok = "ok",
    Error = "error",
}

impl Word {
    pub(crate) const fn text(self) -> &'static str {
        Self::TEXTS[self as usize]
    }
}

/// The reasons that are the same words every time.
const REASONS: [VerdictReason; 11] = [
    VerdictReason::ErrorType(SynchronousErrorType::Recoverable),
    VerdictReason::ErrorType(SynchronousErrorType::Uncontainable),
    VerdictReason::ErrorType(SynchronousErrorType::Restartable),
    VerdictReason::ErrorType(SynchronousErrorType::Reserved),
    VerdictReason::NoErrorType,
    VerdictReason::Signal,
    VerdictReason::Quarantined,
    VerdictReason::InAdvance,
    VerdictReason::OwnCopy,
    VerdictReason::NoAbort,
    VerdictReason::Decided,
];

/// What the numbers of words in records mean.
#[napi(catch_unwind)]
#[must_use]
pub fn record_words() -> Vec<String> {
    let words = Word::TEXTS.iter().map(|text| (*text).to_owned());
    words.chain(REASONS.iter().map(ToString::to_string)).collect()
}

/// A slot's meaning: 64 bits, a count or a time; the two halves of the first and of [`Slot::VcpuAndReason`] are apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Slot {
    /// How many other events came before, in the lower half; the flags in the upper one.
    BeforeAndFlags,
    Milliseconds,
    MonotonicNs,
    Seq,
    /// Twenty-four bytes: see [`Byte`].
    Bytes,
    _Bytes,
    __Bytes,
    /// The vCPU in the lower half, the number of the reason in the upper one.
    VcpuAndReason,
    Esr,
    Gva,
    Gpa,
    Pc,
    Pstate,
    PageGpa,
    PageSize,
    PageHits,
    Granule,
    Retries,
    DeferralMs,
    InjectedEsr,
    DistinctPages,
    Total,
}

/// A byte's meaning: the number of a [`Word`], or a small number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Byte {
    Backend,
    Source,
    Severity,
    Kind,
    Cause,
    Set,
    SignalCode,
    Mode,
    PageState,
    Recipient,
    Action,
    DecidedBy,
    QuarantineMethod,
    NotifiedSource,
    DeferralOutcome,
    InjectionMethod,
    InjectionResult,
    ExceptionClass,
    FaultStatus,
    /// One more than the level, so that it is not negative.
    WalkLevel,
    Lsb,
}

/// A flag: whether something is there, or so.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flag {
    Vcpu,
    Abort,
    WalkLevel,
    WriteKnown,
    Write,
    CacheMaintenance,
    ExternalType,
    Signal,
    Gva,
    Gpa,
    Consumer,
    Page,
    First,
    ActionRequired,
    Recursive,
    Quarantine,
    Notified,
    AckedKnown,
    Acked,
    Deferral,
    Injection,
    InjectedEsr,
    Errno,
}

const SLOTS: usize = Slot::Total as usize + 1;
const SLOT: usize = size_of::<u64>();
/// The bytes of a record.
pub(crate) const RECORD: usize = SLOTS * SLOT;

/// One record, and the texts that belong to it.
#[derive(Debug, Default)]
pub(crate) struct Record {
    slots: [u64; SLOTS],
    texts: Vec<String>,
}

impl Record {
    /// 64 bits, a `bigint`; also a count, which JavaScript has as a number.
    pub(crate) const fn set(&mut self, slot: Slot, value: u64) {
        self.slots[slot as usize] = value;
    }

    /// 64 bits that may be absent.
    pub(crate) const fn option(&mut self, flag: Flag, slot: Slot, value: Option<u64>) {
        if let Some(value) = value {
            self.flag(flag, true);
            self.set(slot, value);
        }
    }

    pub(crate) const fn flag(&mut self, flag: Flag, value: bool) {
        self.slots[Slot::BeforeAndFlags as usize] |= (value as u64) << (32 + flag as u64);
    }

    pub(crate) const fn byte(&mut self, byte: Byte, value: u8) {
        let index = Slot::Bytes as usize + byte as usize / SLOT;
        self.slots[index] |= (value as u64) << (8 * (byte as usize % SLOT));
    }

    pub(crate) const fn word(&mut self, byte: Byte, word: Word) {
        self.byte(byte, word as u8);
    }

    /// How many other events came before.
    pub(crate) const fn before(&mut self, count: u32) {
        self.slots[Slot::BeforeAndFlags as usize] |= count as u64;
    }

    pub(crate) const fn vcpu(&mut self, vcpu: Option<u32>) {
        if let Some(vcpu) = vcpu {
            self.flag(Flag::Vcpu, true);
            self.slots[Slot::VcpuAndReason as usize] |= vcpu as u64;
        }
    }

    /// Why a verdict is what it is.
    pub(crate) fn reason(&mut self, reason: VerdictReason) {
        match REASONS.iter().position(|plain| *plain == reason) {
            Some(position) => self.reason_number((Word::TEXTS.len() + position) as u64),
            None => self.reason_text(reason.to_string()),
        }
    }

    /// A reason in words of its own.
    pub(crate) fn reason_text(&mut self, text: String) {
        self.reason_number(u64::from(u32::MAX));
        self.texts.push(text);
    }

    const fn reason_number(&mut self, number: u64) {
        self.slots[Slot::VcpuAndReason as usize] |= number << 32;
    }

    /// What the kernel answered, behind the reason where that has words of its own.
    pub(crate) fn errno(&mut self, text: Option<String>) {
        self.flag(Flag::Errno, text.is_some());
        self.texts.extend(text);
    }

    /// Copies the slots to the beginning of a buffer that has room for them, and returns the texts.
    pub(crate) fn copy_to(self, buffer: &mut [u8]) -> Vec<String> {
        for (bytes, slot) in buffer.chunks_exact_mut(SLOT).zip(&self.slots) {
            bytes.copy_from_slice(&slot.to_le_bytes());
        }
        self.texts
    }
}
