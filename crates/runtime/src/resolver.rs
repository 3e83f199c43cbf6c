//! Name servers that peers gave us: they come into a file such as /etc/resolv.conf, and a program is told of them.
//!
//! A thread of its own brings what is so to what is wanted, so that neither a slow disk nor a slow program holds the IKE
//! thread up. The file's other lines are whoever's: only what stands between our two comments is ever changed.

use crate::limits;
use sa::{JobId, Received};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Who is told.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ResolverConfig {
    /// A file such as /etc/resolv.conf.
    pub file: Option<PathBuf>,
    /// A program.
    pub command: Option<PathBuf>,
}

/// What one IKE SA brought.
#[derive(Clone, Debug)]
struct Entry {
    connection: String,
    received: Arc<Received>,
}

/// Tells a host's resolver.
pub(crate) trait Names: Send {
    /// From now on `received` counts, under this name.
    fn enter(&mut self, id: JobId, connection: String, received: Arc<Received>);
    /// What was entered under that name counts no more.
    fn leave(&mut self, id: JobId);
}

/// The host's own resolver. Dropping it takes all back.
pub(crate) struct Resolver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    entries: BTreeMap<JobId, Entry>,
    news: bool,
    stop: bool,
}

impl Resolver {
    /// Begins; what a daemon that broke off left in the file is removed.
    pub(crate) fn start(config: ResolverConfig) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        if config == ResolverConfig::default() {
            return Ok(Self { shared, thread: None });
        }
        if let Some(file) = &config.file {
            write_block(file, &[])
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
        }
        let work = shared.clone();
        let thread =
            std::thread::Builder::new().name("resolver".into()).spawn(move || run(&config, &work))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn change(&self, with: impl FnOnce(&mut Wanted)) {
        let mut wanted = lock(&self.shared.wanted);
        with(&mut wanted);
        wanted.news = true;
        self.shared.changed.notify_one();
    }
}

impl Names for Resolver {
    fn enter(&mut self, id: JobId, connection: String, received: Arc<Received>) {
        self.change(|wanted| {
            wanted.entries.insert(id, Entry { connection, received });
        });
    }

    fn leave(&mut self, id: JobId) {
        self.change(|wanted| {
            wanted.entries.remove(&id);
        });
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.change(|wanted| {
            wanted.entries.clear();
            wanted.stop = true;
        });
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told so already.
            let _ = thread.join();
        }
    }
}

fn lock(wanted: &Mutex<Wanted>) -> MutexGuard<'_, Wanted> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(config: &ResolverConfig, shared: &Shared) {
    let mut told: BTreeMap<JobId, Entry> = BTreeMap::new();
    loop {
        let mut wanted = lock(&shared.wanted);
        while !wanted.news {
            wanted = shared.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
        wanted.news = false;
        let (entries, stop) = (wanted.entries.clone(), wanted.stop);
        drop(wanted);
        let gone: Vec<JobId> = told.keys().filter(|id| !entries.contains_key(id)).copied().collect();
        let new: Vec<JobId> = entries.keys().filter(|id| !told.contains_key(id)).copied().collect();
        if let Some(file) = config.file.as_deref().filter(|_| !gone.is_empty() || !new.is_empty()) {
            // The newest first: it is what somebody just wanted.
            let mut servers: Vec<IpAddr> = Vec::new();
            for server in entries.values().rev().flat_map(|entry| &entry.received.dns) {
                if !servers.contains(server) {
                    servers.push(*server);
                }
            }
            if let Err(error) = write_block(file, &servers) {
                tracing::warn!("The peer's name servers were not written to {}: {error}", file.display());
            }
        }
        if let Some(command) = &config.command {
            let gone = gone.iter().filter_map(|id| Some(("down", *id, told.get(id)?)));
            let new = new.iter().filter_map(|id| Some(("up", *id, entries.get(id)?)));
            gone.chain(new).for_each(|(event, id, entry)| tell(command, event, id, entry));
        }
        told = entries;
        if stop {
            return;
        }
    }
}

const BEGIN: &str = "# Handfast: name servers of a tunnel, until the next comment of Handfast";
const END: &str = "# Handfast: end";

/// The text with our lines at its beginning, and nowhere else; without any, with none of them.
fn with_block(text: &str, servers: &[IpAddr]) -> String {
    let mut out = String::new();
    if !servers.is_empty() {
        let _ = writeln!(out, "{BEGIN}");
        servers.iter().for_each(|server| {
            let _ = writeln!(out, "nameserver {server}");
        });
        let _ = writeln!(out, "{END}");
    }
    let mut ours = false;
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            BEGIN => ours = true,
            END => ours = false,
            // Where somebody took the end away, what is no server of ours stays.
            line if ours && line.starts_with("nameserver ") => {}
            _ => {
                ours = false;
                out.push_str(line);
            }
        }
    }
    out
}

/// Brings the file to hold these servers of ours.
fn write_block(file: &Path, servers: &[IpAddr]) -> io::Result<()> {
    // What it points to is changed, not the link.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let before = match fs::read(&file) {
        Ok(octets) => Some(String::from_utf8_lossy(&octets).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let after = with_block(before.as_deref().unwrap_or(""), servers);
    match before {
        None if after.is_empty() => Ok(()),
        Some(before) if before == after => Ok(()),
        _ => replace(&file, &after),
    }
}

/// Whole or not at all; in place where another file cannot take its place, as with one that is mounted.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = file.with_file_name(format!(".{name}.handfast"));
    let written = fs::write(&beside, text).and_then(|()| {
        if let Ok(facts) = fs::metadata(file) {
            fs::set_permissions(&beside, facts.permissions())?;
        }
        fs::rename(&beside, file)
    });
    written.or_else(|_| {
        let _ = fs::remove_file(&beside);
        fs::write(file, text)
    })
}

/// Runs the program to its end.
fn tell(command: &Path, event: &str, id: JobId, entry: &Entry) {
    let list = |items: &[IpAddr]| items.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
    let Entry { connection, received } = entry;
    let domains: Vec<&str> = received.domains.iter().map(|domain| domain.name.as_str()).collect();
    let mut anchors = String::new();
    for domain in &received.domains {
        for anchor in &domain.anchors {
            let _ = writeln!(anchors, "{}. IN DS {anchor}", domain.name);
        }
    }
    let started = Command::new(command)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HANDFAST_EVENT", event)
        .env("HANDFAST_CONNECTION", connection)
        .env("HANDFAST_ID", id.0.to_string())
        .env("HANDFAST_ADDRESSES", list(&received.addresses))
        .env("HANDFAST_DNS", list(&received.dns))
        .env("HANDFAST_DOMAINS", domains.join(" "))
        .env("HANDFAST_DNSSEC_TA", anchors.trim_end())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let ended = started.and_then(|child| wait(child, limits::RESOLVER_PATIENCE));
    match ended {
        Ok(status) if status.success() => {}
        Ok(status) => {
            tracing::warn!("{} ({event}, connection \"{connection}\") ended with {status}", command.display())
        }
        Err(error) => tracing::warn!("{} ({event}, connection \"{connection}\"): {error}", command.display()),
    }
}

/// Waits so long, then ends it.
fn wait(mut child: Child, patience: Duration) -> io::Result<ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("ended after {} s", patience.as_secs()),
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{DnsName, Domain, TrustAnchor};
    use std::os::unix::fs::PermissionsExt;

    /// A folder that is gone when this is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("handfast-resolver-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn received(dns: &str) -> Arc<Received> {
        let anchor = TrustAnchor { key_tag: 7, algorithm: 8, digest_type: 2, digest: vec![0xab; 32] };
        let domain = Domain { name: DnsName::new("corp.example").unwrap(), anchors: vec![anchor] };
        Arc::new(Received {
            addresses: vec!["10.3.0.1".parse().unwrap()],
            dns: vec![dns.parse().unwrap()],
            domains: vec![domain],
            ..Received::default()
        })
    }

    fn servers(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn our_lines_come_and_go_and_others_stay() {
        let others = "# mine\nnameserver 9.9.9.9\noptions edns0";
        let one = with_block(others, &servers(&["10.2.0.53"]));
        assert_eq!(one, format!("{BEGIN}\nnameserver 10.2.0.53\n{END}\n{others}"));
        let two = with_block(&one, &servers(&["10.4.0.53", "10.2.0.53"]));
        assert_eq!(two.matches(BEGIN).count(), 1);
        assert_eq!(with_block(&two, &[]), others);
        // Somebody wrote before, after and into it.
        let odd = format!("search x\n{}nameserver 1.1.1.1\n", two.replace(END, "search y"));
        assert_eq!(with_block(&odd, &[]), format!("search x\nsearch y\n{others}nameserver 1.1.1.1\n"));
        assert_eq!(with_block("", &[]), "");
    }

    /// Everything is taken back when the daemon ends, and what a daemon left that broke off goes when the next one begins.
    #[test]
    fn the_file_is_as_before_when_all_is_over() {
        let folder = Folder::new("file");
        let (file, link) = (folder.file("resolv.conf"), folder.file("link"));
        fs::write(&file, with_block("nameserver 9.9.9.9\n", &servers(&["10.6.6.6"]))).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let config = ResolverConfig { file: Some(link.clone()), command: None };
        let mut resolver = Resolver::start(config).unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "nameserver 9.9.9.9\n",
            "left by a daemon that broke off"
        );
        resolver.enter(JobId(1), "home".into(), received("10.2.0.53"));
        let end = Instant::now() + Duration::from_secs(10);
        while !fs::read_to_string(&file).unwrap().contains("nameserver 10.2.0.53") {
            assert!(Instant::now() < end, "it is not written");
            std::thread::yield_now();
        }
        // Somebody else adds a line meanwhile.
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}options rotate\n")).unwrap();
        drop(resolver);
        assert_eq!(fs::read_to_string(&file).unwrap(), "nameserver 9.9.9.9\noptions rotate\n");
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_program_is_told_of_all_in_order() {
        let folder = Folder::new("command");
        let (program, said) = (folder.file("told"), folder.file("said"));
        let script = format!(
            "#!/bin/sh\necho \"$HANDFAST_EVENT $HANDFAST_CONNECTION $HANDFAST_ID|$HANDFAST_ADDRESSES|$HANDFAST_DNS|\
             $HANDFAST_DOMAINS|$HANDFAST_DNSSEC_TA|$HOME\" >>{}\n",
            said.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let config = ResolverConfig { file: None, command: Some(program) };
        let mut resolver = Resolver::start(config).unwrap();
        resolver.enter(JobId(4), "home".into(), received("10.2.0.53"));
        let end = Instant::now() + Duration::from_secs(10);
        while !said.exists() {
            assert!(Instant::now() < end, "it is not told");
            std::thread::yield_now();
        }
        resolver.leave(JobId(4));
        drop(resolver);
        let tail =
            format!("home 4|10.3.0.1|10.2.0.53|corp.example|corp.example. IN DS 7 8 2 {}|", "AB".repeat(32));
        assert_eq!(fs::read_to_string(&said).unwrap(), format!("up {tail}\ndown {tail}\n"));
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let error = wait(child, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
