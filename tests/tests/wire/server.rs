//! One API server in a folder of its own, killed when the test ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use timonel_tests::{Tool, eventually, kubectl, timonctl, timonel};

pub(crate) struct Server {
    folder: tempfile::TempDir,
    /// `apiserver`, or `server` with scheduler and controllers.
    verb: &'static str,
    engine: &'static str,
    port: u16,
    flags: Vec<String>,
    child: Child,
    pub(crate) kubectl: Tool,
    pub(crate) timonctl: Tool,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn spawn(folder: &Path, verb: &str, engine: &str, port: u16, flags: &[String]) -> Child {
    let dir = folder.display().to_string();
    let port = port.to_string();
    let args = [
        verb,
        "--data-dir",
        &dir,
        "--bind-address",
        "127.0.0.1",
        "--secure-port",
        &port,
        "--store-engine",
        engine,
    ];
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("a log");
    timonel()
        .command(&args)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the server starts")
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with_engine("redb")
    }

    pub(crate) fn with_engine(engine: &'static str) -> Self {
        Self::prepared(engine, |_| Vec::new())
    }

    /// With scheduler and controllers.
    pub(crate) fn whole() -> Self {
        Self::spawned("server", "redb", |_| Vec::new())
    }

    /// `prepare` puts files into the folder and says which flags the server gets.
    pub(crate) fn prepared(engine: &'static str, prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        Self::spawned("apiserver", engine, prepare)
    }

    fn spawned(verb: &'static str, engine: &'static str, prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let flags = prepare(folder.path());
        let child = spawn(folder.path(), verb, engine, port, &flags);
        let kubeconfig = folder.path().join("admin.kubeconfig");
        let wait = || {
            if kubeconfig.exists() {
                Ok(())
            } else {
                Err("no kubeconfig yet".to_owned())
            }
        };
        eventually(
            "the server writes its kubeconfig",
            Duration::from_secs(30),
            wait,
            || log(folder.path()),
        );
        let server = Self {
            kubectl: kubectl(&kubeconfig),
            timonctl: timonctl(&kubeconfig),
            folder,
            verb,
            engine,
            port,
            flags,
            child,
        };
        server.until_ready();
        server
    }

    /// Where the administrator's credentials lie.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    fn until_ready(&self) {
        let wait = || self.kubectl.try_run(&["get", "--raw", "/readyz"]).map(|_| ());
        eventually("the server is ready", Duration::from_secs(30), wait, || {
            log(self.folder.path())
        });
    }

    /// Whether bytes stand anywhere in the store's files.
    pub(crate) fn on_disk(&self, needle: &[u8]) -> bool {
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("readable").flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if entry.path() != self.folder.path().join("log") {
                    let bytes = std::fs::read(entry.path()).expect("readable");
                    if bytes.windows(needle.len()).any(|window| window == needle) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// `timonctl` without credentials (kubectl would ask for a user name), and both command lines with a token that nobody gave.
    pub(crate) fn strangers(&self) -> (Tool, [Tool; 2]) {
        let admin = std::fs::read_to_string(self.folder.path().join("admin.kubeconfig")).expect("readable");
        let mut config: serde_json::Value = serde_saphyr::from_str(&admin).expect("YAML");
        let mut with = |name: &str, user: serde_json::Value| {
            config["users"][0]["user"] = user;
            let file = self.folder.path().join(name);
            std::fs::write(&file, config.to_string()).expect("writable");
            file
        };
        let nobody = with("nobody.kubeconfig", serde_json::json!({}));
        let impostor = with("impostor.kubeconfig", serde_json::json!({"token": "nonsense"}));
        (timonctl(&nobody), [kubectl(&impostor), timonctl(&impostor)])
    }

    /// Both command lines with a token.
    pub(crate) fn with_token(&self, name: &str, token: &str) -> [Tool; 2] {
        let admin = std::fs::read_to_string(self.folder.path().join("admin.kubeconfig")).expect("readable");
        let mut config: serde_json::Value = serde_saphyr::from_str(&admin).expect("YAML");
        config["users"][0]["user"] = serde_json::json!({ "token": token });
        let file = self.folder.path().join(format!("{name}.kubeconfig"));
        std::fs::write(&file, config.to_string()).expect("writable");
        [kubectl(&file), timonctl(&file)]
    }

    /// The data directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged, and who else writes into its log.
    pub(crate) fn log(&self) -> String {
        log(self.folder.path())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.verb, self.engine, self.port, &self.flags);
        self.until_ready();
    }
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
