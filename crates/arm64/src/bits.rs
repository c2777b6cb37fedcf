//! Bit fields of register values: the only place where this crate shifts and masks.

/// Reads bits `hi..=lo` of `word`, moved down to bit 0.
pub(super) const fn bits(word: u64, hi: u8, lo: u8) -> u64 {
    (word >> lo) & mask(hi, lo)
}

/// Reads bits `hi..=lo` of `word`, a field of at most 8 bits.
pub(super) const fn bits_u8(word: u64, hi: u8, lo: u8) -> u8 {
    bits(word, hi, lo).to_le_bytes()[0]
}

/// Reads bits `hi..=lo` of `word`, a field of at most 32 bits.
pub(super) const fn bits_u32(word: u64, hi: u8, lo: u8) -> u32 {
    let [a, b, c, d, ..] = bits(word, hi, lo).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Reads bit `at` of `word`.
pub(super) const fn bit(word: u64, at: u8) -> bool {
    bits(word, at, at) == 1
}

/// Replaces bits `hi..=lo` of `word` by `value`; bits of `value` beyond the field's width are dropped.
pub(super) const fn with_bits(word: u64, hi: u8, lo: u8, value: u64) -> u64 {
    (word & !(mask(hi, lo) << lo)) | ((value & mask(hi, lo)) << lo)
}

/// Replaces bit `at` of `word`.
pub(super) const fn with_bit(word: u64, at: u8, value: bool) -> u64 {
    with_bits(word, at, at, value as u64)
}

const fn mask(hi: u8, lo: u8) -> u64 {
    u64::MAX >> (63 - (hi - lo))
}

#[cfg(test)]
mod tests {
    use super::{bit, bits, bits_u8, bits_u32, with_bit, with_bits};

    #[test]
    fn a_field_is_read_where_it_stands() {
        assert_eq!(bits(0xfedc_ba98_7654_3210, 63, 0), 0xfedc_ba98_7654_3210);
        assert_eq!(bits(0xfedc_ba98_7654_3210, 11, 4), 0x21);
        assert_eq!(bits_u8(0x1800, 12, 11), 0b11);
        assert_eq!(bits_u32(0xff00_0000_0000_0000, 63, 56), 0xff);
        assert!(bit(1 << 63, 63));
        assert!(!bit(!(1 << 63), 63));
    }

    #[test]
    fn writing_a_field_leaves_its_neighbours_alone() {
        for hi in 0..64 {
            for lo in 0..=hi {
                let cleared = with_bits(u64::MAX, hi, lo, 0);
                assert_eq!(bits(cleared, hi, lo), 0);
                assert_eq!(with_bits(cleared, hi, lo, u64::MAX), u64::MAX);
                assert_eq!(cleared.count_ones(), 63 - u32::from(hi - lo));
            }
            assert_eq!(with_bit(0, hi, true), 1 << hi);
        }
    }
}
