//! Reads a kubelet's `/metrics/resource`: Prometheus' text form, of which four families matter.

use std::collections::BTreeMap;

use jiff::Timestamp;
use timonel_api::ObjectKey;

use super::samples::{Batch, Point};

/// What was read of one thing so far.
#[derive(Clone, Copy, Debug, Default)]
struct Partial {
    started: Option<Timestamp>,
    at: Option<Timestamp>,
    cpu_nanos: Option<u64>,
    memory: Option<u64>,
}

impl Partial {
    /// A memory of zero was not measured: whatever runs has some.
    fn whole(self, asked: Timestamp) -> Option<Point> {
        Some(Point {
            started: self.started,
            at: self.at.unwrap_or(asked),
            cpu_nanos: self.cpu_nanos?,
            memory: self.memory.filter(|memory| *memory > 0)?,
        })
    }
}

/// A line: `name{label="value",...} value [milliseconds]`.
struct Line<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, String>,
    value: &'a str,
    at: Option<Timestamp>,
}

/// Adds what a node told. A pod of which a container was measured in part is left out as a whole, as metrics-server does it.
pub(super) fn read(text: &str, node: &str, asked: Timestamp, batch: &mut Batch) {
    let mut machine = Partial::default();
    let mut pods: BTreeMap<ObjectKey, BTreeMap<String, Partial>> = BTreeMap::new();
    for line in text.lines().filter_map(line) {
        let subject = match line.name {
            "node_cpu_usage_seconds_total" | "node_memory_working_set_bytes" => &mut machine,
            "container_cpu_usage_seconds_total"
            | "container_memory_working_set_bytes"
            | "container_start_time_seconds" => {
                let label = |name: &str| line.labels.get(name).cloned().unwrap_or_default();
                let pod = ObjectKey::new(label("namespace"), label("pod"));
                pods.entry(pod).or_default().entry(label("container")).or_default()
            }
            _ => continue,
        };
        match line.name {
            "container_start_time_seconds" => subject.started = nanos(line.value).and_then(time),
            "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => {
                subject.cpu_nanos = nanos(line.value);
                subject.at = line.at;
            }
            _ => subject.memory = bytes(line.value),
        }
    }
    batch
        .nodes
        .extend(machine.whole(asked).map(|point| (node.to_owned(), point)));
    for (pod, containers) in pods {
        let whole: Option<BTreeMap<String, Point>> = containers
            .into_iter()
            .map(|(name, partial)| Some((name, partial.whole(asked)?)))
            .collect();
        batch.pods.extend(whole.map(|containers| (pod, containers)));
    }
}

fn time(nanos: u64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanos)).ok()
}

/// A number that Go wrote with an exponent, times `scale`; precise to what a float holds.
fn rounded(text: &str, scale: f64) -> Option<u64> {
    let number: f64 = text.parse().ok()?;
    let scaled = number * scale;
    // Both ends are exact floats; a number that is none is outside.
    if !(0.0..9.0e18).contains(&scaled) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let whole = scaled as u64;
    Some(whole)
}

/// Seconds in thousand millionths, exactly where they are written out.
fn nanos(text: &str) -> Option<u64> {
    if text.contains(['e', 'E']) {
        return rounded(text, 1e9);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    whole.checked_mul(1_000_000_000)?.checked_add(digits.parse().ok()?)
}

fn bytes(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| rounded(text, 1.0))
}

fn line(text: &str) -> Option<Line<'_>> {
    if text.starts_with('#') {
        return None;
    }
    let end = text.find(['{', ' '])?;
    let (name, rest) = text.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = words.next()?;
    let at = words
        .next()
        .and_then(|millis| Timestamp::from_millisecond(millis.parse().ok()?).ok());
    Some(Line {
        name,
        labels,
        value,
        at,
    })
}

/// Reads labels up to the closing brace; answers what follows it, too.
fn labels(mut rest: &str) -> Option<(BTreeMap<&str, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, value) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (_, other) => text.push(other),
            }
        };
        labels.insert(name, text);
        rest = &value[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn a_kubelets_words_become_points() {
        let text = r#"# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="web",namespace="default",pod="web-0"} 4.710169 1633253812125
container_cpu_usage_seconds_total{container="half",namespace="default",pod="half-0"} 1 1633253812125
container_memory_working_set_bytes{container="web",namespace="default",pod="web-0"} 1.253376e+07 1633253812125
container_start_time_seconds{container="web",namespace="default",pod="web-0"} 1.63325380912e+09
node_cpu_usage_seconds_total 357.354918 1633253809720
node_memory_working_set_bytes 64433102848 1633253809720
pod_cpu_usage_seconds_total{namespace="default",pod="web-0"} 4.67 1633253803935
scrape_error 0
"#;
        let mut batch = Batch::default();
        read(text, "n", at(7), &mut batch);
        let node = batch.nodes["n"];
        assert_eq!((node.cpu_nanos, node.memory), (357_354_918_000, 64_433_102_848));
        assert_eq!(node.at, at(1_633_253_809_720));
        let [(key, containers)] = batch.pods.iter().collect::<Vec<_>>()[..] else {
            panic!("{batch:?}")
        };
        assert_eq!(key.to_string(), "default/web-0");
        let web = containers["web"];
        assert_eq!((web.cpu_nanos, web.memory), (4_710_169_000, 12_533_760));
        assert_eq!(web.started, Some(at(1_633_253_809_120)));
    }

    #[test]
    fn nonsense_is_passed_over() {
        let mut batch = Batch::default();
        for text in [
            "",
            "{",
            "node_cpu_usage_seconds_total",
            "node_cpu_usage_seconds_total{a=\"",
            "node_cpu_usage_seconds_total -1\nnode_memory_working_set_bytes NaN",
            "node_cpu_usage_seconds_total 1e300\nnode_memory_working_set_bytes 1e-300",
            "container_cpu_usage_seconds_total{pod=\"\\",
            "node_cpu_usage_seconds_total 99999999999999999999\nnode_memory_working_set_bytes 1",
            "é{é=\"é\"} é é",
        ] {
            read(text, "n", at(0), &mut batch);
        }
        assert!(batch.nodes.is_empty() && batch.pods.is_empty(), "{batch:?}");
    }
}
