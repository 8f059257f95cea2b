//! Random walks through specs, after Acto (SOSP'23): whichever way a spec came about, the pods and the status are the same; and going
//! back to the first spec comes back to its state.

use serde_json::{Value, json};
use timonel_client::{Rng, SeededRng};
use timonel_tests::sim::Component;
use timonel_tests::sim::perturb;
use timonel_tests::sim::script::Script;
use timonel_tests::sim::tap::Tap;

/// How many steps a walk has.
const STEPS: usize = 4;

fn first(kind: &str) -> Value {
    let container =
        json!({"name": "c", "image": "app:1", "readinessProbe": {"httpGet": {"port": 80}, "periodSeconds": 1}});
    let mut object = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "walker"}, "spec": {
        "selector": {"matchLabels": {"app": "walker"}},
        "template": {"metadata": {"labels": {"app": "walker"}},
                     "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}}});
    match kind {
        "Deployment" => object["spec"]["replicas"] = json!(2),
        "StatefulSet" => {
            object["spec"]["replicas"] = json!(2);
            object["spec"]["serviceName"] = json!("walker");
        }
        _ => {}
    }
    object
}

/// Changes one thing of a spec, as the dice say. Whatever a change does not mention stays.
fn step(kind: &str, object: &mut Value, dice: u64) {
    let (which, value) = (dice % 5, dice / 5);
    let spec = &mut object["spec"];
    match (kind, which) {
        (_, 0) => spec["template"]["spec"]["containers"][0]["image"] = json!(format!("app:{}", value % 3 + 1)),
        (_, 1) => spec["template"]["metadata"]["labels"]["turn"] = json!((value % 3).to_string()),
        ("DaemonSet", 2) => {
            spec["updateStrategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value % 3 + 1, "maxSurge": 0}})
        }
        (_, 2) => spec["replicas"] = json!(value % 5),
        ("Deployment", 3) => {
            spec["strategy"] = [
                json!({"type": "Recreate", "rollingUpdate": null}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "50%"}}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}),
            ][usize::try_from(value % 3).expect("small")]
            .clone()
        }
        ("Deployment", _) => spec["minReadySeconds"] = json!(value % 4),
        (_, 3) => spec["minReadySeconds"] = json!(value % 4),
        _ => spec["template"]["spec"]["terminationGracePeriodSeconds"] = json!(value % 3 + 1),
    }
}

/// What must be the same: the pods, and what the status counts.
fn essence(end: &[String]) -> Vec<String> {
    let objects = end.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut lines: Vec<String> = objects
        .filter_map(|object| {
            if object["kind"] == "Pod" {
                return Some(format!("{} {}", object["spec"], object["status"]["phase"]));
            }
            if object["metadata"]["name"] != "walker" {
                return None;
            }
            let status = object["status"].as_object()?;
            let counts = status
                .iter()
                .filter(|(_, value)| value.as_u64().is_some_and(|count| count > 0));
            Some(counts.map(|(name, count)| format!("{name}={count} ")).collect())
        })
        .collect();
    lines.sort();
    lines
}

fn walked(kind: &str, path: &[Value]) -> Vec<String> {
    let name = kind.to_lowercase();
    let mut script = format!("apply\n  {}\nsettle 8s\n", path[0]);
    for spec in &path[1..] {
        script.push_str(&format!(
            "patch {name}/walker {}\nsettle 8s\n",
            json!({"spec": spec["spec"]})
        ));
    }
    let life = perturb::play(3, &Script::parse(&script), Component::Controllers, &Tap::new(), None);
    essence(&life.unwrap_or_else(|violation| panic!("{violation}\n{script}")).end)
}

fn walk(kind: &str, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let rng = SeededRng::new(seed);
        let mut path = vec![first(kind)];
        for _ in 0..STEPS {
            let mut next = path.last().cloned().expect("a spec");
            step(kind, &mut next, rng.next_u64());
            path.push(next);
        }
        let last = path.last().cloned().expect("a spec");
        perturb::same(&walked(kind, &[last]), &walked(kind, &path))
            .unwrap_or_else(|violation| panic!("{kind} {seed}: two ways, two ends: {violation}\n{path:#?}"));
        // The way back; a merge patch forgets nothing, so what the first spec leaves to defaults must be said.
        let mut back = path.clone();
        back.reverse();
        path.extend(back.into_iter().skip(1));
        let home = path.last().cloned().expect("a spec");
        let mut home_said = home.clone();
        home_said["spec"]["minReadySeconds"] = json!(0);
        home_said["spec"]["template"]["metadata"]["labels"]["turn"] = Value::Null;
        path.push(home_said);
        perturb::same(&walked(kind, &[home]), &walked(kind, &path))
            .unwrap_or_else(|violation| panic!("{kind} {seed}: there and back: {violation}\n{path:#?}"));
    }
}

#[test]
fn a_deployment_ends_the_same_whichever_way_its_spec_came_about() {
    walk("Deployment", 0..3);
}

#[test]
fn a_stateful_set_ends_the_same_whichever_way_its_spec_came_about() {
    walk("StatefulSet", 0..3);
}

#[test]
fn a_daemon_set_ends_the_same_whichever_way_its_spec_came_about() {
    walk("DaemonSet", 0..3);
}
