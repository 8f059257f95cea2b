use expect_test::{Expect, expect};

use super::*;

fn parse(rest: &str) -> Result<File, ConfigError> {
    let text = format!("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n{rest}");
    File::parse(text.as_bytes())
}

#[track_caller]
fn refused(rest: &str, expected: Expect) {
    match parse(rest).expect_err("refused") {
        ConfigError::Invalid(errors) => expected.assert_eq(&errors.join("\n")),
        other => expected.assert_eq(&other.to_string()),
    }
}

#[track_caller]
fn plugins(rest: &str, expected: Expect) {
    let file = parse(rest).expect("accepted");
    let mut text = Vec::new();
    for profile in &file.profiles {
        text.push(format!("{}:", profile.scheduler_name));
        for enabled in &profile.plugins {
            let filters = if enabled.filters { " filters" } else { "" };
            let weight = enabled
                .weight
                .map_or(String::new(), |weight| format!(" scores x{weight}"));
            text.push(format!("  {}{filters}{weight}", enabled.plugin.name()));
        }
    }
    expected.assert_eq(&text.join("\n"));
}

#[test]
fn an_empty_configuration_is_upstreams_default() {
    plugins(
        "",
        expect![[r#"
            default-scheduler:
              NodeUnschedulable filters
              NodeName filters
              TaintToleration filters scores x3
              NodeAffinity filters scores x2
              NodePorts filters
              NodeResourcesFit filters scores x1
              VolumeRestrictions filters
              NodeVolumeLimits filters
              VolumeBinding filters scores x1
              VolumeZone filters
              PodTopologySpread filters scores x2
              InterPodAffinity filters scores x2
              NodeResourcesBalancedAllocation scores x1
              ImageLocality scores x1"#]],
    );
    let file = parse("").expect("accepted");
    assert_eq!(file.queue.initial_backoff, Duration::from_secs(1));
    assert_eq!(file.queue.max_backoff, Duration::from_secs(10));
    let profile = &file.profiles[0];
    assert!(profile.gates && profile.preemption.is_some());
}

#[test]
fn plugins_are_chosen_per_point_and_for_all_points() {
    plugins(
        r#"
profiles:
- schedulerName: packed
  plugins:
    multiPoint:
      enabled: [{name: TaintToleration, weight: 7}]
      disabled: [{name: InterPodAffinity}]
    score:
      disabled: [{name: ImageLocality}, {name: PodTopologySpread}]
      enabled: [{name: NodeAffinity, weight: 9}]
- schedulerName: bare
  plugins:
    multiPoint:
      disabled: [{name: "*"}]
      enabled: [{name: PrioritySort}, {name: DefaultBinder}, {name: NodeResourcesFit}]
"#,
        expect![[r#"
            packed:
              NodeUnschedulable filters
              NodeName filters
              TaintToleration filters scores x7
              NodeAffinity filters scores x9
              NodePorts filters
              NodeResourcesFit filters scores x1
              VolumeRestrictions filters
              NodeVolumeLimits filters
              VolumeBinding filters scores x1
              VolumeZone filters
              PodTopologySpread filters
              NodeResourcesBalancedAllocation scores x1
            bare:
              NodeResourcesFit filters scores x1"#]],
    );
}

#[test]
fn everything_wrong_is_named_at_once() {
    refused(
        r#"
parallelism: 0
percentageOfNodesToScore: 101
podInitialBackoffSeconds: 20
colour: red
extenders:
- {urlPrefix: "x", prioritizeVerb: score, bindVerb: bind, httpTimeout: 5 minutes, colour: red}
- urlPrefix: "http://x"
  bindVerb: bind
  managedResources: [{name: cpu}, {name: "example.com/a"}, {name: "example.com/a", ignoredByScheduler: true}, {name: "a/b/c"}]
  tlsConfig: {keyData: "!"}
profiles:
- schedulerName: a
  plugins:
    filter: {enabled: [{name: ImageLocality}, {name: Nobody}], disabled: [{name: Somebody}]}
    bind: {disabled: [{name: "*"}]}
  pluginConfig:
  - name: NodeResourcesFit
    args:
      kind: NodeResourcesFitArgs
      ignoredResourceGroups: [a/b]
      scoringStrategy: {type: Best, resources: [{name: cpu, weight: 101}]}
  - name: InterPodAffinity
    args: {hardPodAffinityWeight: 101, hardPodAfinityWeight: 3}
  - name: PodTopologySpread
    args: {defaultConstraints: [{maxSkew: 0, topologyKey: "", whenUnsatisfiable: Never}]}
  - name: DefaultPreemption
    args: {minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}
- schedulerName: a
"#,
        expect![[r#"
            parallelism: Invalid value: 0: should be an integer value greater than zero
            percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]
            podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds
            profiles[0].pluginConfig[0].args.ignoredResourceGroups[0]: Invalid value: "a/b": resource group name can't contain '/'
            profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]
            profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "Best": supported values: "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"
            profiles[0].pluginConfig[1].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]
            unknown field "profiles[0].pluginConfig[1].args.hardPodAfinityWeight"
            profiles[0].pluginConfig[2].args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)
            profiles[0].pluginConfig[2].args.defaultConstraints[0].topologyKey: Required value: can not be empty
            profiles[0].pluginConfig[2].args.defaultConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"
            profiles[0].pluginConfig[2].args.defaultingType: Invalid value: "System": when .defaultConstraints are not empty
            profiles[0].pluginConfig[3].args.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute
            profiles[0].pluginConfig[3].args.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage
            profiles[0].plugins.filter.enabled[0].name: Invalid value: "ImageLocality": plugin "ImageLocality" does not extend filter plugin
            profiles[0].plugins.filter.enabled[1].name: Invalid value: "Nobody": is no plugin of this scheduler
            profiles[0].plugins.filter.disabled[0].name: Invalid value: "Somebody": is no plugin of this scheduler
            profiles[0].plugins.bind: Required value: at least one bind plugin is needed for profile with scheduler name "a"
            profiles[1].schedulerName: Duplicate value: "a"
            extenders[0].urlPrefix: Invalid value: "x": must be an http or https URL
            extenders[0].weight: Invalid value: 0: must have a positive weight applied to it
            extenders[0].httpTimeout: Invalid value: "5 minutes": must be a duration as "5s" or "1m30s"
            unknown field "extenders[0].colour"
            extenders[1].tlsConfig.keyData: Invalid value: "(hidden)": must be base64
            extenders[1].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name
            extenders[1].managedResources[2].name: Invalid value: "example.com/a": duplicate extender managed resource name
            extenders[1].managedResources[3].name: Invalid value: "a/b/c": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
            extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind
            unknown field "colour""#]],
    );
}

#[test]
fn a_document_of_another_kind_is_refused() {
    let error = File::parse(b"kind: Pod").expect_err("refused");
    expect![
        "the scheduler's configuration must be kubescheduler.config.k8s.io/v1, KubeSchedulerConfiguration, not , Pod"
    ]
    .assert_eq(&error.to_string());
}

#[test]
fn a_shape_is_read() {
    let file = parse(
        r#"
profiles:
- pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy:
        type: RequestedToCapacityRatio
        resources: [{name: nvidia.com/gpu, weight: 3}]
        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
"#,
    );
    assert!(file.is_ok(), "{file:?}");
}

#[test]
fn extenders_are_read_those_that_may_be_left_out_last() {
    let file = parse(
        r#"
extenders:
- urlPrefix: http://lax.example/v1
  filterVerb: filter
  ignorable: true
- urlPrefix: https://strict.example
  prioritizeVerb: score
  preemptVerb: preempt
  bindVerb: bind
  weight: 5
  enableHTTPS: true
  httpTimeout: 1m30s
  nodeCacheCapable: true
  tlsConfig: {serverName: other.example, caFile: /etc/ca.pem, certData: Y2VydA==}
  managedResources: [{name: example.com/gpu, ignoredByScheduler: true}]
"#,
    );
    let file = file.expect("accepted");
    let [strict, lax] = &file.extenders[..] else {
        panic!("{:?}", file.extenders)
    };
    let told = (lax.url_prefix.as_str(), lax.filter_verb.as_str(), lax.timeout);
    assert_eq!(told, ("http://lax.example/v1", "filter", Duration::from_secs(5)));
    assert_eq!((strict.weight, strict.timeout), (5, Duration::from_secs(90)));
    assert!(strict.enable_https && strict.node_cache_capable && !strict.ignorable);
    assert_eq!(strict.tls.server_name.as_deref(), Some("other.example"));
    assert_eq!(strict.tls.cert.data.as_deref(), Some(&b"cert"[..]));
    assert!(strict.managed_resources.contains("example.com/gpu"));
    // Whoever looks after a resource counts it: the scheduler does not.
    let profile = &file.profiles[0];
    assert!(profile.extended);
    let plugins = format!("{:?}", profile.plugins);
    assert!(
        plugins.contains("ignored_resources: [\"example.com/gpu\"]"),
        "{plugins}"
    );
}
