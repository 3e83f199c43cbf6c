//! The control socket: its server and its client.

use crate::desk::Desk;
use crate::limits;
use crate::protocol::{self, Answer, Ask};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and number of the socket's file: another daemon may have put its own there since.
    file: (u64, u64),
}

impl Listener {
    /// Binds `path`, for its owner only. A file that a dead daemon left is replaced; that of a
    /// living one, or anything that is no socket, is left alone.
    pub(crate) fn bind(path: &Path) -> Result<Self, String> {
        let fail = |what: &str, error: io::Error| {
            let todo = match error.kind() {
                io::ErrorKind::PermissionDenied => "Run as root, or choose another path",
                _ => "Choose another path",
            };
            let path = path.display();
            format!(
                "Cannot {what} the control socket {path}: {error}. {todo} with [daemon] control or --socket."
            )
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| fail("make the directory of", error))?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => {
                return Err(format!(
                    "{} is in the way of the control socket and is no socket. Remove it, or choose another path with \
                     [daemon] control.",
                    path.display()
                ));
            }
            Ok(_) => match UnixStream::connect(path).map_err(|error| (error.kind(), error)) {
                Ok(_) => {
                    return Err(format!(
                        "Another handfast daemon answers on {}. Stop it first, or choose another path with [daemon] \
                         control.",
                        path.display()
                    ));
                }
                // Nobody listens there any more.
                Err((io::ErrorKind::ConnectionRefused, _)) => {
                    std::fs::remove_file(path).map_err(|error| fail("replace", error))?;
                }
                Err((_, error)) => return Err(fail("look who listens on", error)),
            },
            Err(_) => {}
        }
        // There is no moment in which others could connect, whatever the umask was.
        let bound = crate::os::with_private_files(|| UnixListener::bind(path));
        let socket = bound.map_err(|error| fail("open", error))?;
        let file = std::fs::symlink_metadata(path).map_err(|error| fail("find", error))?;
        Ok(Self { socket, path: path.to_path_buf(), file: (file.dev(), file.ino()) })
    }

    /// Serves clients on threads of their own.
    pub(crate) fn serve(&self, desk: &Arc<Desk>) -> io::Result<()> {
        let socket = self.socket.try_clone()?;
        let desk = desk.clone();
        std::thread::Builder::new().name("control".into()).spawn(move || accept(&socket, &desk))?;
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn accept(socket: &UnixListener, desk: &Arc<Desk>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in socket.incoming() {
        let Ok(mut stream) = stream else {
            // No descriptor is left: give others the time to close theirs.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        let seat = Seat::take(&clients);
        if seat.is_none() {
            let text = format!("{} clients are connected already; try again later.", limits::MAX_CLIENTS);
            let _ = write_line(&mut stream, &Answer::Error { text });
            continue;
        }
        let desk = desk.clone();
        let spawned = std::thread::Builder::new().name("client".into()).spawn(move || {
            let _seat = seat;
            // An error here is a client that went away: its own affair.
            let _ = Session { stream, desk }.serve();
        });
        if let Err(error) = spawned {
            tracing::warn!("A control client was turned away: {error}");
        }
    }
}

/// One of the places for clients, given back when dropped.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Self> {
        let seat = Self(clients.clone());
        (clients.fetch_add(1, Ordering::AcqRel) < limits::MAX_CLIENTS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Session {
    stream: UnixStream,
    desk: Arc<Desk>,
}

impl Session {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_write_timeout(Some(limits::CLIENT_PATIENCE))?;
        let version = self.desk.version().to_string();
        write_line(&mut self.stream, &Answer::Hello { protocol: protocol::VERSION, version })?;
        let mut lines = BufReader::new(self.stream.try_clone()?);
        loop {
            let line = match read_line(&mut lines)? {
                Read1::End => return Ok(()),
                Read1::TooLong => {
                    let text = format!("A request has at most {} octets.", limits::MAX_REQUEST);
                    return write_line(&mut self.stream, &Answer::Error { text });
                }
                Read1::Line(line) => line,
            };
            match serde_json::from_slice::<Ask>(&line) {
                Ok(ask) => self.answer(ask)?,
                Err(error) => {
                    let text = format!("This is not a request of protocol {}: {error}.", protocol::VERSION);
                    write_line(&mut self.stream, &Answer::Error { text })?;
                }
            }
        }
    }

    fn answer(&mut self, ask: Ask) -> io::Result<()> {
        let (to, from) = sync_channel(limits::CLIENT_QUEUE);
        let desk = self.desk.clone();
        let watching = ask == Ask::Watch {};
        desk.ask(ask, to);
        loop {
            match from.recv_timeout(Duration::from_millis(500)) {
                Ok((_, answer)) => {
                    write_line(&mut self.stream, &answer)?;
                    if !matches!(answer, Answer::Progress { .. } | Answer::Event(_)) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if has_hung_up(&self.stream) {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if watching {
                        return Ok(());
                    }
                    let text = "The daemon is stopping.".to_string();
                    return write_line(&mut self.stream, &Answer::Error { text });
                }
            }
        }
    }
}

/// Whether the client closed its end while it waited for an answer.
fn has_hung_up(stream: &UnixStream) -> bool {
    use std::os::fd::AsFd;
    let mut fds = vec![libc::pollfd { events: libc::POLLRDHUP, ..crate::os::readable(stream.as_fd()) }];
    crate::os::wait(&mut fds, Some(Duration::ZERO)).is_err()
        || fds.iter().any(|fd| fd.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0)
}

enum Read1 {
    Line(Vec<u8>),
    TooLong,
    End,
}

fn read_line(lines: &mut impl BufRead) -> io::Result<Read1> {
    let mut line = Vec::new();
    lines.take(limits::MAX_REQUEST as u64 + 1).read_until(b'\n', &mut line)?;
    Ok(match line.last() {
        None => Read1::End,
        Some(b'\n') => Read1::Line(line),
        Some(_) if line.len() > limits::MAX_REQUEST => Read1::TooLong,
        Some(_) => Read1::Line(line),
    })
}

fn write_line(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The other end: what `handfast up` and its sisters use.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    version: String,
}

/// Why a client gets no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens there.
    NoDaemon(PathBuf, io::Error),
    /// The daemon speaks another version of the protocol.
    Version {
        /// Its protocol.
        protocol: u32,
        /// Its version.
        version: String,
    },
    /// It went away in the middle.
    Lost(io::Error),
    /// It said something that is not in the protocol.
    Garbled(String),
    /// It turned us away, and why.
    Refused(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoDaemon(path, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "No permission for the control socket {}: use the account that runs the daemon (usually root).",
                path.display()
            ),
            ClientError::NoDaemon(path, error) => write!(
                f,
                "No daemon answers on {}: {error}. Start one with `handfast run --config FILE`, or name its socket \
                 with --socket.",
                path.display()
            ),
            ClientError::Version { protocol, version } => write!(
                f,
                "The daemon (version {version}) speaks control protocol {protocol}, this command speaks {}. Use the \
                 command of the daemon's version.",
                protocol::VERSION
            ),
            ClientError::Lost(error) => write!(f, "The daemon went away: {error}."),
            ClientError::Garbled(error) => write!(f, "The daemon's answer is not understood: {error}."),
            ClientError::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ClientError {}

impl Client {
    /// Connects to the daemon at `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let lost = |error| ClientError::NoDaemon(path.to_path_buf(), error);
        let stream = UnixStream::connect(path).map_err(lost)?;
        let lines = BufReader::new(stream.try_clone().map_err(lost)?);
        let mut client = Self { stream, lines, version: String::new() };
        match client.next()? {
            Answer::Hello { protocol, version } if protocol == protocol::VERSION => {
                client.version = version;
                Ok(client)
            }
            Answer::Hello { protocol, version } => Err(ClientError::Version { protocol, version }),
            Answer::Error { text } => Err(ClientError::Refused(text)),
            other => Err(ClientError::Garbled(format!("{other:?} instead of a greeting"))),
        }
    }

    /// The daemon's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Asks; the answers come from [`Client::next`].
    pub fn ask(&mut self, ask: &Ask) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(ask).map_err(|error| ClientError::Garbled(error.to_string()))?;
        line.push(b'\n');
        self.stream.write_all(&line).map_err(ClientError::Lost)
    }

    /// Asks and waits for the last answer; what comes before goes to `progress`.
    pub fn call(&mut self, ask: &Ask, mut progress: impl FnMut(&Answer)) -> Result<Answer, ClientError> {
        self.ask(ask)?;
        loop {
            let answer = self.next()?;
            if !matches!(answer, Answer::Progress { .. } | Answer::Event(_)) {
                return Ok(answer);
            }
            progress(&answer);
        }
    }

    /// The next line.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Answer, ClientError> {
        let mut line = Vec::new();
        self.lines.read_until(b'\n', &mut line).map_err(ClientError::Lost)?;
        if line.is_empty() {
            return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(|error| ClientError::Garbled(error.to_string()))
    }
}
