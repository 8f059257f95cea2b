use proptest::prelude::*;

use super::*;

#[test]
fn canonical_text_is_upstreams() {
    for (text, expected) in [
        ("0", "0"),
        ("0Ki", "0"),
        ("-0", "0"),
        ("100", "100"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("1500", "1500"),
        ("1000", "1k"),
        ("100000", "100k"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1023Ki", "1023Ki"),
        ("100Mi", "100Mi"),
        ("1Ki", "1Ki"),
        (".5Mi", "512Ki"),
        ("0.001Ki", "1024m"),
        ("1.1Ki", "1126400m"),
        ("8Ei", "9223372036854775807"),
        ("1e3", "1e3"),
        ("12e4", "120e3"),
        ("1E-4", "100e-6"),
        ("0.000000001", "1n"),
        ("0.0000000001", "1n"),
        ("-0.1n", "-1n"),
        ("+5", "+5"),
        ("1e+3", "1e+3"),
        ("1.250", "1.250"),
        ("0.250", "250m"),
        ("1.250Gi", "1280Mi"),
        ("-0.250", "-250m"),
        ("007", "007"),
        ("-1.5", "-1500m"),
        ("1000E", "1000E"),
        ("0.1E", "100P"),
        ("5E", "5E"),
        ("46576.492M", "46576.492M"),
        ("46576.49M", "46576490k"),
        ("10000000000000000000Ki", "9223372036854775807"),
        (".0000000000000000001T", "100n"),
        ("0.00000000000000000001Ei", "11529216n"),
        ("n", "0"),
        ("-", "0"),
    ] {
        assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_named_in_upstreams_words() {
    for (text, error) in [
        ("", QuantityError::Format),
        ("1.1.M", QuantityError::Format),
        ("1+1.0M", QuantityError::Format),
        ("0.1mi", QuantityError::Suffix),
        ("0.1am", QuantityError::Format),
        ("aoeu", QuantityError::Format),
        (".5i", QuantityError::Suffix),
        ("1i", QuantityError::Suffix),
        ("-3.01i", QuantityError::Suffix),
        ("-3.01e-", QuantityError::Suffix),
        ("1 Gi", QuantityError::Format),
        ("1ki", QuantityError::Suffix),
        ("10Gib", QuantityError::Format),
        ("１", QuantityError::Format),
        ("e-10", QuantityError::Numeric),
        ("Ei", QuantityError::Numeric),
    ] {
        assert_eq!(Quantity::parse(text), Err(error), "{text}");
    }
}

#[test]
fn rounds_away_from_zero_when_asked_for_units() {
    let q = |text: &str| Quantity::parse(text).unwrap();
    assert_eq!(q("100m").value(), 1);
    assert_eq!(q("-100m").value(), -1);
    assert_eq!(q("1u").millis(), 1);
    assert_eq!(q("1.5").millis(), 1500);
    assert_eq!(q("2Gi").value(), 2 << 30);
    assert_eq!(q("1e30").value(), i64::MAX);
    assert_eq!((q("1Gi") + q("1G")).to_string(), "2073741824");
    assert_eq!((Quantity::ZERO + q("1Gi")).to_string(), "1Gi");
    assert_eq!((q("1") - q("1500m")).to_string(), "-500m");
    assert!(q("1024Mi") == q("1Gi") && q("1M") < q("1Mi"));
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "[-+]?[0-9.]{0,50}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,25}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn canonical_text_keeps_the_amount(nanos in -(1i128 << 90)..(1i128 << 90), format in 0..3) {
        let format = [Format::BinarySi, Format::DecimalSi, Format::DecimalExponent][usize::try_from(format).unwrap()];
        if format == Format::BinarySi && nanos.abs() > BINARY_CAP {
            return Ok(());
        }
        let quantity = Quantity { nanos, format };
        let text = quantity.to_string();
        let read = Quantity::parse(&text).unwrap();
        prop_assert_eq!(read, quantity);
        prop_assert_eq!(read.to_string(), text);
    }
}
