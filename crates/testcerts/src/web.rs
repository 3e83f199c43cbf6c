//! A small HTTP server, for CRLs and OCSP.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Makes the answer to a request of its body: a whole HTTP response, or nothing to leave the client waiting.
type Answer = Box<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send>;

/// Serves until the test ends.
pub struct Web {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    answers: HashMap<String, Answer>,
    asked: Vec<String>,
    waiting: Vec<TcpStream>,
}

impl Web {
    /// Serves on a free port of this host.
    pub fn new() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// Serves on `listener`, which may be of another namespace.
    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let served = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), shared) = (stream, served.clone()) else { return };
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, shared }
    }

    /// The URI of `path`, which begins with a slash.
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests for `path` are answered by `answer` from now on: it makes a whole HTTP response of a request's body, or nothing to
    /// leave the client waiting.
    pub fn answer(&self, path: &str, answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) {
        lock(&self.shared).answers.insert(path.to_owned(), Box::new(answer));
    }

    /// Requests for `path` get `body`.
    pub fn put(&self, path: &str, body: Vec<u8>) {
        self.answer(path, move |_| Some(ok(&body)));
    }

    /// The paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared).asked.clone()
    }
}

impl Default for Web {
    fn default() -> Self {
        Self::new()
    }
}

/// A response with `body`.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// One request of a client; a client that breaks off is nobody's concern.
fn serve(stream: TcpStream, shared: &Mutex<Shared>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let length = lines
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let mut shared = lock(shared);
    shared.asked.push(path.clone());
    let response = match shared.answers.get(&path) {
        Some(answer) => answer(&body),
        None => Some(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()),
    };
    match response {
        Some(response) => (&stream).write_all(&response).ok(),
        None => {
            // The connection stays open, and nothing comes.
            shared.waiting.push(stream);
            Some(())
        }
    }
}
