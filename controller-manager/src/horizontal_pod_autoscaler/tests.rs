use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::SignedDuration;
use serde_json::{Value, json};
use timonel_client::law::settles_within;

use super::normalize::Recommendation;
use super::observe::{PodValue, PodValues, Reading, Scale, Settings};
use super::plan::shown;
use super::replicas::{Patience, Tolerances};
use super::*;

/// Seconds since an hour after the beginning.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(3600).unwrap() + SignedDuration::from_secs(seconds)
}

/// An autoscaler's world, built step by step.
struct World {
    observed: Observed,
    values: PodValues,
    next: usize,
}

fn cpu(percent: i32) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// An autoscaler between 1 and 10 that wants 50 % of the requested CPU, and a target of so many replicas.
fn world(replicas: i32) -> World {
    let autoscaler = json!({
        "metadata": {"name": "web", "namespace": "default", "generation": 3},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 10, "metrics": [cpu(50)],
        },
    });
    World {
        observed: Observed {
            autoscaler: Arc::new(serde_json::from_value(autoscaler).unwrap()),
            scale: Ok(Scale {
                path: "/scale".to_owned(),
                object: json!({"spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=web"}}),
            }),
            pods: Vec::new(),
            rivals: vec!["default/web".to_owned()],
            readings: Vec::new(),
            memory: Memory::default(),
            settings: Settings {
                period: Duration::from_secs(15),
                stabilization: Duration::from_secs(300),
                patience: Patience {
                    cpu_initialization: Duration::from_secs(300),
                    initial_readiness: Duration::from_secs(30),
                },
                tolerances: Tolerances { down: 0.1, up: 0.1 },
            },
        },
        values: PodValues::new(),
        next: 0,
    }
}

/// A pod of one container that requests 100m.
fn pod(name: &str, phase: &str, ready: bool, started: i64, changed: i64) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {
            "phase": phase,
            "startTime": at(started).to_string(),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": at(changed).to_string()}],
        },
    })
}

impl World {
    fn pod(mut self, pod: Value, millis: Option<i64>) -> Self {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let name = pod.metadata.name.clone().unwrap();
        self.values.extend(millis.map(|value| {
            let value = PodValue {
                value,
                at: at(0),
                window: Duration::from_secs(15),
            };
            (name, value)
        }));
        self.observed.pods.push(Arc::new(pod));
        self
    }

    /// Pods that have run for long and use so much each.
    fn using(mut self, each: &[i64]) -> Self {
        for millis in each {
            self.next += 1;
            let name = format!("web-{}", self.next);
            self = self.pod(pod(&name, "Running", true, -3000, -2990), Some(*millis));
        }
        self
    }

    /// A pod that has run for long and of which nothing is known.
    fn missing(self) -> Self {
        self.pod(pod("missing", "Running", true, -3000, -2990), None)
    }

    fn spec(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut object = serde_json::to_value(&*self.observed.autoscaler).unwrap();
        change(&mut object["spec"]);
        self.observed.autoscaler = Arc::new(serde_json::from_value(object).unwrap());
        self
    }

    fn remembers(mut self, recommendations: &[(i32, i64)]) -> Self {
        self.observed.memory.recommendations = recommendations
            .iter()
            .map(|(replicas, seconds)| Recommendation {
                replicas: *replicas,
                at: at(*seconds),
            })
            .collect();
        self
    }

    fn reads(mut self, reading: Result<Reading, &str>) -> Self {
        self.observed.readings.push(reading.map_err(str::to_owned));
        self
    }

    fn observed(mut self) -> Observed {
        if self.observed.readings.is_empty() {
            self.observed.readings.push(Ok(Reading::Pods(self.values)));
        }
        self.observed
    }
}

fn status_lines(status: &k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerStatus) -> Vec<String> {
    let mut lines = vec![format!(
        "  current {} desired {}{}",
        status.current_replicas.unwrap_or_default(),
        status.desired_replicas,
        if status.last_scale_time.is_some() {
            " scaled now"
        } else {
            ""
        }
    )];
    for metric in status.current_metrics.iter().flatten() {
        lines.push(format!("  metric {}", serde_json::to_string(metric).unwrap()));
    }
    for condition in status.conditions.iter().flatten() {
        lines.push(format!(
            "  {} {} {}: {}",
            condition.type_,
            condition.status,
            condition.reason.as_deref().unwrap_or_default(),
            condition.message.as_deref().unwrap_or_default()
        ));
    }
    lines
}

fn tell(observed: &Observed) -> String {
    let mut lines = Vec::new();
    for action in plan(observed, at(0)).actions {
        match action {
            Action::Say { kind, reason, message } => lines.push(format!("{} {reason}: {message}", kind.as_str())),
            Action::Rescale(rescale) => {
                lines.push(format!("rescale to {}: {}", rescale.to, rescale.reason));
                lines.extend(status_lines(&rescale.done.0));
            }
            Action::SetStatus(status) => {
                lines.push("status".to_owned());
                lines.extend(status_lines(&status));
            }
            Action::Remember(_) => {}
        }
    }
    lines.join("\n") + "\n"
}

#[track_caller]
fn check(world: World, expected: Expect) {
    expected.assert_eq(&tell(&world.observed()));
}

/// Only the size that is chosen, and why.
#[track_caller]
fn size(world: World, expected: Option<(i32, &str)>) {
    let observed = world.observed();
    let found = plan(&observed, at(0))
        .actions
        .into_iter()
        .find_map(|action| match action {
            Action::Rescale(rescale) => Some((rescale.to, rescale.reason)),
            _ => None,
        });
    assert_eq!(
        found.as_ref().map(|(to, reason)| (*to, reason.as_str())),
        expected,
        "{}",
        tell(&observed)
    );
}

const UP: &str = "cpu resource utilization (percentage of request) above target";
const DOWN: &str = "All metrics below target";

#[test]
fn scales_up_to_what_the_usage_asks_for() {
    check(
        world(2).using(&[100, 80]),
        expect![[r#"
        rescale to 4: cpu resource utilization (percentage of request) above target
          current 2 desired 4 scaled now
          metric {"resource":{"current":{"averageUtilization":90,"averageValue":"90m"},"name":"cpu"},"type":"Resource"}
          AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 4
          ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
    "#]],
    );
}

#[test]
fn does_nothing_within_the_tolerance() {
    size(world(2).using(&[55, 55]), None);
    size(world(2).using(&[45, 45]), None);
    size(world(2).using(&[56, 56]), Some((3, UP)));
}

#[test]
fn a_behaviours_own_tolerance_counts() {
    let tolerant = |world: World| {
        world.spec(|spec| spec["behavior"] = json!({"scaleUp": {"tolerance": "500m"}, "scaleDown": {"tolerance": "0"}}))
    };
    size(tolerant(world(2).using(&[75, 75])), None);
    size(tolerant(world(2).using(&[80, 80])), Some((4, UP)));
    size(
        tolerant(world(4).using(&[24, 24, 24, 24])).remembers(&[(4, -301)]),
        Some((2, DOWN)),
    );
}

#[test]
fn never_more_than_twice_as_many_at_once_nor_more_than_allowed() {
    size(world(3).using(&[500, 500, 500]), Some((6, UP)));
    size(world(1).using(&[900]), Some((4, UP)));
    size(world(8).using(&[100; 8]), Some((10, UP)));
    check(
        world(10).using(&[100; 10]),
        expect![[r#"
        status
          current 10 desired 10
          metric {"resource":{"current":{"averageUtilization":100,"averageValue":"100m"},"name":"cpu"},"type":"Resource"}
          AbleToScale True ReadyForNewScale: recommended size matches current size
          ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited True TooManyReplicas: the desired replica count is more than the maximum replica count
    "#]],
    );
}

#[test]
fn scales_down_only_to_the_highest_recent_recommendation() {
    size(world(4).using(&[10; 4]), None);
    size(world(4).using(&[10; 4]).remembers(&[(4, -301)]), Some((1, DOWN)));
    size(
        world(4).using(&[10; 4]).remembers(&[(3, -200), (4, -301)]),
        Some((3, DOWN)),
    );
    check(
        world(4).using(&[10; 4]).remembers(&[(4, -300)]),
        expect![[r#"
        status
          current 4 desired 4
          metric {"resource":{"current":{"averageUtilization":10,"averageValue":"10m"},"name":"cpu"},"type":"Resource"}
          AbleToScale True ScaleDownStabilized: recent recommendations were higher than current one, applying the highest recent recommendation
          ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
    "#]],
    );
}

#[test]
fn bounds_come_before_metrics() {
    check(
        world(12).using(&[10; 12]),
        expect![[r#"
        rescale to 10: Current number of replicas above Spec.MaxReplicas
          current 12 desired 10 scaled now
          AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 10
    "#]],
    );
    let at_least_three = |world: World| world.spec(|spec| spec["minReplicas"] = json!(3));
    check(
        at_least_three(world(2).using(&[100, 100])),
        expect![[r#"
        rescale to 3: Current number of replicas below Spec.MinReplicas
          current 2 desired 3 scaled now
          AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 3
    "#]],
    );
}

#[test]
fn nothing_is_scaled_that_somebody_has_scaled_to_zero() {
    check(
        world(0),
        expect![[r#"
        status
          current 0 desired 0
          AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive False ScalingDisabled: scaling is disabled since the replica count of the target is zero
    "#]],
    );
}

#[test]
fn pods_without_metrics_are_taken_to_use_what_keeps_the_scaling_careful() {
    // 2 of 3 use 100 %: 4; the third may use nothing: 200 / 300 = 66 %, 1.32 x 3.
    size(world(3).using(&[100, 100]).missing(), Some((4, UP)));
    // 2 of 3 use 10 %; the third may use all that it requested.
    size(world(3).using(&[10, 10]).missing().remembers(&[(1, -10)]), None);
    size(world(3).using(&[1, 1]).missing().remembers(&[(1, -10)]), None);
    size(
        world(4).using(&[1, 1, 1]).missing().remembers(&[(1, -10)]),
        Some((2, DOWN)),
    );
}

#[test]
fn unready_pods_count_as_using_nothing_when_there_is_too_little() {
    let starting = pod("starting", "Running", false, -100, -100);
    size(
        world(3).using(&[100, 100]).pod(starting.clone(), Some(900)),
        Some((4, UP)),
    );
    size(world(3).using(&[60, 60]).pod(starting, Some(900)), None);
    let pending = pod("pending", "Pending", false, -100, -100);
    size(world(3).using(&[100, 100]).pod(pending, None), Some((4, UP)));
}

#[test]
fn what_a_pod_uses_while_it_starts_says_little() {
    // Ready for less than a window.
    let just_ready = pod("just", "Running", true, -60, -10);
    size(world(2).using(&[50]).pod(just_ready, Some(900)), None);
    // Ready for a whole window.
    let ready = pod("ready", "Running", true, -60, -20);
    size(world(2).using(&[50]).pod(ready, Some(90)), Some((3, UP)));
    // Unready for long, but it was ready once.
    let once = pod("once", "Running", false, -600, -500);
    size(world(2).using(&[50]).pod(once, Some(90)), Some((3, UP)));
    // Unready since its start.
    let never = pod("never", "Running", false, -600, -590);
    size(world(2).using(&[50]).pod(never, Some(90)), None);
}

#[test]
fn pods_that_are_going_or_have_failed_are_passed_over() {
    let mut going = pod("going", "Running", true, -3000, -2990);
    going["metadata"]["deletionTimestamp"] = json!(at(0).to_string());
    let failed = pod("failed", "Failed", false, -3000, -2990);
    size(
        world(2).using(&[50, 50]).pod(going, Some(900)).pod(failed, Some(900)),
        None,
    );
}

#[test]
fn a_container_without_a_request_is_named() {
    let mut bare = pod("bare", "Running", true, -3000, -2990);
    bare["spec"]["containers"][0]["resources"] = json!({});
    check(
        world(1).pod(bare, Some(50)),
        expect![[r#"
        Warning FailedGetResourceMetric: failed to get cpu utilization: missing request for cpu in container web of Pod bare
        Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: missing request for cpu in container web of Pod bare
        status
          current 1 desired 0
          AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: missing request for cpu in container web of Pod bare
    "#]],
    );
}

#[test]
fn an_api_that_is_not_there_is_named() {
    let error = "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
    check(
        world(1).using(&[50]).reads(Err(error)),
        expect![[r#"
        Warning FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        status
          current 1 desired 0
          AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
    "#]],
    );
}

#[test]
fn no_target_is_told_too() {
    let mut lost = world(1);
    lost.observed.scale = Err("deployments.apps \"web\" not found".to_owned());
    check(
        lost,
        expect![[r#"
        Warning FailedGetScale: deployments.apps "web" not found
        status
          current 0 desired 0
          AbleToScale False FailedGetScale: the HPA controller was unable to get the target's current scale: deployments.apps "web" not found
    "#]],
    );
}

#[test]
fn two_autoscalers_of_the_same_pods_are_one_too_many() {
    let mut ambiguous = world(1).using(&[100]);
    ambiguous.observed.rivals.insert(0, "default/other".to_owned());
    check(
        ambiguous,
        expect![[r#"
        Warning AmbiguousSelector: pods by selector app=web are controlled by multiple HPAs: [default/other default/web]
        Warning FailedComputeMetricsReplicas: pods by selector app=web are controlled by multiple HPAs: [default/other default/web]
        status
          current 1 desired 0
          AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive False AmbiguousSelector: pods by selector app=web are controlled by multiple HPAs: [default/other default/web]
    "#]],
    );
    let mut nobody = world(1).using(&[100]);
    nobody.observed.scale = Ok(Scale {
        path: "/scale".to_owned(),
        object: json!({"spec": {"replicas": 1}, "status": {"replicas": 1}}),
    });
    check(
        nobody,
        expect![[r#"
        Warning SelectorRequired: selector is required
        Warning FailedComputeMetricsReplicas: selector is required
        status
          current 1 desired 0
          AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive False InvalidSelector: the HPA target's scale is missing a selector
    "#]],
    );
}

#[test]
fn the_most_that_any_metric_asks_for_is_done() {
    let both = |world: World| {
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "100Mi"}}});
        world.spec(|spec| spec["metrics"] = json!([cpu(50), memory]))
    };
    let mebibytes = |count: i64| count * (1 << 20) * 1000;
    let reading = |value: i64| {
        let value = PodValue {
            value,
            at: at(0),
            window: Duration::from_secs(15),
        };
        let both = ["web-1", "web-2"].map(|pod| (pod.to_owned(), value));
        Ok(Reading::Pods(PodValues::from(both)))
    };
    check(
        both(world(2).using(&[60, 60]))
            .reads(reading(60))
            .reads(reading(mebibytes(200))),
        expect![[r#"
            rescale to 4: memory resource above target
              current 2 desired 4 scaled now
              metric {"resource":{"current":{"averageUtilization":60,"averageValue":"60m"},"name":"cpu"},"type":"Resource"}
              metric {"resource":{"current":{"averageValue":"209715200"},"name":"memory"},"type":"Resource"}
              AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 4
              ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from memory resource
              ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
        "#]],
    );
    // One that cannot be read does not hinder the other from asking for more ...
    size(
        both(world(2).using(&[60, 60]))
            .reads(Err("nobody knows"))
            .reads(reading(mebibytes(150))),
        Some((3, "memory resource above target")),
    );
    // ... but from asking for less.
    check(
        both(world(2).using(&[60, 60]))
            .reads(Err("nobody knows"))
            .reads(reading(mebibytes(10))),
        expect![[r#"
            Warning FailedGetResourceMetric: failed to get cpu utilization: nobody knows
            Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 2), first error is: failed to get cpu resource metric value: failed to get cpu utilization: nobody knows
            status
              current 2 desired 0
              metric {"resource":{"current":{"averageValue":"10485760"},"name":"memory"},"type":"Resource"}
              AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
              ScalingActive False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: nobody knows
        "#]],
    );
}

#[test]
fn one_container_may_be_what_counts() {
    let metric = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "web",
        "target": {"type": "Utilization", "averageUtilization": 50}}});
    check(
        world(1).using(&[100]).spec(|spec| spec["metrics"] = json!([metric])),
        expect![[r#"
            rescale to 2: cpu resource utilization (percentage of request) above target
              current 1 desired 2 scaled now
              metric {"containerResource":{"container":"web","current":{"averageUtilization":100,"averageValue":"100m"},"name":"cpu"},"type":"ContainerResource"}
              AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 2
              ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
              ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
        "#]],
    );
}

#[test]
fn metrics_of_pods_of_objects_and_from_outside() {
    let metrics = json!([
        {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
        {"type": "Object", "object": {"metric": {"name": "depth"}, "describedObject": {"kind": "Service", "name": "web", "apiVersion": "v1"},
            "target": {"type": "Value", "value": "5"}}},
        {"type": "External", "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"q": "a"}}},
            "target": {"type": "AverageValue", "averageValue": "3"}}},
    ]);
    let value = PodValue {
        value: 12_000,
        at: at(0),
        window: Duration::from_secs(60),
    };
    let of_pods = PodValues::from([("web-1".to_owned(), value), ("web-2".to_owned(), value)]);
    check(
        world(2)
            .using(&[0, 0])
            .spec(|spec| spec["metrics"] = metrics.clone())
            .reads(Ok(Reading::Pods(of_pods)))
            .reads(Ok(Reading::Value(7_500)))
            .reads(Ok(Reading::Value(11_000))),
        expect![[r#"
            rescale to 4: external metric queue(&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}) above target
              current 2 desired 4 scaled now
              metric {"pods":{"current":{"averageValue":"12"},"metric":{"name":"rps"}},"type":"Pods"}
              metric {"object":{"current":{"value":"7500m"},"describedObject":{"apiVersion":"v1","kind":"Service","name":"web"},"metric":{"name":"depth"}},"type":"Object"}
              metric {"external":{"current":{"averageValue":"5500m"},"metric":{"name":"queue","selector":{"matchLabels":{"q":"a"}}}},"type":"External"}
              AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 4
              ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from external metric queue(&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},})
              ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
        "#]],
    );
    check(
        world(2)
            .using(&[0, 0])
            .spec(|spec| spec["metrics"] = metrics)
            .reads(Err("unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"))
            .reads(Err("unable to get metric depth: gone"))
            .reads(Err("unable to get external metric default/queue/nil: gone")),
        expect![[r#"
            Warning FailedGetPodsMetric: unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered
            Warning FailedGetObjectMetric: unable to get metric depth: gone
            Warning FailedGetExternalMetric: unable to get external metric default/queue/nil: gone
            Warning FailedComputeMetricsReplicas: invalid metrics (3 invalid out of 3), first error is: failed to get pods metric value: unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered
            status
              current 2 desired 0
              AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
              ScalingActive False FailedGetPodsMetric: the HPA was unable to compute the replica count: unable to get metric rps: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered
        "#]],
    );
}

#[test]
fn from_nothing_a_metric_from_outside_can_start_a_workload() {
    let waiting = |count: i64| {
        let metric = json!({"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "10"}}});
        world(0)
            .spec(|spec| {
                spec["minReplicas"] = json!(0);
                spec["metrics"] = json!([metric]);
            })
            .reads(Ok(Reading::Value(count * 1000)))
    };
    size(waiting(25), Some((3, "external metric queue(nil) above target")));
    size(waiting(0), None);
}

#[test]
fn policies_bound_the_rate() {
    let rules = |world: World, behavior: Value| world.spec(|spec| spec["behavior"] = behavior);
    let up = |select: &str| {
        json!({"scaleUp": {"selectPolicy": select, "policies": [
            {"type": "Pods", "value": 1, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}]}})
    };
    size(rules(world(4).using(&[200; 4]), up("Max")), Some((6, UP)));
    size(rules(world(4).using(&[200; 4]), up("Min")), Some((5, UP)));
    size(rules(world(4).using(&[200; 4]), up("Disabled")), None);
    let mut already = rules(world(6).using(&[200; 6]), up("Max"));
    already
        .observed
        .memory
        .ups
        .push(normalize::Change { by: 2, at: at(-30) });
    check(
        already,
        expect![[r#"
        status
          current 6 desired 6
          metric {"resource":{"current":{"averageUtilization":200,"averageValue":"200m"},"name":"cpu"},"type":"Resource"}
          AbleToScale True ReadyForNewScale: recommended size matches current size
          ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited True ScaleUpLimit: the desired replica count is increasing faster than the maximum scale rate
    "#]],
    );
    let down = json!({"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 25, "periodSeconds": 60}]}});
    size(rules(world(8).using(&[1; 8]), down), Some((6, DOWN)));
}

#[test]
fn going_up_can_be_held_back_too() {
    let held =
        |world: World| world.spec(|spec| spec["behavior"] = json!({"scaleUp": {"stabilizationWindowSeconds": 60}}));
    check(
        held(world(2).using(&[100, 100])).remembers(&[(2, -30)]),
        expect![[r#"
        status
          current 2 desired 2
          metric {"resource":{"current":{"averageUtilization":100,"averageValue":"100m"},"name":"cpu"},"type":"Resource"}
          AbleToScale True ScaleUpStabilized: recent recommendations were lower than current one, applying the lowest recent recommendation
          ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
    "#]],
    );
    size(held(world(2).using(&[100, 100])).remembers(&[(3, -30)]), Some((3, UP)));
    size(held(world(2).using(&[100, 100])).remembers(&[(2, -61)]), Some((4, UP)));
}

#[test]
fn a_target_that_refuses_is_told() {
    let observed = world(2).using(&[100, 100]).observed();
    let rescale = plan(&observed, at(0))
        .actions
        .into_iter()
        .find_map(|action| match action {
            Action::Rescale(rescale) => Some(rescale),
            _ => None,
        });
    let status = rescale.unwrap().failed.not_rescaled("forbidden");
    let told: Vec<String> = status_lines(&status)
        .iter()
        .map(|line| line.trim().to_owned())
        .collect();
    expect![[r#"
          current 2 desired 0
          AbleToScale False FailedUpdateScale: the HPA controller was unable to update the target scale: forbidden
          ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
    "#]].assert_eq(&(told.join("\n") + "\n"));
}

#[test]
fn selectors_are_shown_as_go_shows_them() {
    assert_eq!(shown(None), "nil");
    let selector = serde_json::from_value(json!({"matchLabels": {"q": "a"}})).unwrap();
    assert_eq!(
        shown(Some(&selector)),
        "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}"
    );
}

/// Carries an action out on the world; new pods take their part of the work.
fn carry_out(observed: &mut Observed, action: &Action, work: i64) {
    match action {
        Action::Say { .. } => {}
        Action::Remember(memory) => observed.memory = memory.clone(),
        Action::SetStatus(status) => Arc::make_mut(&mut observed.autoscaler).status = Some((**status).clone()),
        Action::Rescale(rescale) => {
            let (status, memory) = rescale.done.clone();
            observed.memory = memory;
            Arc::make_mut(&mut observed.autoscaler).status = Some(status);
            if let Ok(scale) = &mut observed.scale {
                scale.object["spec"]["replicas"] = json!(rescale.to);
            }
            let each: Vec<i64> = (0..rescale.to).map(|_| work / i64::from(rescale.to)).collect();
            let fresh = world(rescale.to).using(&each).observed();
            (observed.pods, observed.readings) = (fresh.pods, fresh.readings);
        }
    }
}

#[test]
fn once_carried_out_nothing_is_left_to_do() {
    for used in [&[100, 100][..], &[50, 50], &[10, 10]] {
        let mut observed = world(2).using(used).observed();
        let work = used.iter().sum();
        let plan = |observed: &Observed| plan(observed, at(0)).actions;
        // A new size, what the status says of it, and rest.
        settles_within(2, &mut observed, plan, |observed, action| {
            carry_out(observed, action, work)
        })
        .unwrap();
    }
}
