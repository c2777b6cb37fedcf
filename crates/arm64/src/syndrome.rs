//! A decoded syndrome.

use core::fmt;

use crate::bits::{bits, bits_u8, with_bit, with_bits};
use crate::layout::layout;
use crate::{Abort, AbortKind, DataAbort, Esr, ExceptionClass, Field, InstructionAbort, SError};

/// An ESR value taken apart by its exception class.
///
/// Displayed as text of several lines: a one-sentence summary, then one line for each field of the register
/// from bit 63 down, with its name, bits, value and meaning.
///
/// ```
/// use seawall_arm64::{Esr, Syndrome};
///
/// let text = Syndrome::decode(Esr::from_bits(0x9600_0050)).to_string();
/// assert!(text.starts_with(
///     "0x0000000096000050: Data Abort taken without a change in Exception level: \
///      synchronous external abort, not on translation table walk; \
///      severity recoverable (UER), write, FAR valid\n",
/// ));
/// assert!(text.contains("\n  DFSC           5:0  0x10 "));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Syndrome {
    exception_class: ExceptionClass,
    il: bool,
    iss: Iss,
    iss2: u32,
    res0: u8,
}

/// The ISS of a syndrome, by exception class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Iss {
    /// EC 0x20 and 0x21.
    InstructionAbort(InstructionAbort),
    /// EC 0x24 and 0x25.
    DataAbort(DataAbort),
    /// EC 0x2f.
    SError(SError),
    /// Every other class: bits 24:0, not taken apart.
    Other(u32),
}

impl Syndrome {
    /// Decodes an ESR value. Every value decodes.
    #[inline]
    pub const fn decode(esr: Esr) -> Self {
        let exception_class = esr.exception_class();
        let iss = match exception_class {
            ExceptionClass::InstructionAbortLowerEl | ExceptionClass::InstructionAbortSameEl => {
                Iss::InstructionAbort(InstructionAbort::decode(esr.iss()))
            }
            ExceptionClass::DataAbortLowerEl | ExceptionClass::DataAbortSameEl => {
                Iss::DataAbort(DataAbort::decode(esr.iss()))
            }
            ExceptionClass::SError => Iss::SError(SError::decode(esr.iss())),
            _ => Iss::Other(esr.iss()),
        };
        Self {
            exception_class,
            il: esr.il(),
            iss,
            iss2: esr.iss2(),
            res0: bits_u8(esr.bits(), 63, 56),
        }
    }

    /// Encodes the syndrome: the exact inverse of [`decode`](Self::decode), reserved bits included.
    pub const fn encode(&self) -> Esr {
        let iss = match self.iss {
            Iss::InstructionAbort(abort) => abort.encode(),
            Iss::DataAbort(abort) => abort.encode(),
            Iss::SError(serror) => serror.encode(),
            Iss::Other(bits) => bits,
        };
        let mut word = Esr::new(self.exception_class, iss).bits();
        word = with_bit(word, 25, self.il);
        word = with_bits(word, 55, 32, self.iss2 as u64);
        word = with_bits(word, 63, 56, self.res0 as u64);
        Esr::from_bits(word)
    }

    /// Returns the ESR value; the same as [`encode`](Self::encode).
    pub const fn esr(&self) -> Esr {
        self.encode()
    }

    /// Returns EC: what kind of exception this is.
    pub const fn exception_class(&self) -> ExceptionClass {
        self.exception_class
    }

    /// Returns IL: true for a 32-bit instruction; see [`Esr::il`].
    pub const fn il(&self) -> bool {
        self.il
    }

    /// Returns the ISS, decoded by class.
    pub const fn iss(&self) -> Iss {
        self.iss
    }

    /// Returns ISS2, bits 55:32 of the register.
    pub const fn iss2(&self) -> u32 {
        self.iss2
    }

    /// Returns what instruction and data aborts have in common; none for other classes.
    #[inline]
    pub const fn abort(&self) -> Option<Abort> {
        let lower_el = matches!(
            self.exception_class,
            ExceptionClass::InstructionAbortLowerEl | ExceptionClass::DataAbortLowerEl
        );
        match self.iss {
            Iss::InstructionAbort(abort) => Some(Abort {
                kind: AbortKind::Instruction,
                fault_status: abort.fault_status(),
                set: abort.set(),
                far_valid: abort.far_valid(),
                external_type: abort.external_type(),
                cache_maintenance: false,
                s1ptw: abort.s1ptw(),
                write: None,
                lower_el,
            }),
            Iss::DataAbort(abort) => Some(Abort {
                kind: AbortKind::Data,
                fault_status: abort.fault_status(),
                set: abort.set(),
                far_valid: abort.far_valid(),
                external_type: abort.external_type(),
                cache_maintenance: abort.cache_maintenance(),
                s1ptw: abort.s1ptw(),
                write: Some(abort.write()),
                lower_el,
            }),
            Iss::SError(_) | Iss::Other(_) => None,
        }
    }

    /// Lists the fields of the register from bit 63 down to bit 0, without gap or overlap.
    ///
    /// Names are the Arm ARM's. Reserved bits are fields named `RES0`; the ISS of a class that this crate does
    /// not take apart is one field named `ISS`.
    ///
    /// ```
    /// use seawall_arm64::{Esr, Syndrome};
    ///
    /// let syndrome = Syndrome::decode(Esr::from_bits(0x9200_1010));
    /// let set = syndrome.fields().find(|field| field.name == "SET").expect("defined for 0b010000");
    /// assert_eq!((set.bits, set.value, set.meaning), ((12, 11), 0b10, "uncontainable (UC)"));
    /// ```
    pub fn fields(&self) -> impl Iterator<Item = Field> + use<> {
        let esr = self.encode().bits();
        layout(self).into_iter().flatten().map(move |spec| {
            let value = bits(esr, spec.hi, spec.lo);
            Field {
                name: spec.name,
                bits: (spec.hi, spec.lo),
                value,
                meaning: spec.meaning.of(value),
            }
        })
    }

    fn write_summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.encode(), self.exception_class)?;
        if let Some(abort) = self.abort() {
            write!(f, ": {}; ", abort.fault_status.description())?;
            if let Some(set) = abort.set {
                write!(f, "severity {}, ", set.description())?;
            }
            match (abort.cache_maintenance, abort.write) {
                (true, _) => f.write_str("cache maintenance or address translation, ")?,
                (false, Some(true)) => f.write_str("write, ")?,
                (false, Some(false)) => f.write_str("read, ")?,
                (false, None) => {}
            }
            f.write_str(if abort.far_valid {
                "FAR valid"
            } else {
                "FAR not valid"
            })
        } else if let Iss::SError(serror) = self.iss {
            match (serror.status(), serror.aet()) {
                (None, _) => f.write_str(": IMPLEMENTATION DEFINED syndrome"),
                (Some(status), None) => write!(f, ": {}", status.description()),
                (Some(status), Some(aet)) => {
                    write!(f, ": {}; severity {}", status.description(), aet.description())
                }
            }
        } else {
            Ok(())
        }
    }
}

impl From<Esr> for Syndrome {
    fn from(esr: Esr) -> Self {
        Self::decode(esr)
    }
}

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_summary(f)?;
        for field in self.fields() {
            write!(f, "\n  {field}")?;
        }
        Ok(())
    }
}
