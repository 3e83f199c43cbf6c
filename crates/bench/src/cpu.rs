//! CPU time and memory of another process, and where it runs.

/// CPU seconds, user and system, of a process with all its threads, to the nanosecond.
pub(crate) fn seconds(pid: u32) -> f64 {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write only to the variables handed to them.
    unsafe {
        if libc::clock_getcpuclockid(pid as i32, &mut clock) != 0
            || libc::clock_gettime(clock, &mut time) != 0
        {
            return f64::NAN;
        }
    }
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory in octets.
pub(crate) fn resident(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line =
        text.lines().find(|line| line.starts_with("VmRSS:")).ok_or_else(|| format!("{path}: no VmRSS"))?;
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| format!("{path}: {line}"))
}

/// Pins a process with all its present threads to one core.
pub(crate) fn pin(pid: u32, core: usize) -> Result<(), String> {
    allow(pid, core..core + 1)
}

/// Lets a process run anywhere again.
pub(crate) fn unpin(pid: u32) -> Result<(), String> {
    allow(pid, 0..libc::CPU_SETSIZE as usize)
}

fn allow(pid: u32, cores: std::ops::Range<usize>) -> Result<(), String> {
    let path = format!("/proc/{pid}/task");
    for entry in std::fs::read_dir(&path).map_err(|error| format!("{path}: {error}"))?.flatten() {
        let Some(thread) = entry.file_name().to_string_lossy().parse::<i32>().ok() else { continue };
        // SAFETY: a zeroed cpu_set_t is the empty set; the calls touch only it.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            cores.clone().for_each(|core| libc::CPU_SET(core, &mut set));
            libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &set);
        }
    }
    Ok(())
}
