//! Structures in little-endian byte order, written field by field: those of ACPI and UEFI.

/// The bytes of a structure so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LittleEndian(Vec<u8>);

impl LittleEndian {
    /// An empty structure that is going to have so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Fields that are zero, or reserved, up to this offset.
    pub(crate) fn zeros_to(mut self, offset: usize) -> Self {
        self.0.resize(offset, 0);
        self
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Reads a field of up to 8 bytes back.
#[cfg(test)]
pub(crate) fn field(bytes: &[u8], offset: usize, len: usize) -> u64 {
    let mut value = [0; 8];
    value[..len].copy_from_slice(&bytes[offset..offset + len]);
    u64::from_le_bytes(value)
}
