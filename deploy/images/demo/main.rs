//! demo: a small HTTP server whose health can be turned at run time, made for exercises with probes.
//!
//! ```text
//! GET  /                  version and host name
//! GET  /healthz           200, or 500 after  POST /healthz?ok=false     file /tmp/healthy
//! GET  /ready             200, or 503 after  POST /ready?ok=false       file /tmp/ready
//! GET  /startup           200, or 503 before it has started            file /tmp/started
//! GET  /state             everything that can be turned, as JSON
//! POST /startup?ok=true   ends (or, with false, undoes) the start
//! POST /latency?ms=500    delays every answer
//! POST /memory?mib=64     holds that much memory (0 gives it back)
//! POST /cpu?seconds=5     keeps one core busy for a while
//! POST /exit?code=3       ends the process
//! ```
//!
//! The files are there for exec probes (`test -f /tmp/healthy`): a file exists while its state is good, and a state is
//! good only while its file exists, so `rm /tmp/healthy` in the container fails the liveness probe as well.
//! Environment: `DEMO_PORT` (8080), `DEMO_VERSION`, `DEMO_STARTUP_SECONDS` (0), `DEMO_SHUTDOWN_SECONDS` (0).

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::exit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const HEALTHY: &str = "/tmp/healthy";
const READY: &str = "/tmp/ready";
const STARTED: &str = "/tmp/started";

static LATENCY_MS: AtomicU64 = AtomicU64::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static STOPPING: AtomicBool = AtomicBool::new(false);
static BALLAST: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The two calls of the C library that a graceful end needs; there are no dependencies here to take them from.
mod signals {
    #[repr(C, align(8))]
    struct Set([u8; 128]);

    unsafe extern "C" {
        fn sigemptyset(set: *mut Set) -> i32;
        fn sigaddset(set: *mut Set, signal: i32) -> i32;
        fn pthread_sigmask(how: i32, set: *const Set, old: *mut Set) -> i32;
        fn sigwait(set: *const Set, signal: *mut i32) -> i32;
    }

    /// Blocks SIGTERM and SIGINT in this thread and those it starts, and returns a function that waits for one of them.
    pub fn hold() -> impl FnOnce() -> i32 + Send {
        let mut set = Set([0; 128]);
        // SAFETY: `set` is as large as the C library's sigset_t and lives through the calls.
        unsafe {
            sigemptyset(&mut set);
            sigaddset(&mut set, 15);
            sigaddset(&mut set, 2);
            pthread_sigmask(0, &set, std::ptr::null_mut());
        }
        move || {
            let mut caught = 0;
            // SAFETY: as above.
            while unsafe { sigwait(&set, &mut caught) } != 0 {}
            caught
        }
    }
}

fn env_number(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Makes or removes the file that stands for a state.
fn turn(file: &str, good: bool) {
    let done = if good { fs::write(file, "ok\n") } else { fs::remove_file(file) };
    if let Err(error) = done {
        eprintln!("demo: {file}: {error}");
    }
}

fn is(file: &str) -> bool {
    Path::new(file).exists()
}

fn version() -> String {
    std::env::var("DEMO_VERSION").unwrap_or_else(|_| "unknown".to_owned())
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |n| n.trim().to_owned())
}

/// Returns the value of `name` in a query string.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

struct Answer(u16, String);

fn good(state: bool, otherwise: u16) -> Answer {
    if state { Answer(200, "ok\n".to_owned()) } else { Answer(otherwise, "failing\n".to_owned()) }
}

fn set_state(file: &str, query: &str) -> Answer {
    match parameter(query, "ok") {
        Some("true") => turn(file, true),
        Some("false") => turn(file, false),
        _ => return Answer(400, "say ?ok=true or ?ok=false\n".to_owned()),
    }
    Answer(200, format!("{file} is now {}\n", if is(file) { "there" } else { "gone" }))
}

fn set_number(query: &str, name: &str, act: impl FnOnce(u64)) -> Answer {
    match parameter(query, name).and_then(|v| v.parse().ok()) {
        Some(number) => {
            act(number);
            Answer(200, format!("{name} is now {number}\n"))
        }
        None => Answer(400, format!("say ?{name}=NUMBER\n")),
    }
}

fn hold_memory(mib: u64) {
    let bytes = usize::try_from(mib).unwrap_or(0).saturating_mul(1 << 20);
    if let Ok(mut ballast) = BALLAST.lock() {
        *ballast = Vec::new();
        // Every page is written, or the kernel would not count it.
        ballast.resize(bytes, 1);
    }
}

fn burn(seconds: u64) {
    thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    });
}

fn state() -> String {
    let held = BALLAST.lock().map_or(0, |b| b.len() >> 20);
    format!(
        "{{\"version\":\"{}\",\"hostname\":\"{}\",\"healthy\":{},\"ready\":{},\"started\":{},\"latencyMs\":{},\"memoryMib\":{held},\"requests\":{}}}\n",
        version(),
        hostname(),
        is(HEALTHY),
        is(READY) && !STOPPING.load(SeqCst),
        is(STARTED),
        LATENCY_MS.load(SeqCst),
        REQUESTS.load(SeqCst),
    )
}

fn answer(method: &str, path: &str, query: &str) -> Answer {
    match (method, path) {
        ("GET" | "HEAD", "/") => Answer(200, format!("hello from demo {} on {}\n", version(), hostname())),
        ("GET" | "HEAD", "/healthz") => good(is(HEALTHY), 500),
        ("GET" | "HEAD", "/ready") => good(is(READY) && !STOPPING.load(SeqCst), 503),
        ("GET" | "HEAD", "/startup") => good(is(STARTED), 503),
        ("GET" | "HEAD", "/state") => Answer(200, state()),
        ("POST", "/healthz") => set_state(HEALTHY, query),
        ("POST", "/ready") => set_state(READY, query),
        ("POST", "/startup") => set_state(STARTED, query),
        ("POST", "/latency") => set_number(query, "ms", |ms| LATENCY_MS.store(ms, SeqCst)),
        ("POST", "/memory") => set_number(query, "mib", hold_memory),
        ("POST", "/cpu") => set_number(query, "seconds", burn),
        ("POST", "/exit") => {
            let code = parameter(query, "code").and_then(|c| c.parse().ok()).unwrap_or(0);
            eprintln!("demo: asked to exit with code {code}");
            exit(code)
        }
        _ => Answer(404, "not found\n".to_owned()),
    }
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.by_ref().take(8192).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
        let mut keep = line.contains("HTTP/1.1");
        let mut length = 0u64;
        loop {
            let mut header = String::new();
            if reader.by_ref().take(8192).read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            let header = header.to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            } else if header.starts_with("connection:") && header.contains("close") {
                keep = false;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length.min(1 << 20)), &mut std::io::sink())?;
        REQUESTS.fetch_add(1, SeqCst);
        thread::sleep(Duration::from_millis(LATENCY_MS.load(SeqCst)));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Answer(code, body) = answer(method, path, query);
        let reason = match code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        println!("{method} {target} {code}");
        keep &= !STOPPING.load(SeqCst);
        let connection = if keep { "keep-alive" } else { "close" };
        write!(
            writer,
            "HTTP/1.1 {code} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            writer.write_all(body.as_bytes())?;
        }
        writer.flush()?;
        if !keep {
            return Ok(());
        }
    }
}

fn main() {
    let wait_for_signal = signals::hold();
    let port = std::env::var("DEMO_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(8080u16);
    // A container that is restarted starts afresh, whatever the previous one left in a shared /tmp.
    let _ = fs::create_dir_all("/tmp");
    turn(HEALTHY, true);
    turn(READY, true);
    let _ = fs::remove_file(STARTED);

    thread::spawn(|| {
        thread::sleep(Duration::from_secs(env_number("DEMO_STARTUP_SECONDS")));
        turn(STARTED, true);
        println!("demo {}: started", version());
    });
    thread::spawn(move || {
        let signal = wait_for_signal();
        STOPPING.store(true, SeqCst);
        println!("demo: signal {signal}, going");
        thread::sleep(Duration::from_secs(env_number("DEMO_SHUTDOWN_SECONDS")).max(Duration::from_millis(50)));
        exit(0);
    });

    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("demo: cannot listen on port {port}: {error}");
            exit(1);
        }
    };
    println!("demo {}: listening on port {port}", version());
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(stream));
    }
}
