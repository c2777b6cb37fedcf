//! Values for JavaScript in a buffer: to make an object field by field is ten times the price.
//!
//! A record is a row of slots of 8 bytes, little-endian as every host, and has no names: `ts/record.ts` reads in the order in
//! which this side writes. What may be absent follows a flag. Words are numbers of [`Word`]; other text goes beside the record.

use napi::bindgen_prelude::BufferSlice;
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

/// The slots that a record of any kind has at most.
pub(crate) const MOST_SLOTS: usize = 64;
const SLOT: usize = size_of::<u64>();

/// Records, one after the other, and the texts that belong to them.
#[derive(Debug, Default)]
pub(crate) struct Records {
    slots: Vec<u64>,
    texts: Vec<String>,
}

impl Records {
    /// With room for so many.
    pub(crate) fn with_capacity(records: usize) -> Self {
        Self {
            slots: Vec::with_capacity(records * MOST_SLOTS),
            texts: Vec::new(),
        }
    }

    /// How many fit in a buffer, whatever they say.
    pub(crate) fn room(buffer: &BufferSlice<'_>) -> usize {
        buffer.len() / (MOST_SLOTS * SLOT)
    }

    /// 64 bits, a `bigint`; also a count, which JavaScript has as a number.
    pub(crate) fn u64(&mut self, value: u64) {
        self.slots.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.slots.push(value.into());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.slots.push(value.to_bits());
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.slots.push(value.into());
    }

    pub(crate) fn word(&mut self, word: Word) {
        self.slots.push(word as u64);
    }

    /// A value that may be absent, after its flag.
    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// Words that are no [`Word`].
    pub(crate) fn text(&mut self, text: String) {
        self.slots.push(u64::from(u32::MAX));
        self.texts.push(text);
    }

    /// Why a verdict is what it is.
    pub(crate) fn reason(&mut self, reason: VerdictReason) {
        match REASONS.iter().position(|plain| *plain == reason) {
            Some(position) => self.slots.push((Word::TEXTS.len() + position) as u64),
            None => self.text(reason.to_string()),
        }
    }

    /// Copies the slots into a buffer with room for them, and returns the texts.
    pub(crate) fn copy_to(self, buffer: &mut [u8]) -> Vec<String> {
        for (bytes, slot) in buffer.chunks_exact_mut(SLOT).zip(&self.slots) {
            bytes.copy_from_slice(&slot.to_le_bytes());
        }
        self.texts
    }

    /// The slots' bytes, of records without texts.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.slots.iter().flat_map(|slot| slot.to_le_bytes()).collect()
    }
}
