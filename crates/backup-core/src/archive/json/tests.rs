use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Formats a double as the API server does: the fewest digits, and an exponent for large and small ones.
pub(crate) fn as_the_server_writes(float: f64) -> String {
    let plain = format!("{float}");
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        let (digits, power) = text.split_once('e').unwrap();
        return match power.strip_prefix('-') {
            Some(power) => format!("{digits}e-{power:0>2}"),
            None => format!("{digits}e+{power}"),
        };
    }
    plain
}

fn nested(levels: usize) -> Vec<u8> {
    let mut text = "{\"a\":".repeat(levels);
    text.push('1');
    text.push_str(&"}".repeat(levels));
    text.into_bytes()
}

proptest! {
    #[test]
    fn every_double_comes_back_as_it_was_written(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let text = format!("{{\"n\":{}}}", as_the_server_writes(float));
        let value: Value = read_json(text.as_bytes()).unwrap();
        prop_assert_eq!(value.to_string(), text.clone());
        prop_assert_eq!(value["n"].as_f64().unwrap().to_bits(), bits);
        let made = json!({ "n": float });
        prop_assert!(same(&value, &made));
    }

    #[test]
    fn every_integer_comes_back_as_it_was_written(digits in "-?[1-9][0-9]{0,40}") {
        let value: Value = read_json(digits.as_bytes()).unwrap();
        prop_assert_eq!(value.to_string(), digits);
    }

    #[test]
    fn two_integers_are_the_same_only_if_they_are(a in any::<i64>(), b in any::<i64>()) {
        prop_assert_eq!(same(&json!(a), &json!(b)), a == b);
        prop_assert_eq!(same(&json!(a), &json!(a.wrapping_add(1))), false);
    }
}

#[test]
fn numbers_are_the_same_as_the_server_sees_them() {
    let read = |text: &str| read_json::<Value>(text.as_bytes()).unwrap();
    for (a, b, is) in [
        ("1", "1.0", true),
        ("100", "1e2", true),
        ("0", "0.0", true),
        ("-1.50", "-1.5", true),
        ("100000000000000000000", "1e+20", true),
        ("1e+21", "1e21", true),
        // The server reads both as the same double.
        ("12345678901234567890", "12345678901234567000", true),
        ("0.1000000000000000055", "0.1", true),
        ("0.40581938396535333", "0.4058193839653534", false),
        ("9007199254740993", "9007199254740992", false),
        ("9007199254740993", "9007199254740992.0", false),
        ("1", "-1", false),
        ("1", "\"1\"", false),
    ] {
        assert_eq!(same(&read(a), &read(b)), is, "{a} and {b}");
    }
    assert_eq!(
        read("[1, 1.0, 1e+400, -0.0]").to_string(),
        "[1,1.0,1e+400,-0.0]"
    );
}

#[test]
fn what_the_server_takes_is_read_and_no_deeper() {
    // The stack of a test's thread has a fourth of the size of a program's.
    let value: Value = read_json(&nested(MAX_DEPTH)).unwrap();
    assert!(same(&value, &value.clone()));
    assert_eq!(value.to_string().into_bytes(), nested(MAX_DEPTH));
    let flaw = read_json::<Value>(&nested(MAX_DEPTH + 1)).unwrap_err();
    assert!(flaw.too_deep);
    // A list of texts needs no more levels than a thread can hold.
    let deep = nested(100 * MAX_DEPTH);
    let list = [&b"["[..], &deep, b"]"].concat();
    let items: Vec<&serde_json::value::RawValue> = read_json(&list).unwrap();
    assert_eq!(items[0].get().as_bytes(), deep);
    assert!(read_json::<Vec<Value>>(&list).unwrap_err().too_deep);
    // Brackets in a text are not levels.
    let text = format!("\"\\\"{}\"", "[{".repeat(MAX_DEPTH));
    assert!(!is_too_deep(text.as_bytes()));
}
