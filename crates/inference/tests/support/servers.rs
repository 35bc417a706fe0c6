//! Real model servers in child processes, and a scripted one that answers bytes as told.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "real servers start in real time")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for a server to say that it is ready. It only ends a test that would hang.
const READY_MAX: Duration = Duration::from_secs(180);

/// A server of the Python environment for servers. It ends when this value or this process does.
pub struct Server {
    child: Child,
    /// The first of its ports.
    pub port: u16,
    /// The second of its ports.
    pub second: u16,
    _folder: tempfile::TempDir,
}

// === impl Server ===

impl Server {
    /// Starts `tests/servers/SCRIPT FOLDER PORT PORT PORT`, and waits until `path` answers 200 on the first port.
    ///
    /// # Panics
    /// With what to do if there is no such environment, and with the server's output if it does not get ready.
    pub fn start(script: &str, path: &str) -> Self {
        Self::start_in("venv-servers", script, path)
    }

    /// As [`Server::start`], in the Python environment of that name.
    pub fn start_in(environment: &str, script: &str, path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports();
        let log = folder.path().join("log");
        let output = std::fs::File::create(&log).unwrap();
        let work = folder.path().join("work");
        std::fs::create_dir(&work).unwrap();
        let child = Command::new(python(environment))
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers").join(script))
            .arg(&work)
            .args(ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut server = Self { child, port: ports[0], second: ports[1], _folder: folder };
        let started = Instant::now();
        while !answers(server.port, path) {
            let ended = server.child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > READY_MAX {
                panic!("{script} is not ready ({ended:?}):\n{}", std::fs::read_to_string(&log).unwrap());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The address of its first port.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of its second port.
    pub fn second_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.second)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The script ends its server when its standard input closes.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn python(environment: &str) -> PathBuf {
    let cache = std::env::var_os("FOREBAY_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/forebay");
    let python = cache.unwrap_or_else(home).join(environment).join("bin/python");
    assert!(python.is_file(), "no {}: run scripts/setup.sh, which installs the model servers", python.display());
    python
}

/// Ports that nobody listens on now.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Answers each connection's one request with the next of its scripts, byte by byte as written, then closes.
pub struct Scripted {
    /// Where it listens.
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

/// What to answer.
pub enum Script {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, then the second ones again and again until the other side has enough.
    Endless(Vec<u8>, Vec<u8>),
    /// These bytes, then nothing until the other side goes.
    Stalled(Vec<u8>),
    /// Nothing, until the other side goes.
    Silence,
}

// === impl Script ===

impl Script {
    /// A whole answer of `status` with `headers`, each ending in `\r\n`, and `body`.
    pub fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// 200 with JSON.
    pub fn json(body: &str) -> Self {
        Self::answer(200, "Content-Type: application/json\r\n", body)
    }

    /// 200 with a stream that ends with the connection.
    pub fn stream(body: &str) -> Self {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        Self::Bytes([head, body].concat().into_bytes())
    }

    fn play(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Self::Bytes(bytes) => stream.write_all(bytes),
            Self::Endless(head, piece) => {
                stream.write_all(head)?;
                loop {
                    stream.write_all(piece)?;
                }
            }
            Self::Stalled(bytes) => {
                stream.write_all(bytes)?;
                stream.read_to_end(&mut Vec::new()).map(|_| ())
            }
            Self::Silence => stream.read_to_end(&mut Vec::new()).map(|_| ()),
        }
    }
}

// === impl Scripted ===

impl Scripted {
    /// Listens and plays `scripts`, one a connection.
    pub fn start(scripts: Vec<Script>) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), scripts)
    }

    /// As [`Scripted::start`], where `listener` listens already.
    pub fn start_on(listener: TcpListener, scripts: Vec<Script>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for script in scripts {
                let Ok((mut stream, _)) = listener.accept() else { return };
                seen.lock().unwrap().push(request(&mut stream));
                // The other side may have had enough before the script ends.
                let _ = script.play(&mut stream);
            }
        });
        Self { port, requests }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far: head and body as they came.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// One request with a `Content-Length`, or none.
fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
