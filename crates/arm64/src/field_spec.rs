//! A field before its value is known: name, place, and how its value turns into words.

/// A field before its value is known.
pub(super) struct FieldSpec {
    pub(super) name: &'static str,
    pub(super) hi: u8,
    pub(super) lo: u8,
    pub(super) meaning: Meaning,
}

/// How a field's value turns into words.
pub(super) enum Meaning {
    /// The value is a number that speaks for itself.
    Number,
    /// The words for 0 and for anything else.
    Either(&'static str, &'static str),
    /// The words for a value that fits in a byte.
    Named(fn(u8) -> &'static str),
}

impl Meaning {
    pub(super) fn of(&self, value: u64) -> &'static str {
        match self {
            Self::Number => "",
            Self::Either(zero, other) => {
                if value == 0 {
                    zero
                } else {
                    other
                }
            }
            Self::Named(words) => words(value.to_le_bytes()[0]),
        }
    }
}

impl FieldSpec {
    /// A field whose value is a number that speaks for itself.
    pub(super) const fn number(name: &'static str, hi: u8, lo: u8) -> Self {
        Self {
            name,
            hi,
            lo,
            meaning: Meaning::Number,
        }
    }

    /// A field of one bit, with the words for 0 and for 1.
    pub(super) const fn either(name: &'static str, at: u8, zero: &'static str, one: &'static str) -> Self {
        Self {
            name,
            hi: at,
            lo: at,
            meaning: Meaning::Either(zero, one),
        }
    }

    /// A field of at most 8 bits whose values have names.
    pub(super) const fn named(name: &'static str, hi: u8, lo: u8, words: fn(u8) -> &'static str) -> Self {
        Self {
            name,
            hi,
            lo,
            meaning: Meaning::Named(words),
        }
    }

    /// Bits the architecture reserves as zero.
    pub(super) const fn res0(hi: u8, lo: u8) -> Self {
        Self {
            name: "RES0",
            hi,
            lo,
            meaning: Meaning::Either("reserved", "reserved, yet not zero"),
        }
    }
}
