//! The service account of `kube-system` that each controller acts as: upstream's names, to which the server's bootstrap policy binds
//! `system:controller:NAME`.

/// Controller and account.
const ACCOUNTS: &[(&str, &str)] = &[
    ("replicaset", "replicaset-controller"),
    ("replicationcontroller", "replication-controller"),
    ("deployment", "deployment-controller"),
    ("daemonset", "daemon-set-controller"),
    ("statefulset", "statefulset-controller"),
    ("job", "job-controller"),
    ("cronjob", "cronjob-controller"),
    ("ttl-after-finished", "ttl-after-finished-controller"),
    ("resourcequota", "resourcequota-controller"),
    ("pvc-protection", "pvc-protection-controller"),
    ("pv-protection", "pv-protection-controller"),
    (
        "volumeattributesclass-protection",
        "volumeattributesclass-protection-controller",
    ),
    ("clusterrole-aggregation", "clusterrole-aggregation-controller"),
    ("persistentvolume-binder", "persistent-volume-binder"),
    ("persistentvolume-expander", "expand-controller"),
    ("attachdetach", "attachdetach-controller"),
    // Upstream's provisioners run on their own; this one has the role that those are told to take, and a little more.
    ("volume-provisioner", "volume-provisioner"),
    ("ephemeral-volume", "ephemeral-volume-controller"),
    ("horizontal-pod-autoscaler", "horizontal-pod-autoscaler"),
    ("endpointslice", "endpointslice-controller"),
    ("endpoints", "endpoint-controller"),
    ("endpointslice-mirroring", "endpointslicemirroring-controller"),
    ("node-lifecycle", "node-controller"),
    // Upstream's acts as the node controller too.
    ("taint-eviction", "node-controller"),
    ("node-ipam", "node-controller"),
    ("ttl", "ttl-controller"),
    ("namespace", "namespace-controller"),
    ("garbage-collector", "generic-garbage-collector"),
    ("pod-garbage-collector", "pod-garbage-collector"),
    ("serviceaccount", "service-account-controller"),
    ("root-ca-certificate-publisher", "root-ca-cert-publisher"),
    ("certificatesigningrequest", "certificate-controller"),
    ("disruption", "disruption-controller"),
    ("token-cleaner", "token-cleaner"),
    ("bootstrap-signer", "bootstrap-signer"),
];

/// Returns the account of a controller; without one it would act as the manager itself, which may look at everything and change
/// next to nothing.
pub(crate) fn of(controller: &str) -> Option<&'static str> {
    let found = ACCOUNTS.iter().find(|(name, _)| *name == controller);
    found.map(|(_, account)| *account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_has_an_account() {
        let without: Vec<_> = crate::controllers().filter(|name| of(name).is_none()).collect();
        assert!(
            without.is_empty(),
            "{without:?} would act as the controller manager itself"
        );
    }

    #[test]
    fn every_account_is_a_controllers() {
        let idle = ACCOUNTS
            .iter()
            .filter(|(name, _)| crate::controllers().all(|known| known != *name));
        assert_eq!(idle.count(), 0);
    }
}
