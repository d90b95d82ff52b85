//! Variable-length integers: LEB128, and zigzag for signed ones.

/// Appends `value`, 7 bits a byte, lowest first; all but the last byte have the top bit set.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a signed `value`: 0, -1, 1, -2 … become 0, 1, 2, 3 …
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Cursor that takes bytes and integers off the front of `0`; each call returns `None` if too few bytes are
/// left.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// Returns the next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// Returns the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// Returns the next unsigned integer; `None` also if it has more than 64 bits.
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Returns the next integer as a size or count.
    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// Returns the next signed integer.
    pub fn signed(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(a: u64, b: i64) {
            let mut out = Vec::new();
            put(&mut out, a);
            put_signed(&mut out, b);
            let mut cursor = Cursor(&out);
            prop_assert_eq!(cursor.varint(), Some(a));
            prop_assert_eq!(cursor.signed(), Some(b));
            prop_assert!(cursor.0.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_without_panic(bytes: Vec<u8>) {
            let mut cursor = Cursor(&bytes);
            while cursor.varint().is_some() {}
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert_eq!(Cursor(&[0xff; 11]).varint(), None);
        assert_eq!(Cursor(&[0x80]).varint(), None);
    }
}
