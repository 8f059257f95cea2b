//! Taints and what tolerates them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether one toleration tolerates a taint: an empty effect or key means any, `Exists` any value.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let any_or = |wanted: Option<&str>, actual: &str| wanted.is_none_or(|wanted| wanted.is_empty() || wanted == actual);
    if !any_or(toleration.effect.as_deref(), &taint.effect) || !any_or(toleration.key.as_deref(), &taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        "Exists" => true,
        _ => false,
    }
}

/// Finds the first taint with one of these effects that nothing tolerates.
pub fn find_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_effect_key_and_value() {
        let taint = Taint {
            key: "k".into(),
            value: Some("v".into()),
            effect: "NoExecute".into(),
            time_added: None,
        };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            effect: Some(effect.into()),
            toleration_seconds: None,
        };
        for (t, expected) in [
            (toleration("k", "Equal", "v", "NoExecute"), true),
            (toleration("k", "", "v", ""), true),
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Exists", "", "NoSchedule"), false),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("j", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerates(&t, &taint), expected, "{t:?}");
        }
        let taints = [taint];
        assert!(find_untolerated(&taints, &[], &["NoSchedule"]).is_none());
        assert!(find_untolerated(&taints, &[], &["NoExecute"]).is_some());
    }
}
