use expect_test::expect;

use super::*;
use crate::runtime::{InterfaceUsage, MemoryUsage};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

fn group(cpu_nanos: u64, working_set: u64) -> GroupUsage {
    GroupUsage {
        at: at(1_500),
        cpu_nanos: Some(cpu_nanos),
        memory: Some(MemoryUsage {
            usage: working_set + 10,
            working_set,
            rss: working_set - 1,
            page_faults: 4,
            major_page_faults: 1,
            limit: None,
        }),
        interfaces: vec![InterfaceUsage {
            name: "eth0".to_owned(),
            rx_bytes: 1,
            rx_errors: 2,
            tx_bytes: 3,
            tx_errors: 4,
        }],
        processes: Some(2),
    }
}

fn observed() -> Observed {
    let container = ContainerUsage {
        started: Some(at(250)),
        image: "web:1".to_owned(),
        stats: ContainerStats {
            id: "c1".to_owned(),
            name: "web".to_owned(),
            pod_uid: "u".to_owned(),
            at: at(1_400),
            cpu_nanos: 1_250_000_000,
            memory_bytes: 77,
            disk_bytes: 5,
        },
        group: None,
        rate: Some(500),
    };
    Observed {
        node: "node-1".to_owned(),
        at: at(1_500),
        booted: Some(at(0)),
        memory_capacity: 1000,
        machine: Some(group(9_000_000_000, 400)),
        machine_rate: None,
        disk: Some(Disk {
            capacity: 100,
            free: 60,
            available: 50,
            inodes: 10,
            inodes_free: 4,
        }),
        pods: vec![PodUsage {
            name: "web-0".to_owned(),
            namespace: "default".to_owned(),
            uid: "u".to_owned(),
            started: Some(at(0)),
            group: Some(group(1_300_000_001, 90)),
            rate: Some(600),
            host_network: false,
            containers: vec![container],
        }],
    }
}

#[test]
fn the_resource_metrics_have_upstreams_names_and_lose_no_nanosecond() {
    expect![[r#"
        # HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
        # TYPE container_cpu_usage_seconds_total counter
        container_cpu_usage_seconds_total{container="web",namespace="default",pod="web-0"} 1.25 1400
        # HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
        # TYPE container_memory_working_set_bytes gauge
        container_memory_working_set_bytes{container="web",namespace="default",pod="web-0"} 77 1400
        # HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
        # TYPE container_start_time_seconds gauge
        container_start_time_seconds{container="web",namespace="default",pod="web-0"} 0.25
        # HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
        # TYPE node_cpu_usage_seconds_total counter
        node_cpu_usage_seconds_total 9 1500
        # HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
        # TYPE node_memory_working_set_bytes gauge
        node_memory_working_set_bytes 400 1500
        # HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
        # TYPE pod_cpu_usage_seconds_total counter
        pod_cpu_usage_seconds_total{namespace="default",pod="web-0"} 1.300000001 1500
        # HELP pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes
        # TYPE pod_memory_working_set_bytes gauge
        pod_memory_working_set_bytes{namespace="default",pod="web-0"} 90 1500
        # HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
        # TYPE resource_scrape_error gauge
        resource_scrape_error 0
    "#]]
    .assert_eq(&exposition::resource(&observed()));
}

#[test]
fn the_summary_is_upstreams_and_leaves_out_what_nobody_measured() {
    let summary = summary::summary(&observed(), false);
    expect![[r#"
        {
          "node": {
            "cpu": {
              "time": "1970-01-01T00:00:01Z",
              "usageCoreNanoSeconds": 9000000000
            },
            "fs": {
              "availableBytes": 50,
              "capacityBytes": 100,
              "inodes": 10,
              "inodesFree": 4,
              "inodesUsed": 6,
              "time": "1970-01-01T00:00:01Z",
              "usedBytes": 40
            },
            "memory": {
              "availableBytes": 600,
              "majorPageFaults": 1,
              "pageFaults": 4,
              "rssBytes": 399,
              "time": "1970-01-01T00:00:01Z",
              "usageBytes": 410,
              "workingSetBytes": 400
            },
            "network": {
              "interfaces": [
                {
                  "name": "eth0",
                  "rxBytes": 1,
                  "rxErrors": 2,
                  "txBytes": 3,
                  "txErrors": 4
                }
              ],
              "name": "eth0",
              "rxBytes": 1,
              "rxErrors": 2,
              "time": "1970-01-01T00:00:01Z",
              "txBytes": 3,
              "txErrors": 4
            },
            "nodeName": "node-1",
            "startTime": "1970-01-01T00:00:00Z"
          },
          "pods": [
            {
              "containers": [
                {
                  "cpu": {
                    "time": "1970-01-01T00:00:01Z",
                    "usageCoreNanoSeconds": 1250000000,
                    "usageNanoCores": 500
                  },
                  "memory": {
                    "time": "1970-01-01T00:00:01Z",
                    "workingSetBytes": 77
                  },
                  "name": "web",
                  "rootfs": {
                    "availableBytes": 50,
                    "capacityBytes": 100,
                    "time": "1970-01-01T00:00:01Z",
                    "usedBytes": 5
                  },
                  "startTime": "1970-01-01T00:00:00Z"
                }
              ],
              "cpu": {
                "time": "1970-01-01T00:00:01Z",
                "usageCoreNanoSeconds": 1300000001,
                "usageNanoCores": 600
              },
              "memory": {
                "majorPageFaults": 1,
                "pageFaults": 4,
                "rssBytes": 89,
                "time": "1970-01-01T00:00:01Z",
                "usageBytes": 100,
                "workingSetBytes": 90
              },
              "network": {
                "interfaces": [
                  {
                    "name": "eth0",
                    "rxBytes": 1,
                    "rxErrors": 2,
                    "txBytes": 3,
                    "txErrors": 4
                  }
                ],
                "name": "eth0",
                "rxBytes": 1,
                "rxErrors": 2,
                "time": "1970-01-01T00:00:01Z",
                "txBytes": 3,
                "txErrors": 4
              },
              "podRef": {
                "name": "web-0",
                "namespace": "default",
                "uid": "u"
              },
              "process_stats": {
                "process_count": 2
              },
              "startTime": "1970-01-01T00:00:00Z"
            }
          ]
        }"#]]
    .assert_eq(&format!("{summary:#}"));
}

#[test]
fn only_processor_and_memory_are_told_where_only_they_are_asked_for() {
    let summary = summary::summary(&observed(), true);
    assert!(summary["node"]["fs"].is_null() && summary["pods"][0]["network"].is_null());
    assert_eq!(summary["pods"][0]["containers"][0]["cpu"]["usageNanoCores"], 500);
    assert!(summary["pods"][0]["containers"][0]["rootfs"].is_null());
}

#[test]
fn the_families_of_cadvisor_carry_its_labels() {
    let text = exposition::cadvisor(&observed());
    assert!(text.contains(
        "container_cpu_usage_seconds_total{container=\"web\",cpu=\"total\",id=\"c1\",image=\"web:1\",name=\"c1\",namespace=\"default\",pod=\"web-0\"} 1.25 1400\n"
    ), "{text}");
    assert!(text.contains(
        "container_network_receive_bytes_total{interface=\"eth0\",namespace=\"default\",pod=\"web-0\"} 1 1500\n"
    ));
}
