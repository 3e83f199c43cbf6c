//! A Linux kernel of our own for one command: User-Mode Linux over this machine's files, with all of the kernel's IPsec,
//! `netem`, and, where asked for, a clock that jumps to whatever is waited for.
//!
//! `make kernel` builds it. A test that wants it is written with [`kernel_tests!`](crate::kernel_tests): the test starts
//! the kernel, and in it itself once more.

use crate::wait_until;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Set in the environment of what runs under such a kernel.
const INSIDE: &str = "HANDFAST_TEST_KERNEL";
/// The first process of the guest.
const INIT: &str = include_str!("../guest/init");
/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How it is booted.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// Waiting takes no time: the clock jumps to the next timer whenever everything waits.
    pub time_travel: bool,
    /// Memory in MiB.
    pub memory: u32,
    /// The real time after which it is ended.
    pub limit: Duration,
}

impl Boot {
    /// Real time, two minutes at most.
    pub const PLAIN: Boot = Boot { time_travel: false, memory: 512, limit: Duration::from_secs(120) };
    /// Time travel, ten minutes of real time at most.
    pub const TRAVEL: Boot = Boot { time_travel: true, memory: 512, limit: Duration::from_secs(600) };

    /// The same with another limit of real time.
    pub const fn within(self, limit: Duration) -> Boot {
        Boot { limit, ..self }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status, or why there is none.
    pub status: Result<i32, String>,
    /// Everything that it printed.
    pub output: String,
}

/// A kernel image that can be booted.
#[derive(Debug)]
pub struct Kernel {
    image: PathBuf,
}

impl Kernel {
    /// The image that `scripts/kernel.sh find` names, or why there is none.
    pub fn find() -> Result<Kernel, String> {
        if let Some(why) = crate::missing(&["bash", "ip", "mount", "mountpoint", "stty"]) {
            return Err(why);
        }
        script("kernel.sh", &["find"]).map(|image| Kernel { image: image.into() })
    }

    /// Boots it, runs `command` in it as root in the present folder, and waits for the end.
    pub fn run(&self, boot: Boot, command: &[&str]) -> Result<Ended, String> {
        let job = Job::new(command).map_err(|error| format!("the folder of a test kernel: {error}"))?;
        let mut guest =
            self.boot(boot, &job).map_err(|error| format!("{}: {error}", self.image.display()))?;
        let mut ended: Option<ExitStatus> = None;
        wait_until(boot.limit, || {
            ended = guest.try_wait().ok().flatten();
            ended.is_some()
        });
        if ended.is_none() {
            // SAFETY: kill takes numbers only; the group is that of our own child, which is not reaped before.
            unsafe { libc::kill(-(guest.id() as i32), libc::SIGKILL) };
            let _ = guest.wait();
        }
        let status = match (job.read("status").trim().parse(), ended) {
            (Ok(status), _) => Ok(status),
            (_, None) => Err(format!("did not end within {:?}", boot.limit)),
            (_, Some(status)) => {
                let tail = job.read("kernel");
                let tail = tail.lines().rev().take(30).collect::<Vec<_>>();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                Err(format!("the kernel ended before the command did ({status}):\n{tail}"))
            }
        };
        Ok(Ended { status, output: job.read("output") })
    }

    fn boot(&self, boot: Boot, job: &Job) -> std::io::Result<Child> {
        // The guest's memory is a file: where there is room, one that never reaches a disk.
        let memory = if free(Path::new("/dev/shm")) > u64::from(boot.memory) << 21 {
            PathBuf::from("/dev/shm")
        } else {
            std::env::temp_dir()
        };
        let folder = job.folder.display();
        let words = [
            format!("mem={}M", boot.memory),
            format!("umid=hf{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
            "root=/dev/root rootfstype=hostfs rootflags=/ rw".to_string(),
            format!("init={folder}/init hf.job={folder}"),
            "con=null con0=null,fd:5 con1=null,fd:4 ssl=null quiet seccomp=on".to_string(),
            if boot.time_travel { "time-travel".to_string() } else { String::new() },
        ];
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("exec \"$@\" 4>>\"$0/output\" 5>>\"$0/kernel\" >>\"$0/kernel\" 2>&1")
            .arg(&job.folder)
            .arg(&self.image)
            .args(words.iter().flat_map(|words| words.split(' ')).filter(|word| !word.is_empty()))
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &job.folder)
            .env("TMPDIR", memory)
            .stdin(Stdio::null())
            .process_group(0);
        // SAFETY: prctl is async-signal-safe and touches the child only: the kernel ends with the test that started it.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        command.spawn()
    }
}

/// The folder through which host and guest speak; removed with it.
struct Job {
    folder: PathBuf,
}

impl Job {
    fn new(command: &[&str]) -> std::io::Result<Job> {
        let name = format!("handfast-kernel-{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // Not in /dev/shm, which the guest has of its own.
        let folder = PathBuf::from("/var/tmp").join(name);
        fs::create_dir_all(&folder)?;
        let job = Job { folder };
        fs::write(job.folder.join("init"), INIT)?;
        fs::set_permissions(job.folder.join("init"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        fs::write(job.folder.join("command"), shell(command)?)?;
        Ok(job)
    }

    fn read(&self, name: &str) -> String {
        fs::read(self.folder.join(name)).map(|o| String::from_utf8_lossy(&o).into_owned()).unwrap_or_default()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The command as a script: in the same folder, with what tests are told by the environment.
fn shell(command: &[&str]) -> std::io::Result<String> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut script =
        format!("cd {}\nexport {INSIDE}=1\n", quoted(&std::env::current_dir()?.display().to_string()));
    for (name, value) in std::env::vars() {
        if name.starts_with("HANDFAST_") || name.starts_with("RUST_") || name == "XDG_CACHE_HOME" {
            script.push_str(&format!("export {name}={}\n", quoted(&value)));
        }
    }
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    Ok(format!("{script}exec {}\n", words.join(" ")))
}

/// Octets that fit in the file system of `path`.
fn free(path: &Path) -> u64 {
    let Ok(path) = std::ffi::CString::new(path.display().to_string()) else { return 0 };
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends in a zero octet, and the structure is ours; it is plain numbers, whatever is written.
    let (code, found) = unsafe { (libc::statvfs(path.as_ptr(), found.as_mut_ptr()), found.assume_init()) };
    if code == 0 { found.f_bavail * found.f_frsize } else { 0 }
}

/// What one of the repository's scripts prints, or what it complains of.
pub(crate) fn script(name: &str, args: &[&str]) -> Result<String, String> {
    let path = Path::new(ROOT).join("scripts").join(name);
    let output =
        Command::new(&path).args(args).output().map_err(|error| format!("{}: {error}", path.display()))?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_string();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Whether this process runs under a kernel that [`Kernel::run`] booted.
pub fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test `path` (crate, modules, name) under a kernel of our own: outside it starts this executable again inside,
/// there it does `body`. Says by name that it did not run where there is no kernel.
///
/// # Panics
/// When the test failed inside.
pub fn in_kernel(path: &str, boot: Boot, body: impl FnOnce()) {
    if inside() {
        return body();
    }
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    let kernel = match Kernel::find() {
        Ok(kernel) => kernel,
        Err(why) => return crate::not_run(name, &why),
    };
    let program = std::env::current_exe().expect("this executable").display().to_string();
    let command = [program.as_str(), "--exact", name, "--nocapture", "--include-ignored", "--test-threads=1"];
    let ended = kernel.run(boot, &command).unwrap_or_else(|error| panic!("{error}"));
    match ended.status {
        Ok(0) if ended.output.contains("1 passed") => {
            for line in ended.output.lines() {
                if let Some((_, why)) = line.split_once("NOT RUN: ") {
                    crate::say(&format!("NOT RUN: {why}"));
                } else {
                    println!("{line}");
                }
            }
        }
        status => panic!("in the test kernel: {status:?}\n{}", ended.output),
    }
}

/// Tests that run under a kernel of our own: `name: boot, body;`.
#[macro_export]
macro_rules! kernel_tests {
    ($($(#[$meta:meta])* $name:ident: $boot:expr, $body:expr;)*) => {$(
        #[test]
        $(#[$meta])*
        fn $name() {
            $crate::in_kernel(concat!(module_path!(), "::", stringify!($name)), $boot, $body);
        }
    )*};
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(test: &str) -> Option<Kernel> {
        Kernel::find().map_err(|why| crate::not_run(test, &why)).ok()
    }

    #[test]
    fn output_and_status_come_back() {
        let Some(kernel) = kernel("output_and_status_come_back") else { return };
        let ended =
            kernel.run(Boot::PLAIN, &["sh", "-c", "echo 'it''s here'; ip xfrm state; exit 7"]).unwrap();
        assert_eq!(ended.status, Ok(7), "{ended:?}");
        assert_eq!(ended.output, "its here\n");
    }

    #[test]
    fn a_day_of_waiting_takes_no_time() {
        let Some(kernel) = kernel("a_day_of_waiting_takes_no_time") else { return };
        let ended = kernel.run(Boot::TRAVEL, &["sh", "-c", "sleep 86400; cat /proc/uptime"]).unwrap();
        let uptime: f64 = ended.output.split(' ').next().and_then(|t| t.parse().ok()).unwrap_or_default();
        assert!(ended.status == Ok(0) && uptime > 86_400.0, "{ended:?}");
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let Some(kernel) = kernel("what_does_not_end_is_ended") else { return };
        let boot = Boot::PLAIN.within(Duration::from_secs(3));
        let ended = kernel.run(boot, &["sh", "-c", "echo begun; sleep 1000"]).unwrap();
        assert!(ended.status.is_err_and(|why| why.contains("did not end")), "{}", ended.output);
        assert_eq!(ended.output, "begun\n");
    }
}
