//! `extenders`: who is asked beside the plugins.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonel_api::field::{FieldError, Path};
use timonel_api::names;

use super::read::{Errors, Object};
use crate::extender::{Pem, Settings, Tls};

/// How long an extender may take that does not say so itself, as upstream.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the configuration says of extenders.
#[derive(Debug, Default)]
pub(super) struct Extenders {
    /// Those that must not be left out come first, as upstream.
    pub(super) settings: Vec<Settings>,
    /// Resources that extenders look after: NodeResourcesFit leaves them out.
    pub(super) ignored: Vec<String>,
}

/// Reads `extenders`.
pub(super) fn read(document: &mut Object, errors: &mut Errors) -> Extenders {
    let path = document.at("extenders");
    let mut all = Extenders::default();
    let mut managed = BTreeSet::new();
    for mut object in document.objects("extenders", errors) {
        let settings = extender(&mut object, &mut managed, &mut all.ignored, errors);
        object.finish(errors);
        all.settings.push(settings);
    }
    let binders = all.settings.iter().filter(|one| !one.bind_verb.is_empty()).count();
    if binders > 1 {
        let value = format!("found {binders} extenders implementing bind");
        errors.wrong(FieldError::invalid(
            &path,
            value,
            "only one extender can implement bind",
        ));
    }
    all.settings.sort_by_key(|settings| settings.ignorable);
    all
}

fn extender(
    object: &mut Object,
    managed: &mut BTreeSet<String>,
    ignored: &mut Vec<String>,
    errors: &mut Errors,
) -> Settings {
    let mut text = |name: &str| object.text(name, errors).unwrap_or_default();
    let mut settings = Settings {
        url_prefix: text("urlPrefix"),
        filter_verb: text("filterVerb"),
        preempt_verb: text("preemptVerb"),
        prioritize_verb: text("prioritizeVerb"),
        bind_verb: text("bindVerb"),
        ..Settings::default()
    };
    check_url(&object.at("urlPrefix"), &settings.url_prefix, errors);
    settings.weight = object.number("weight", errors).unwrap_or(0);
    if !settings.prioritize_verb.is_empty() && settings.weight <= 0 {
        let detail = "must have a positive weight applied to it";
        errors.wrong(FieldError::invalid(&object.at("weight"), settings.weight, detail));
    }
    let mut flag = |name: &str| object.flag(name, errors).unwrap_or(false);
    settings.enable_https = flag("enableHTTPS");
    settings.node_cache_capable = flag("nodeCacheCapable");
    settings.ignorable = flag("ignorable");
    settings.timeout = timeout(object, errors);
    if let Some(mut tls) = object.object("tlsConfig", errors) {
        settings.tls = self::tls(&mut tls, errors);
        tls.finish(errors);
    }
    for mut resource in object.objects("managedResources", errors) {
        let path = resource.at("name");
        let name = resource.text("name", errors).unwrap_or_default();
        check_resource(&path, &name, errors);
        if !managed.insert(name.clone()) {
            let detail = "duplicate extender managed resource name";
            errors.wrong(FieldError::invalid(&path, name.clone(), detail));
        }
        if resource.flag("ignoredByScheduler", errors) == Some(true) {
            ignored.push(name.clone());
        }
        resource.finish(errors);
        settings.managed_resources.insert(name);
    }
    settings
}

/// A URL that cannot be called is refused at once; upstream finds out with every pod.
fn check_url(path: &Path, url: &str, errors: &mut Errors) {
    let parsed: Option<http::Uri> = url.parse().ok();
    let whole = |url: &http::Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    if !parsed.as_ref().is_some_and(whole) {
        errors.wrong(FieldError::invalid(path, url, "must be an http or https URL"));
    }
}

/// Checks the name of an extended resource, with upstream's words.
fn check_resource(path: &Path, name: &str, errors: &mut Errors) {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        for detail in wrong {
            errors.wrong(FieldError::invalid(path, name, detail));
        }
        return;
    }
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    let quota = format!("requests.{name}");
    if native || name.starts_with("requests.") || !names::qualified_name(&quota).is_empty() {
        errors.wrong(FieldError::invalid(path, name, "is an invalid extended resource name"));
    }
}

fn timeout(object: &mut Object, errors: &mut Errors) -> Duration {
    let Some(text) = object.text("httpTimeout", errors) else {
        return TIMEOUT;
    };
    match go_duration(&text) {
        Some(Duration::ZERO) => TIMEOUT,
        Some(timeout) => timeout,
        None => {
            errors.wrong(FieldError::invalid(
                &object.at("httpTimeout"),
                text,
                "must be a duration as \"5s\" or \"1m30s\"",
            ));
            TIMEOUT
        }
    }
}

/// Reads a duration as Go writes it: numbers with units, one after another.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let end = after
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = next;
    }
    (!text.is_empty()).then_some(sum)
}

fn tls(object: &mut Object, errors: &mut Errors) -> Tls {
    Tls {
        insecure: object.flag("insecure", errors).unwrap_or(false),
        server_name: object.text("serverName", errors).filter(|name| !name.is_empty()),
        cert: pem(object, "certFile", "certData", errors),
        key: pem(object, "keyFile", "keyData", errors),
        ca: pem(object, "caFile", "caData", errors),
    }
}

fn pem(object: &mut Object, file: &str, data: &str, errors: &mut Errors) -> Pem {
    let named = object.text(file, errors).filter(|path| !path.is_empty());
    let inline = object.text(data, errors).filter(|text| !text.is_empty());
    let decoded = inline.map(|text| STANDARD.decode(text.trim()));
    if matches!(decoded, Some(Err(_))) {
        // What stands there may be a key: it is not repeated.
        errors.wrong(FieldError::invalid(&object.at(data), "(hidden)", "must be base64"));
    }
    Pem {
        data: decoded.and_then(Result::ok),
        file: named.map(PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let read = |text: &str| go_duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("5s"), Some(5000));
        assert_eq!(read("1m30s"), Some(90_000));
        assert_eq!(read("1.5s"), Some(1500));
        assert_eq!(read("100ms"), Some(100));
        assert_eq!(read("0"), Some(0));
        for wrong in ["", "5", "s", "-1s", "5 s", "1d"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
