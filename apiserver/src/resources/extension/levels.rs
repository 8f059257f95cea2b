//! Defaults and validation of priority levels: how many are served at once, and who waits.

use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::value::{at, default as set_default, has, int, set, text, within};

const QUEUES_MAX: i64 = 10_000_000;
/// The bits of the hash that deals hands of queues.
const HASH_BITS: u32 = 60;

/// Fills in the defaults of a `PriorityLevelConfiguration`.
pub(super) fn default(object: &mut Value) {
    within(object, "spec", |spec| {
        within(spec, "exempt", |exempt| {
            set_default(exempt, "nominalConcurrencyShares", 0);
            set_default(exempt, "lendablePercent", 0);
        });
        within(spec, "limited", |limited| {
            set_default(limited, "nominalConcurrencyShares", 30);
            set_default(limited, "lendablePercent", 0);
            within(limited, "limitResponse", |response| {
                within(response, "queuing", |queuing| {
                    for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                        if int(queuing, field).unwrap_or(0) == 0 {
                            set(queuing, field, value);
                        }
                    }
                });
            });
        });
    });
}

/// Checks a `PriorityLevelConfiguration`.
pub(super) fn validate(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let (name, kind) = (text(at(object, "metadata"), "name"), text(spec, "type"));
    if (name == "exempt") != (kind == "Exempt") {
        let detail = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    if name == "catch-all" {
        catch_all(spec, &path, &mut errors);
    }
    let (at_exempt, at_limited) = (path.child("exempt"), path.child("limited"));
    match kind {
        "Exempt" => {
            if has(spec, "limited") {
                let detail = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden(&at_limited, detail));
            }
            shares(at(spec, "exempt"), 0, &at_exempt, &mut errors);
        }
        "Limited" => {
            if has(spec, "exempt") {
                let detail = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden(&at_exempt, detail));
            }
            if has(spec, "limited") {
                limited(at(spec, "limited"), &at_limited, &mut errors);
            } else {
                let detail = "must not be empty when type is Limited";
                errors.push(FieldError::required(&at_limited, detail));
            }
        }
        other => {
            let kinds = ["Exempt", "Limited"];
            errors.push(FieldError::not_supported(&path.child("type"), other, &kinds));
        }
    }
    errors
}

/// The level of last resort is what it is.
fn catch_all(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut fixed = json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}});
    // What it borrows is its own affair.
    let limited = at(spec, "limited");
    if has(limited, "borrowingLimitPercent") {
        fixed["limited"]["borrowingLimitPercent"] = at(limited, "borrowingLimitPercent").clone();
    }
    if *spec != fixed {
        let detail = "spec of 'catch-all' must equal the fixed value";
        errors.push(FieldError::invalid(path, spec.clone(), detail));
    }
}

fn shares(level: &Value, least: i64, path: &Path, errors: &mut Vec<FieldError>) {
    if let Some(shares) = int(level, "nominalConcurrencyShares").filter(|shares| *shares < least) {
        let detail = "must be a non-negative integer";
        errors.push(FieldError::invalid(
            &path.child("nominalConcurrencyShares"),
            shares,
            detail,
        ));
    }
    if let Some(percent) = int(level, "lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        let detail = "must be between 0 and 100, inclusive";
        errors.push(FieldError::invalid(&path.child("lendablePercent"), percent, detail));
    }
}

fn limited(limited: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    shares(limited, 0, path, errors);
    if let Some(percent) = int(limited, "borrowingLimitPercent").filter(|percent| *percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(
            &path.child("borrowingLimitPercent"),
            percent,
            detail,
        ));
    }
    let (response, path) = (at(limited, "limitResponse"), path.child("limitResponse"));
    let (queuing, at_queuing) = (at(response, "queuing"), path.child("queuing"));
    match text(response, "type") {
        "Reject" if !queuing.is_null() => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&at_queuing, detail));
        }
        "Queue" if queuing.is_null() => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&at_queuing, detail));
        }
        "Reject" => {}
        "Queue" => self::queuing(queuing, &at_queuing, errors),
        other => {
            let kinds = ["Queue", "Reject"];
            errors.push(FieldError::not_supported(&path.child("type"), other, &kinds));
        }
    }
}

fn queuing(queuing: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let [length, queues, hand] =
        ["queueLengthLimit", "queues", "handSize"].map(|field| int(queuing, field).unwrap_or(0));
    let mut refuse = |field: &str, value: i64, detail: String| {
        errors.push(FieldError::invalid(&path.child(field), value, detail));
    };
    let positive = || "must be positive".to_owned();
    if length <= 0 {
        refuse("queueLengthLimit", length, positive());
    }
    if queues <= 0 {
        refuse("queues", queues, positive());
    } else if queues > QUEUES_MAX {
        refuse("queues", queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    let bits = required_bits(queues, hand);
    if hand <= 0 {
        refuse("handSize", hand, positive());
    } else if hand > queues {
        refuse(
            "handSize",
            hand,
            format!("should not be greater than queues ({queues})"),
        );
    } else if bits > HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        refuse("handSize", hand, detail);
    }
}

/// How many bits of a hash it takes to deal a hand from a deck, as upstream counts them.
fn required_bits(deck: i64, hand: i64) -> u32 {
    let mut choices: u128 = 1;
    for dealt in 0..hand.clamp(0, deck.max(0)) {
        let left = u128::try_from(deck - dealt).unwrap_or(1);
        let Some(more) = choices.checked_mul(left).filter(|more| *more < 1 << 64) else {
            return u32::MAX;
        };
        choices = more;
    }
    // The logarithm to base two, rounded up.
    u128::BITS - choices.saturating_sub(1).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_level_deals_hands_that_a_hash_can_pick() {
        let level = |name: &str, spec: Value| {
            let mut object = json!({"metadata": {"name": name}, "spec": spec});
            default(&mut object);
            said(&validate(&object))
        };
        let queue = json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}});
        assert_eq!(level("a", queue), Vec::<String>::new());
        let limited = json!({"nominalConcurrencyShares": -1, "lendablePercent": 101, "borrowingLimitPercent": -1, "limitResponse": {"type": "Queue", "queuing": {"queues": 100_000_000, "handSize": 3, "queueLengthLimit": -1}}});
        let at = "spec.limited";
        assert_eq!(
            level("exempt", json!({"type": "Limited", "limited": limited})),
            [
                "spec.type: Invalid value: \"Limited\": type must be 'Exempt' if and only if name is 'exempt'"
                    .to_owned(),
                format!("{at}.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer"),
                format!("{at}.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"),
                format!("{at}.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer"),
                format!("{at}.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive"),
                format!(
                    "{at}.limitResponse.queuing.queues: Invalid value: 100000000: must not be greater than 10000000"
                ),
                format!(
                    "{at}.limitResponse.queuing.handSize: Invalid value: 3: required entropy bits of deckSize 100000000 and handSize 3 should not be greater than 60"
                ),
            ]
        );
        assert_eq!(
            level(
                "exempt",
                json!({"type": "Exempt", "limited": {}, "exempt": {"lendablePercent": 200}})
            ),
            [
                "spec.limited: Forbidden: must be nil if the type is not Limited",
                "spec.exempt.lendablePercent: Invalid value: 200: must be between 0 and 100, inclusive",
            ]
        );
        assert_eq!(required_bits(64, 8), 48);
    }
}
