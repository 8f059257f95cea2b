//! `top`: what nodes and pods use, as metrics.k8s.io tells it.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;
use timonel_api::quantity::Quantity;

use crate::args::Selectors;
use crate::error::Failure;
use crate::output::table::Layout;
use crate::session::{Session, encode, query};

const API: &str = "/apis/metrics.k8s.io/v1beta1";
const UNKNOWN: &str = "<unknown>";
/// What stands above the sums.
const LINE: &str = "________";

/// What is to be shown.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Top {
    /// What nodes use, and how much of what they have
    #[command(visible_aliases = ["nodes", "no"])]
    Node(TopNode),
    /// What pods use
    #[command(visible_aliases = ["pods", "po"])]
    Pod(TopPod),
}

/// Flags of both.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// One name
    name: Option<String>,
    #[command(flatten)]
    selectors: Selectors,
    /// Largest first: cpu or memory
    #[arg(long, default_value = "", hide_default_value = true)]
    sort_by: String,
    /// No header
    #[arg(long)]
    no_headers: bool,
    /// Taken for kubectl's sake: JSON is spoken in any case
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    use_protocol_buffers: Option<bool>,
}

/// `top node`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct TopNode {
    #[command(flatten)]
    common: Common,
    /// Percentages of what nodes have, not of what they have left for pods
    #[arg(long)]
    show_capacity: bool,
}

/// `top pod`'s flags.
#[derive(Clone, Debug, Args)]
pub(crate) struct TopPod {
    #[command(flatten)]
    common: Common,
    /// Of every namespace
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// A line for each container
    #[arg(long)]
    containers: bool,
    /// What all of them use together, at the end
    #[arg(long)]
    sum: bool,
}

/// What something uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    nanos: i128,
    bytes: i64,
}

impl Used {
    fn of(usage: &Value) -> Self {
        let read = |name: &str| usage[name].as_str().and_then(|text| Quantity::parse(text).ok());
        Self {
            nanos: read("cpu").map_or(0, |quantity| quantity.nanos()),
            bytes: read("memory").map_or(0, |quantity| quantity.value()),
        }
    }

    fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            nanos: sum.nanos + one.nanos,
            bytes: sum.bytes.saturating_add(one.bytes),
        })
    }

    /// Thousandths of a core, rounded up.
    fn millis(self) -> i128 {
        (self.nanos + 999_999) / 1_000_000
    }

    fn cells(self) -> [String; 2] {
        [format!("{}m", self.millis()), format!("{}Mi", self.bytes / (1 << 20))]
    }
}

fn percent(of: i128, available: i128) -> String {
    if available == 0 {
        return "0%".to_owned();
    }
    format!("{}%", of * 100 / available)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or("")
}

/// Puts the largest first, or goes by name.
fn sort<T>(items: &mut [T], by: &str, used: impl Fn(&T) -> Used, name: impl Fn(&T) -> String) {
    items.sort_by(|a, b| {
        let (x, y) = (used(a), used(b));
        match by {
            "cpu" => y.nanos.cmp(&x.nanos).then_with(|| name(a).cmp(&name(b))),
            "memory" => y.bytes.cmp(&x.bytes).then_with(|| name(a).cmp(&name(b))),
            _ => name(a).cmp(&name(b)),
        }
    });
}

/// kubectl pads the last cell too: an empty one behind it does that.
fn print(rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let padded = |mut row: Vec<String>| {
        row.push(String::new());
        row
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(padded).collect();
    Layout::default().write(&mut std::io::stdout().lock(), &rows)?;
    Ok(())
}

impl Common {
    fn check(&self) -> Result<(), Failure> {
        if !matches!(self.sort_by.as_str(), "" | "cpu" | "memory") {
            return Err(Failure::usage("--sort-by accepts only cpu or memory"));
        }
        let selects = self.selectors.selector.is_some() || self.selectors.field_selector.is_some();
        if self.name.is_some() && selects {
            return Err(Failure::usage("only one of NAME or selector can be provided"));
        }
        Ok(())
    }

    /// The metrics that are meant.
    async fn metrics(&self, session: &Session, place: &str) -> Result<Vec<Value>, Failure> {
        let groups = session.get("/apis").await?;
        let mut served = groups["groups"].as_array().into_iter().flatten();
        if !served.any(|group| group["name"] == "metrics.k8s.io") {
            return Err(Failure::usage("Metrics API not available"));
        }
        if let Some(name) = &self.name {
            return Ok(vec![session.get(&format!("{API}/{place}/{}", encode(name))).await?]);
        }
        let selectors = query(&[
            ("labelSelector", self.selectors.selector.as_deref()),
            ("fieldSelector", self.selectors.field_selector.as_deref()),
        ]);
        let mut list = session.get(&format!("{API}/{place}{selectors}")).await?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }
}

impl Top {
    /// Carries the command out.
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Node(node) => node.run(session).await,
            Self::Pod(pod) => pod.run(session).await,
        }
    }
}

impl TopNode {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        self.common.check()?;
        let mut metrics = self.common.metrics(session, "nodes").await?;
        if metrics.is_empty() {
            return Err(Failure::usage("metrics not available yet"));
        }
        let nodes = match &self.common.name {
            Some(name) => vec![session.get(&format!("/api/v1/nodes/{}", encode(name))).await?],
            None => {
                let selector = query(&[("labelSelector", self.common.selectors.selector.as_deref())]);
                let mut list = session.get(&format!("/api/v1/nodes{selector}")).await?;
                list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
            }
        };
        let part = if self.show_capacity { "capacity" } else { "allocatable" };
        let mut available: BTreeMap<String, Used> = nodes
            .iter()
            .map(|node| (text(node, "name").to_owned(), Used::of(&node["status"][part])))
            .collect();
        let used = |metrics: &Value| Used::of(&metrics["usage"]);
        sort(&mut metrics, &self.common.sort_by, used, |one| {
            text(one, "name").to_owned()
        });
        let mut rows = Vec::new();
        if !self.common.no_headers {
            rows.push(
                ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
                    .map(str::to_owned)
                    .to_vec(),
            );
        }
        for one in &metrics {
            let name = text(one, "name").to_owned();
            let used = used(one);
            let [cpu, memory] = used.cells();
            let of = available.remove(&name).unwrap_or_default();
            let (cpu_share, memory_share) = (
                percent(used.millis(), of.millis()),
                percent(used.bytes.into(), of.bytes.into()),
            );
            rows.push(vec![name, cpu, cpu_share, memory, memory_share]);
        }
        // Those that could not be asked.
        for name in available.into_keys() {
            let mut row = vec![name];
            row.extend(std::iter::repeat_n(UNKNOWN.to_owned(), 4));
            rows.push(row);
        }
        print(rows)
    }
}

/// What each container of a pod uses, by name.
fn containers(pod: &Value) -> Vec<(String, Used)> {
    let all = pod["containers"].as_array().into_iter().flatten();
    all.map(|one| (one["name"].as_str().unwrap_or("").to_owned(), Used::of(&one["usage"])))
        .collect()
}

fn of_pod(pod: &Value) -> Used {
    Used::sum(containers(pod).into_iter().map(|(_, used)| used))
}

impl TopPod {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        self.common.check()?;
        if self.common.name.is_some() && self.all_namespaces {
            return Err(Failure::usage(
                "a resource cannot be retrieved by name across all namespaces",
            ));
        }
        let place = if self.all_namespaces {
            "pods".to_owned()
        } else {
            format!("namespaces/{}/pods", encode(&session.namespace))
        };
        let metrics = self.common.metrics(session, &place).await?;
        if metrics.is_empty() {
            return self.nothing(session, &place).await;
        }
        print(self.rows(metrics))
    }

    /// Nothing is measured: because there is nothing, or not yet.
    async fn nothing(&self, session: &Session, place: &str) -> Result<(), Failure> {
        let selectors = query(&[
            ("labelSelector", self.common.selectors.selector.as_deref()),
            ("fieldSelector", self.common.selectors.field_selector.as_deref()),
        ]);
        let pods = session.get(&format!("/api/v1/{place}{selectors}")).await?;
        if pods["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
            return Err(Failure::usage("metrics not available yet"));
        }
        if self.all_namespaces {
            eprintln!("No resources found");
        } else {
            eprintln!("No resources found in {} namespace.", session.namespace);
        }
        Ok(())
    }

    fn rows(&self, mut pods: Vec<Value>) -> Vec<Vec<String>> {
        let by = self.common.sort_by.as_str();
        let full_name = |pod: &Value| match self.all_namespaces {
            true => format!("{}/{}", text(pod, "namespace"), text(pod, "name")),
            false => text(pod, "name").to_owned(),
        };
        sort(&mut pods, by, of_pod, full_name);
        let mut before: Vec<&str> = Vec::new();
        if self.all_namespaces {
            before.push("NAMESPACE");
        }
        if self.containers {
            before.push("POD");
        }
        let mut rows = Vec::new();
        let mut width = 3;
        if !self.common.no_headers {
            width += before.len();
            let header = before.iter().chain(&["NAME", "CPU(cores)", "MEMORY(bytes)"]);
            rows.push(header.map(|name| (*name).to_owned()).collect());
        }
        for pod in &pods {
            let mut lead = Vec::new();
            if self.all_namespaces {
                lead.push(text(pod, "namespace").to_owned());
            }
            lead.push(text(pod, "name").to_owned());
            if !self.containers {
                rows.push(lead.into_iter().chain(of_pod(pod).cells()).collect());
                continue;
            }
            let mut containers = containers(pod);
            sort(&mut containers, by, |(_, used)| *used, |(name, _)| name.clone());
            for (name, used) in containers {
                rows.push(lead.iter().cloned().chain([name]).chain(used.cells()).collect());
            }
        }
        if self.sum {
            let nothing = || std::iter::repeat_n(String::new(), width - 2);
            rows.push(nothing().chain([LINE.to_owned(), LINE.to_owned()]).collect());
            rows.push(nothing().chain(Used::sum(pods.iter().map(of_pod)).cells()).collect());
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn top(flags: &[&str]) -> TopPod {
        use clap::Parser as _;
        let words = ["timonctl", "top", "pod"].iter().chain(flags);
        match crate::args::Cli::parse_from(words).command {
            crate::args::Command::Top(Top::Pod(top)) => top,
            other => panic!("{other:?}"),
        }
    }

    fn pods() -> Vec<Value> {
        let pod = |name: &str, cpu: &str, memory: &str| {
            json!({"metadata": {"namespace": "default", "name": name}, "containers": [
                {"name": "side", "usage": {"cpu": "1n", "memory": "1Mi"}},
                {"name": "main", "usage": {"cpu": cpu, "memory": memory}}]})
        };
        vec![pod("b", "250m", "10Mi"), pod("a", "1500000n", "20480Ki")]
    }

    fn lines(flags: &[&str]) -> Vec<String> {
        top(flags).rows(pods()).iter().map(|row| row.join("|")).collect()
    }

    #[test]
    fn pods_are_summed_up_and_sorted_as_kubectl_does_it() {
        assert_eq!(
            lines(&[]),
            ["NAME|CPU(cores)|MEMORY(bytes)", "a|2m|21Mi", "b|251m|11Mi"]
        );
        assert_eq!(lines(&["--no-headers", "--sort-by=cpu"]), ["b|251m|11Mi", "a|2m|21Mi"]);
        assert_eq!(
            lines(&["-A", "--containers", "--no-headers", "--sort-by=memory"])[..2],
            ["default|a|main|2m|20Mi", "default|a|side|1m|1Mi"]
        );
        assert_eq!(lines(&["--sum"])[3..], ["|________|________", "|252m|32Mi"]);
    }
}
