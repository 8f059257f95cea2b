//! The programs under test, as a user would call them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program and the flags that every call of it gets.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    flags: Vec<String>,
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

fn found(variable: &str, otherwise: PathBuf) -> PathBuf {
    std::env::var_os(variable).map_or(otherwise, PathBuf::from)
}

/// The real kubectl; `make test` installs it into `.venv`. `$KUBECTL` names another.
pub fn kubectl(kubeconfig: &Path) -> Tool {
    Tool::new(found("KUBECTL", workspace().join(".venv/bin/kubectl"))).kubeconfig(kubeconfig)
}

/// Our own command line, as built. `$TIMONCTL` names another.
pub fn timonctl(kubeconfig: &Path) -> Tool {
    Tool::new(found("TIMONCTL", workspace().join("target/release/timonctl"))).kubeconfig(kubeconfig)
}

/// The Python of `.venv`, in which the Python clients are installed. `$PYTHON` names another.
pub fn python() -> Tool {
    Tool::new(found("PYTHON", workspace().join(".venv/bin/python")))
}

/// Node.js of the system, and the folder in which `make test` installs the JavaScript client. `$NODE` names another program.
pub fn node() -> (Tool, PathBuf) {
    let modules = workspace().join(".venv/node/node_modules");
    assert!(
        modules.exists(),
        "{} is not there; `make test` installs it",
        modules.display()
    );
    (Tool::new(found("NODE", PathBuf::from("/usr/bin/node"))), modules)
}

/// The binary under test. `$TIMONEL` names another.
pub fn timonel() -> Tool {
    Tool::new(found("TIMONEL", workspace().join("target/release/timonel")))
}

impl Tool {
    fn new(program: PathBuf) -> Self {
        assert!(
            program.exists(),
            "{} is not there; `make test` builds and installs what the tests need",
            program.display()
        );
        Self {
            program,
            flags: Vec::new(),
        }
    }

    fn kubeconfig(mut self, path: &Path) -> Self {
        self.flags = vec!["--kubeconfig".to_owned(), path.display().to_string()];
        self
    }

    /// Adds `-n NAMESPACE` to every call.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.flags.extend(["-n".to_owned(), namespace.to_owned()]);
        self
    }

    /// The command, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.flags).args(args);
        command
    }

    /// Runs to the end, whatever comes of it.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args)
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    /// Runs to the end and returns what it printed; `Err` holds everything when it failed.
    pub fn try_run(&self, args: &[&str]) -> Result<String, String> {
        let output = self.output(args);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        if output.status.success() {
            Ok(out.into_owned())
        } else {
            Err(format!(
                "{} {args:?} failed ({}):\n{out}{err}",
                self.program.display(),
                output.status
            ))
        }
    }

    /// Runs to the end and returns what it printed.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> String {
        match self.try_run(args) {
            Ok(text) => text,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Runs something that must fail and returns what it printed to standard error.
    #[track_caller]
    pub fn refused(&self, args: &[&str], input: &str) -> String {
        let output = self.with_input(args, input);
        assert!(!output.status.success(), "{args:?} was expected to fail, and did not");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs with text on standard input.
    #[track_caller]
    pub fn run_with(&self, args: &[&str], input: &str) -> String {
        let output = self.with_input(args, input);
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{args:?} failed:\n{out}{err}");
        out.into_owned()
    }

    /// Runs something that must work, with text on standard input, and returns what it printed to standard error.
    #[track_caller]
    pub fn warned(&self, args: &[&str], input: &str) -> String {
        let output = self.with_input(args, input);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?} failed:\n{err}");
        err
    }

    fn with_input(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("its input is piped");
        // A program that refuses early closes its input; that is its good right.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("the program ends")
    }
}
