//! What was acknowledged survives SIGKILL, on both engines.

use crate::server::Server;

fn survives(engine: &'static str) {
    let mut server = Server::with_engine(engine);
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..5 {
            let name = format!("kept-{round}-{number}");
            server
                .timonctl
                .run(&["create", "configmap", &name, "--from-literal=a=b"]);
            expected.push(format!("configmap/{name}"));
        }
        let version = server.kubectl.run(&[
            "get",
            "cm",
            &format!("kept-{round}-4"),
            "-o",
            "jsonpath={.metadata.resourceVersion}",
        ]);
        server.kill();
        server.restart();
        let found = server.kubectl.run(&["get", "cm", "-o", "name"]);
        let found: Vec<&str> = found.lines().filter(|name| name.contains("kept-")).collect();
        assert_eq!(found, expected);
        let after = server.kubectl.run(&[
            "get",
            "cm",
            &format!("kept-{round}-4"),
            "-o",
            "jsonpath={.metadata.resourceVersion}",
        ]);
        assert_eq!(after, version, "revisions are the same after a restart");
    }
    server.kubectl.run(&["auth", "whoami"]);
}

#[test]
fn redb_keeps_what_was_acknowledged() {
    survives("redb");
}

#[test]
fn sled_keeps_what_was_acknowledged() {
    survives("sled");
}
