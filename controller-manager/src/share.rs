//! Numbers that may be given as a share of another: `25%`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Resolves a number or percentage of `of`, rounding up or down.
#[expect(clippy::cast_possible_truncation, reason = "a share of an i32")]
pub(crate) fn resolve(value: &IntOrString, of: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: f64 = text.trim_end_matches('%').parse().unwrap_or(0.0);
            let share = percent * f64::from(of) / 100.0;
            if up { share.ceil() as i32 } else { share.floor() as i32 }
        }
    }
}
