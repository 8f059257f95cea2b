//! The controller manager alone, over HTTPS: each controller acts as its own service account, with a token that it asks for.

use std::process::{Child, Stdio};
use std::time::Duration;

use timonel_tests::{eventually, timonel};

use super::server::Server;

/// Ends with the test.
struct Manager(Child);

impl Manager {
    fn start(server: &Server) -> Self {
        let kubeconfig = server
            .folder()
            .join("controller-manager.kubeconfig")
            .display()
            .to_string();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(server.folder().join("log"))
            .expect("a log");
        let child = timonel()
            .command(&["controller-manager", "--kubeconfig", &kubeconfig])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.expect("the controller manager starts"))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn controllers_ask_for_tokens_and_do_what_their_roles_name_and_no_more() {
    let server = Server::start();
    let _manager = Manager::start(&server);
    let kubectl = &server.kubectl;
    let minute = Duration::from_secs(60);
    kubectl.run(&["create", "deployment", "first", "--image=registry/app:1"]);
    eventually(
        "pods are made",
        minute,
        || {
            let pods = kubectl.run(&["get", "pods", "-l", "app=first", "-o", "name"]);
            (!pods.is_empty()).then_some(()).ok_or(pods)
        },
        || server.log(),
    );
    let accounts = kubectl.run(&["get", "serviceaccounts", "-n", "kube-system", "-o", "name"]);
    for name in [
        "deployment-controller",
        "replicaset-controller",
        "service-account-controller",
    ] {
        assert!(accounts.contains(name), "{accounts}");
    }

    // Without its role the controller of ReplicaSets makes nothing more; that of Deployments goes on.
    kubectl.run(&[
        "delete",
        "clusterrolebinding",
        "system:controller:replicaset-controller",
    ]);
    kubectl.run(&["create", "deployment", "second", "--image=registry/app:1"]);
    eventually(
        "the set is made",
        minute,
        || {
            let sets = kubectl.run(&["get", "replicasets", "-l", "app=second", "-o", "name"]);
            (!sets.is_empty()).then_some(()).ok_or(sets)
        },
        || server.log(),
    );
    eventually(
        "the refusal is logged",
        minute,
        || {
            let refused = "system:serviceaccount:kube-system:replicaset-controller";
            server.log().contains(refused).then_some(()).ok_or_else(String::new)
        },
        || server.log(),
    );
    assert_eq!(kubectl.run(&["get", "pods", "-l", "app=second", "-o", "name"]), "");
}
