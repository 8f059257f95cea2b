//! A server in a folder of its own, killed when the test ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use timonel_tests::{Tool, kubectl, timonel};

use crate::client::Api;

/// The real binary, ready, and a client that may do everything.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    child: Child,
    api: Api,
}

impl std::ops::Deref for Server {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Asks every few milliseconds, for a server starts in a fraction of a second and there are many tests.
fn until(what: &str, folder: &Path, mut done: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: not within 30 s\n{}", log(folder));
}

/// Kills a server that did not come up, too.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    /// The API server alone: what is written stays as it was written.
    pub(crate) fn alone() -> Self {
        Self::start("apiserver", &[])
    }

    /// The whole control plane: scheduler and controllers act.
    pub(crate) fn control_plane() -> Self {
        let server = Self::start("server", &[]);
        let accounts = server.at("v1", "serviceaccounts").within("default");
        until(
            "pods may be created in the default namespace",
            server.folder.path(),
            || accounts.has("default"),
        );
        server
    }

    /// The API server alone, which believes that it is reached under this address.
    pub(crate) fn advertised(address: &str) -> Self {
        Self::start("apiserver", &["--advertise-address", address])
    }

    /// The API server alone, with a short memory.
    pub(crate) fn forgetful() -> Self {
        Self::start("apiserver", &["--history-seconds", "1"])
    }

    fn start(command: &str, further: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let (dir, text) = (folder.path().display().to_string(), port.to_string());
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let ours = [
            command,
            "--data-dir",
            &dir,
            "--bind-address",
            "127.0.0.1",
            "--secure-port",
            &text,
        ];
        let child = timonel()
            .command(&[&ours, further].concat())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let mut guard = Guard(Some(child));
        let kubeconfig = folder.path().join("admin.kubeconfig");
        let whole = || std::fs::read_to_string(&kubeconfig).is_ok_and(|text| text.contains("client-key-data"));
        until("the server writes its kubeconfig", folder.path(), whole);
        let api = Api::new(&kubeconfig, &format!("https://127.0.0.1:{port}"));
        until("the server is ready", folder.path(), || {
            api.try_get("/readyz").is_some_and(|answer| answer.status == 200)
        });
        Self {
            folder,
            child: guard.0.take().expect("it runs"),
            api,
        }
    }

    /// Where the administrator's kubeconfig lies.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// The real kubectl.
    pub(crate) fn kubectl(&self) -> Tool {
        kubectl(&self.kubeconfig())
    }

    /// Where a test may put files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the service account that pods need where no controller makes it.
    pub(crate) fn with_service_account(self) -> Self {
        self.at("v1", "serviceaccounts")
            .within("default")
            .create(serde_json::json!({"metadata": {"name": "default"}}));
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = log(self.folder.path());
            let tail: Vec<&str> = text.lines().rev().take(20).collect();
            eprintln!("the server's last words, newest first:\n{}", tail.join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
