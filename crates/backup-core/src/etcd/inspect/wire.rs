//! Reader of the protobuf fields of a message in order, without a copy; as strict as etcd's own decoder.

use prost::encoding::{WireType, decode_key, decode_varint};

/// Content of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no message of etcd has.
    Fixed,
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) | Self::Fixed => None,
        }
    }

    pub(super) fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Bytes(_) | Self::Fixed => None,
        }
    }
}

/// Takes the next field off the front of a message that has bytes left; `None` if the message is damaged.
pub(super) fn next<'a>(message: &mut &'a [u8]) -> Option<(u32, Field<'a>)> {
    let (tag, kind) = decode_key(message).ok()?;
    let fixed = match kind {
        WireType::Varint => return Some((tag, Field::Number(decode_varint(message).ok()?))),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(message).ok()?).ok()?;
            let (bytes, rest) = message.split_at_checked(length)?;
            *message = rest;
            return Some((tag, Field::Bytes(bytes)));
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    *message = message.get(fixed..)?;
    Some((tag, Field::Fixed))
}

/// Passes each field of a message to `take`, which returns whether the message may have that field. Returns
/// whether all are allowed, and the message ends after the last.
pub(super) fn all<'a>(mut message: &'a [u8], mut take: impl FnMut(u32, Field<'a>) -> bool) -> bool {
    while !message.is_empty() {
        match next(&mut message) {
            Some((tag, field)) if take(tag, field) => {}
            _ => return false,
        }
    }
    true
}
