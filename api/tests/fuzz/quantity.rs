//! Quantities against arithmetic without bounds.

use num_bigint::BigInt;
use proptest::prelude::*;
use timonel_api::decode;
use timonel_api::facts::schema_by_name;
use timonel_api::quantity::{Quantity, canonical};

use crate::input::cases;

/// What a text says, in billionths rounded away from zero; `None` where it is no quantity. Written from upstream's grammar.
fn model(text: &str) -> Option<BigInt> {
    if text.is_empty() {
        return None;
    }
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, suffix) = rest.split_at(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') {
        return None;
    }
    let (base, exponent): (u32, i64) = match suffix {
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "" => (10, 0),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => (10, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // No digits at all are nothing, as far as upstream's quick path reaches.
    if whole.is_empty() && fraction.is_empty() && (base == 2 && exponent > 40 || base == 10 && exponent < -9) {
        return None;
    }
    let digits: BigInt = format!("0{whole}{fraction}").parse().ok()?;
    let power = |base: u32, exponent: i64| BigInt::from(base).pow(u32::try_from(exponent).unwrap());
    // digits · base^exponent · 10^9 / 10^places
    let down = i64::try_from(fraction.len()).unwrap() - 9 - if base == 10 { exponent } else { 0 };
    let mut amount = digits;
    if base == 2 {
        amount *= power(2, exponent);
    }
    if down < 0 {
        amount *= power(10, -down);
    } else {
        let divisor = power(10, down);
        amount = (amount + &divisor - 1) / divisor;
    }
    if base == 2 {
        amount = amount.min(BigInt::from(i64::MAX) * 1_000_000_000);
    }
    Some(if negative { -amount } else { amount })
}

/// As [`model`], within what our quantities reach.
fn bounded(text: &str) -> Option<BigInt> {
    let most = BigInt::from(i128::MAX);
    model(text).map(|amount| amount.clamp(-most.clone(), most))
}

fn text() -> impl Strategy<Value = String> {
    let number = prop_oneof!["[0-9]{0,4}", "[0-9]{0,25}", "0{0,3}[1-9]0{0,30}"];
    let fraction = prop_oneof![
        Just(String::new()),
        "\\.[0-9]{0,4}",
        "\\.[0-9]{0,40}",
        "\\.0{0,20}[0-9]{0,3}"
    ];
    let suffix = prop_oneof![
        "(n|u|m||k|M|G|T|P|E)",
        "(Ki|Mi|Gi|Ti|Pi|Ei)",
        "[eE][-+]?[0-9]{1,2}",
        "[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,2}"
    ];
    (prop_oneof![Just(""), Just("-"), Just("+")], number, fraction, suffix)
        .prop_map(|(sign, number, fraction, suffix)| format!("{sign}{number}{fraction}{suffix}"))
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn a_quantity_is_what_it_says(text in text()) {
        let ours = Quantity::parse(&text).ok().map(|quantity| BigInt::from(quantity.nanos()));
        prop_assert_eq!(ours, bounded(&text));
    }

    #[test]
    fn the_canonical_form_says_the_same(text in text()) {
        let Ok(quantity) = Quantity::parse(&text) else { return Ok(()) };
        let printed = quantity.to_string();
        prop_assert_eq!(Quantity::parse(&printed).map(|again| again.nanos()), Ok(quantity.nanos()), "{}", printed);
        prop_assert_eq!(Quantity::parse(&printed).map(|again| again.to_string()), Ok(printed.clone()));
        let stored = canonical(&text).unwrap();
        prop_assert_eq!(Quantity::parse(&stored).map(|again| again.nanos()), Ok(quantity.nanos()), "{}", stored);
        prop_assert_eq!(canonical(&stored), Ok(stored.clone()));
    }

    #[test]
    fn quantities_compare_and_add_as_numbers_do(a in text(), b in text()) {
        let (Ok(x), Ok(y)) = (Quantity::parse(&a), Quantity::parse(&b)) else { return Ok(()) };
        let (p, q) = (bounded(&a).unwrap(), bounded(&b).unwrap());
        prop_assert_eq!(x.cmp(&y), p.cmp(&q));
        let most = BigInt::from(i128::MAX);
        let clamp = |sum: BigInt| sum.clamp(BigInt::from(i128::MIN), most.clone());
        prop_assert_eq!(BigInt::from((x + y).nanos()), clamp(&p + &q));
        prop_assert_eq!(BigInt::from((x - y).nanos()), clamp(&p - &q));
        let up = |unit: i64| {
            let sign = if p < BigInt::ZERO { -1 } else { 1 };
            let whole: BigInt = (&p * sign + unit - 1) / unit * sign;
            whole.clamp(i64::MIN.into(), i64::MAX.into())
        };
        prop_assert_eq!(BigInt::from(x.value()), up(1_000_000_000));
        prop_assert_eq!(BigInt::from(x.millis()), up(1_000_000));
    }

    #[test]
    fn decoding_takes_what_parsing_takes(text in prop_oneof![text(), "[0-9a-zEKMG+-. ]{0,6}", any::<String>()]) {
        let schema = schema_by_name("io.k8s.api.core.v1.EmptyDirVolumeSource").unwrap();
        let checked = decode::types(schema, &serde_json::json!({"sizeLimit": text}));
        let parsed = Quantity::parse(text.trim());
        prop_assert_eq!(checked.map_err(|error| error.to_string()), parsed.map(drop).map_err(|error| error.to_string()));
    }
}
