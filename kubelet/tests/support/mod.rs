//! A containerd of one's own in a temporary folder, with the images that `deploy/images` builds.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use timonel_kubelet::cri::CriRuntime;
use timonel_kubelet::runtime::Runtime;

/// Ends containerd, its shims and its containers when dropped.
pub(crate) struct Containerd {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
}

impl Containerd {
    /// Starts containerd in a PID and mount namespace of its own, so that nothing survives its end, and loads the images.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let base = dir.path().to_path_buf();
        let at = |name: &str| base.join(name).display().to_string();
        let config = format!(
            r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "timonel.dev/pause:1.0"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"#,
            root = at("root"),
            state = at("state"),
            socket = at("containerd.sock"),
            cni = at("cni"),
        );
        std::fs::write(at("config.toml"), config).expect("write the configuration");
        let log = std::fs::File::create(at("containerd.log")).expect("make a log");
        let child = Command::new("unshare")
            .args([
                "--pid",
                "--mount",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "containerd",
                "--config",
            ])
            .arg(at("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start containerd");
        let this = Self { child, dir };
        let runtime = this.runtime();
        this.eventually("containerd answers", async || runtime.status().await.is_ok())
            .await;
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/images/build.sh");
        let built = PathBuf::from(at("images"));
        run(Command::new(images).arg(&built));
        for name in ["pause", "busybox"] {
            run(Command::new("ctr")
                .args([
                    "--address",
                    &at("containerd.sock"),
                    "--namespace",
                    "k8s.io",
                    "images",
                    "import",
                ])
                .arg(built.join(format!("{name}.tar"))));
        }
        this
    }

    /// A fresh connection, as after a restart of the kubelet.
    pub(crate) fn runtime(&self) -> CriRuntime {
        CriRuntime::new(&self.dir.path().join("containerd.sock")).expect("a runtime")
    }

    /// Waits until something is so, at most 30 s.
    pub(crate) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..600 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.dir.path().join("containerd.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        panic!("it never came to be that {what}; containerd said (last first): {tail:#?}");
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // SIGTERM to unshare would orphan nothing either, but a kill cannot be refused; --kill-child takes the rest along.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The kernel takes a moment to end what was killed.
        for _ in 0..20 {
            let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
            let ours = hierarchies.map(|entry| entry.path().join(cgroup_root().trim_start_matches('/')));
            let left: Vec<PathBuf> = ours.filter(|dir| dir.exists()).collect();
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|dir| remove_cgroup(dir));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Where this process' pods have their cgroups.
pub(crate) fn cgroup_root() -> String {
    format!("/timonel-test-{}", std::process::id())
}

/// From the leaves up; what is still in use (by another test of this process) stays.
fn remove_cgroup(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("run a command");
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
