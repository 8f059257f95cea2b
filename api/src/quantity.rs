//! Quantities: `500m`, `1.5Gi`, `12e6` (`k8s.io/apimachinery/pkg/api/resource`).
//!
//! A quantity is kept as a whole number of *nanos* (billionths) in an `i128`, with the format that it prints in. Upstream falls back
//! to arbitrary precision; an `i128` of nanos reaches 1.7·10²⁹, a hundred billion times the largest suffix. Beyond that we saturate.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;

/// Nanos in a whole unit.
const UNIT: i128 = 1_000_000_000;
/// The largest binary quantity: upstream caps those, and only those, at the largest `int64`.
const BINARY_CAP: i128 = i64::MAX as i128 * UNIT;

/// How a quantity prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not have the shape of a quantity.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number before the suffix is no number.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An amount of a resource. Two quantities are equal when their amounts are, however they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// Makes a quantity of whole units.
    pub fn from_units(units: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(units) * UNIT,
            format,
        }
    }

    /// Makes a quantity of thousandths.
    pub fn from_millis(millis: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(millis) * (UNIT / 1000),
            format,
        }
    }

    /// Reads a quantity with upstream's grammar.
    ///
    /// # Errors
    /// Says which part of the text is wrong, in upstream's words.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let parts = split(text)?;
        let (base, exponent, mut format) = suffix(parts.suffix).ok_or(QuantityError::Suffix)?;
        // Upstream reads no digits at all as nothing, unless it needs more than its quick path for them.
        let quick = if base == 2 { exponent <= 40 } else { exponent >= -9 };
        if parts.whole.is_empty() && parts.fraction.is_empty() && !quick {
            return Err(QuantityError::Numeric);
        }
        let mut nanos = magnitude(parts.whole, parts.fraction, base, exponent);
        if format == Format::BinarySi {
            nanos = nanos.min(BINARY_CAP);
            if nanos > 0 && nanos < UNIT {
                format = Format::DecimalSi;
            }
        }
        Ok(Self {
            nanos: if parts.negative { -nanos } else { nanos },
            format,
        })
    }

    /// Reads a quantity off a typed object; what cannot be read counts as nothing (validation has refused it before).
    pub fn lenient(wire: &Wire) -> Self {
        Self::parse(&wire.0).unwrap_or_default()
    }

    /// The format in which it prints.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the amount is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Less than, equal to or more than nothing: -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// The amount in billionths, exactly.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// The amount in thousandths, rounded away from zero, as upstream's `MilliValue`; saturates.
    pub fn millis(&self) -> i64 {
        saturate(round_away(self.nanos, UNIT / 1000))
    }

    /// The amount in whole units, rounded away from zero, as upstream's `Value`; saturates.
    pub fn value(&self) -> i64 {
        saturate(round_away(self.nanos, UNIT))
    }

    /// The amount as a floating-point number of units.
    #[expect(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / UNIT as f64
    }

    /// The canonical text, as a typed API object holds it.
    pub fn to_wire(&self) -> Wire {
        Wire(self.to_string())
    }

    /// Multiplies by a whole number; saturates.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Self {
            nanos: self.nanos.saturating_mul(i128::from(factor)),
            format: self.format,
        }
    }
}

/// Rewrites a quantity as upstream stores it: `1000m` becomes `1`, `1024Mi` becomes `1Gi`.
///
/// Upstream keeps some texts that are not quite canonical (`+5`, `1e+3`, `1.250`), to save the work of printing them; so do we, for
/// clients compare what they sent with what they get.
///
/// # Errors
/// As [`Quantity::parse`].
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    let text = text.trim();
    let quantity = Quantity::parse(text)?;
    Ok(if is_kept(text) {
        text.to_owned()
    } else {
        quantity.to_string()
    })
}

/// Whether upstream keeps a text as it is.
fn is_kept(text: &str) -> bool {
    let Ok(parts) = split(text) else { return false };
    let Some((_, exponent, format)) = suffix(parts.suffix) else {
        return false;
    };
    let whole = parts.whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let (digits, places) = (whole.len() + parts.fraction.len(), parts.fraction.len());
    if format == Format::BinarySi {
        // What of 15 digits the factor leaves.
        let factor = usize::try_from(exponent * 3 / 10).unwrap_or(usize::MAX);
        let fits = places == 0 && digits.saturating_add(factor) <= 14;
        return fits && whole.parse::<u64>().is_ok_and(|value| value & 7 != 0);
    }
    let scale = exponent.saturating_sub(i64::try_from(places).unwrap_or(i64::MAX));
    let zeros = [whole, parts.fraction].concat().ends_with("000");
    digits <= 18 && scale >= -9 && scale % 3 == 0 && !zeros && !whole.starts_with('0')
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Splits a text into sign, digits, fraction and suffix.
fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(digits(after)),
        None => ("", rest),
    };
    let letters = rest.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let mut end = letters;
    if matches!(rest.as_bytes().get(end), Some(b'-' | b'+')) {
        end += 1;
    }
    end += digits(&rest[end..]);
    if end != rest.len() {
        return Err(QuantityError::Format);
    }
    Ok(Parts {
        negative,
        whole,
        fraction,
        suffix: rest,
    })
}

/// What a suffix means: base, exponent and format.
fn suffix(text: &str) -> Option<(u32, i64, Format)> {
    let binary = |exponent| Some((2, exponent, Format::BinarySi));
    let decimal = |exponent| Some((10, exponent, Format::DecimalSi));
    match text {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => text
            .strip_prefix(['e', 'E'])
            .and_then(|exponent| exponent.parse().ok())
            .map(|exponent| (10, exponent, Format::DecimalExponent)),
    }
}

/// The amount in nanos, rounded up to the next nano, saturating.
fn magnitude(whole: &str, fraction: &str, base: u32, exponent: i64) -> i128 {
    match base {
        2 => binary(whole, fraction, exponent),
        _ => decimal(whole, fraction, exponent),
    }
}

/// `whole.fraction · 10^exponent`: the point moves within the digits, and what is behind the ninth place rounds up.
fn decimal(whole: &str, fraction: &str, exponent: i64) -> i128 {
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    // How many digits stand before the point when the unit is the nano.
    let before = exponent.saturating_add(9).saturating_sub(places).saturating_add(length);
    let Ok(before) = usize::try_from(before) else { return 1 };
    if before > 39 {
        return i128::MAX;
    }
    let (head, tail) = digits.split_at(before.min(digits.len()));
    let zeros = "0".repeat(before - head.len());
    let nanos = format!("0{head}{zeros}").parse().unwrap_or(i128::MAX);
    nanos.saturating_add(i128::from(tail.bytes().any(|digit| digit != b'0')))
}

/// `whole.fraction · 2^exponent`, by long multiplication from the last digit on.
fn binary(whole: &str, fraction: &str, exponent: i64) -> i128 {
    let whole = whole.trim_start_matches('0');
    let factor = u32::try_from(exponent)
        .ok()
        .and_then(|exponent| 1i128.checked_shl(exponent));
    let (Some(factor), Ok(units)) = (factor, format!("0{whole}").parse::<i64>()) else {
        return i128::MAX;
    };
    let nanos = i128::from(units).saturating_mul(factor).saturating_mul(UNIT);
    let (mut below, mut rest) = (0, false);
    for digit in fraction.bytes().rev() {
        let sum = i128::from(digit - b'0') * factor * UNIT + below;
        rest |= sum % 10 != 0;
        below = sum / 10;
    }
    nanos.saturating_add(below + i128::from(rest))
}

fn round_away(value: i128, unit: i128) -> i128 {
    let whole = value / unit;
    if value % unit == 0 {
        whole
    } else {
        whole + value.signum()
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % UNIT == 0;
        let small = self.nanos.unsigned_abs() < 1024 * UNIT.unsigned_abs();
        if self.format == Format::BinarySi && whole && !small {
            let mut number = self.nanos / UNIT;
            let mut step = 0;
            while step < 6 && number % 1024 == 0 {
                number /= 1024;
                step += 1;
            }
            return write!(f, "{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        // The largest power of a thousand that divides the amount; 18 is the last that has a letter.
        let last = if self.format == Format::DecimalExponent { 27 } else { 18 };
        let (mut number, mut exponent) = (self.nanos, -9);
        while exponent < last && number % 1000 == 0 {
            number /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return match exponent {
                0 => write!(f, "{number}"),
                _ => write!(f, "{number}e{exponent}"),
            };
        }
        let letter = match exponent {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            18 => "E",
            _ => "",
        };
        write!(f, "{number}{letter}")
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl AddAssign for Quantity {
    /// Adds; nothing takes the format of what is added to it, as upstream has it.
    fn add_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_sub(other.nanos);
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |sum, quantity| sum + quantity)
    }
}

#[cfg(test)]
mod tests;
