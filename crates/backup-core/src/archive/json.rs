//! Reader for JSON of objects as the API server returns it: keeps every number as it is written, and reads as
//! deep as the server does.

use serde::de::Deserialize;
use serde_json::{Number, Value};

/// Largest depth of objects that are read; the API server accepts some 900 levels in one. A level costs stack
/// wherever an object is read, compared, copied and written: about 1 KiB of the 8 MiB that a thread of the
/// programs has.
pub const MAX_DEPTH: usize = 1000;

/// Fault in JSON that cannot be read. The parser's message is not repeated, because it quotes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonFlaw {
    /// Line in which the parser stopped.
    pub line: usize,
    /// Column in the line.
    pub column: usize,
    /// Whether the JSON is nested deeper than [`MAX_DEPTH`].
    pub too_deep: bool,
}

/// Reads JSON that may be nested down to [`MAX_DEPTH`]. Parts that `T` keeps as text or skips, such as the
/// items of a list, may be nested deeper.
pub fn read_json<'j, T: Deserialize<'j>>(json: &'j [u8]) -> Result<T, JsonFlaw> {
    let too_deep = is_too_deep(json);
    let mut reader = serde_json::Deserializer::from_slice(json);
    if !too_deep {
        reader.disable_recursion_limit();
    }
    let read = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|e| JsonFlaw {
        line: e.line(),
        column: e.column(),
        too_deep,
    })
}

/// Reports whether JSON is nested deeper than [`MAX_DEPTH`]. Needs no stack.
#[must_use]
pub fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reports whether two values are the same to the API server, which reads `1`, `1.0` and `1e0` as one number.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Reports whether two numbers are the same. The server keeps a number as a 64-bit integer if it is written
/// as one that fits, else as a double.
fn same_number(a: &Number, b: &Number) -> bool {
    if a == b || decimal(&a.to_string()) == decimal(&b.to_string()) {
        return true;
    }
    if a.as_i64().is_some() || b.as_i64().is_some() {
        // The values differ: an integer is exact, and a double never stands for two of them.
        return false;
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => false,
    }
}

/// Returns a number as its sign, its digits without zeros at either end, and the power of ten behind them.
fn decimal(text: &str) -> (bool, String, i64) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (digits, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{part}");
    let kept = digits.trim_end_matches('0');
    let cut = digits.len().saturating_sub(kept.len());
    let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let power: i64 = power.trim_start_matches('+').parse().unwrap_or(i64::MAX);
    let kept = kept.trim_start_matches('0');
    if kept.is_empty() {
        return (false, String::new(), 0);
    }
    let power = power
        .saturating_sub(length(part.len()))
        .saturating_add(length(cut));
    (negative, kept.to_owned(), power)
}

/// Writes a number to a serializer of another format than JSON, such as YAML.
///
/// # Errors
/// If the format has no number of that value: it has 64-bit integers and doubles.
pub fn serialize_number<S: serde::Serializer>(
    number: &Number,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if let Some(number) = number.as_i64() {
        return serializer.serialize_i64(number);
    }
    if let Some(number) = number.as_u64() {
        return serializer.serialize_u64(number);
    }
    let float = number.as_f64().filter(|float| {
        let shortest = Number::from_f64(*float).map(|n| n.to_string());
        shortest.is_some_and(|text| decimal(&text) == decimal(&number.to_string()))
    });
    match float {
        Some(float) => serializer.serialize_f64(float),
        None => Err(serde::ser::Error::custom(
            "a number has more digits than a double holds; JSON shows it as it is",
        )),
    }
}

#[cfg(test)]
#[path = "json/tests.rs"]
mod tests;
