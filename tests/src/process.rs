//! Processes that a test starts: signalled, waited for, and never left behind.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::wait::eventually;

/// The kernel's clock tick, in which `/proc` counts CPU time: 100 a second on Linux, whatever the architecture.
const TICKS: f64 = 100.0;

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks for an orderly end.
    Term,
    /// What Ctrl-C sends.
    Int,
    /// Ends the process on the spot.
    Kill,
    /// Stops the process in its tracks, until [`Signal::Cont`].
    Stop,
    /// Lets a stopped process go on.
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// A process that is killed when this is dropped, and also when the test process ends without
/// dropping it: by `exit`, which drops no static, by a crash, or by a signal.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    leash: Option<Leash>,
}

impl Process {
    /// Starts the command. `folder` is deleted if the test process ends while the process runs.
    pub fn spawn(command: &mut Command, folder: &Path) -> Result<Self> {
        let program = command.get_program().to_owned();
        let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let leash = Leash::tie(child.id(), folder);
        let mut process = Self { child, ended: None, leash: None };
        process.leash = Some(leash?); // An error drops, and so kills, the process.
        Ok(process)
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
            self.untie();
        }
        Ok(self.ended)
    }

    /// Sends a signal; an error if the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("no {} for a process that has ended: {status}", signal.name());
        }
        let mut kill = shell(r#"kill -s "$1" "$2""#);
        let status = kill.args([signal.name(), &self.child.id().to_string()]).status()?;
        if !status.success() {
            bail!("kill -s {} {}: {status}", signal.name(), self.child.id());
        }
        Ok(())
    }

    /// Kills the process, if it still runs, and waits for its end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        self.ended = Some(status);
        self.untie();
        Ok(status)
    }

    /// Once the process has ended its id may be another's: nothing may kill that.
    fn untie(&mut self) {
        if self.ended.is_some() {
            self.leash = None;
        }
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("the end of process {}", self.child.id());
        eventually(within, &what, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("process {} could not be killed: {error:#}", self.child.id());
        }
    }
}

/// A shell that reads from a pipe whose other end only the test process holds. The pipe ends when
/// the test process does; then the shell kills the process it was tied to.
#[derive(Debug)]
struct Leash(Child);

impl Leash {
    fn tie(process: u32, folder: &Path) -> Result<Self> {
        // The signals that a terminal sends to all of a test run would end it too early.
        let mut shell = shell(r#"trap '' INT TERM HUP QUIT; read -r _; kill -s KILL "$1"; rm -rf -- "$2""#);
        shell.arg(process.to_string()).arg(folder);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(shell.spawn().context("cannot run sh")?))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Killed before its pipe is closed: it does nothing any more.
        if self.0.kill().is_ok() {
            let _ = self.0.wait();
        }
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]);
    command
}

/// Runs the command to its end and gives its standard output; an error tells its standard error.
/// `install` says how to get the program where it is missing.
pub fn output(command: &mut Command, install: &str) -> Result<Vec<u8>> {
    let output = command.output().map_err(|error| missing(command.get_program(), error, install))?;
    if !output.status.success() {
        let (out, err) = (&output.stdout, &output.stderr);
        let said = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        bail!("{command:?}: {}\n{}", output.status, last_lines(&said, 60));
    }
    Ok(output.stdout)
}

fn missing(program: &OsStr, error: io::Error, install: &str) -> anyhow::Error {
    let program = program.display();
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!("`{program}` was not found; install {install}"),
        _ => anyhow::Error::new(error).context(format!("cannot run `{program}`")),
    }
}

/// User and system time of all of the process's threads so far, in seconds. An error if it has ended.
pub fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which may hold anything: `state` is field 3 of proc_pid_stat(5), `utime` and `stime` are 14 and 15.
    let (_, fields) = stat.rsplit_once(") ").context("no name in /proc/…/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    ensure!(fields.first() != Some(&"Z"), "the process has ended");
    let ticks = |at: usize| -> Result<f64> { Ok(fields.get(at).context("/proc/…/stat is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// The most memory of a process that was resident at once, in bytes.
pub fn peak_memory(process: u32) -> Result<u64> {
    kernel_size(&format!("/proc/{process}/status"), "VmHWM")
}

/// What a file of the kernel's says of a size, as `/proc/meminfo` and `/proc/…/status` do, in bytes.
pub fn kernel_size(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let size = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = size.with_context(|| format!("no {name} in {file}"))?.trim().trim_end_matches(" kB").parse::<u64>()?;
    Ok(kib * 1024)
}

/// The last lines of a log, for an error's text.
pub fn tail(log: &Path) -> String {
    match fs::read(log) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), 30),
        Err(error) => format!("({}: {error})", log.display()),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_process_is_signalled_and_waited_for() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut process = Process::spawn(Command::new("sleep").arg("600"), folder.path())?;
        assert!(process.wait(Duration::from_millis(20)).is_err());
        process.signal(Signal::Term)?;
        assert_eq!(process.wait(SOON)?.signal(), Some(15));
        assert!(process.signal(Signal::Term).is_err(), "its id may be another's by now");
        Ok(())
    }

    #[test]
    fn a_process_ends_with_the_test_process() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        let mut process = Process::spawn(Command::new("sleep").arg("600"), &data)?;
        let mut leash = process.leash.take().context("a leash")?;
        leash.0.wait()?; // Closes its pipe first, as the end of the test process does.
        assert!(!data.exists());
        assert_eq!(process.wait(SOON)?.signal(), Some(9));
        Ok(())
    }

    #[test]
    fn a_dropped_process_is_killed_and_keeps_its_folder() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let process = Process::spawn(Command::new("sleep").arg("600"), folder.path())?;
        let id = process.child.id().to_string();
        drop(process);
        let alive = shell(r#"kill -0 "$1" 2>/dev/null"#).arg(id).status()?;
        assert!(!alive.success() && folder.path().exists());
        Ok(())
    }

    #[test]
    fn a_missing_program_says_what_to_install() {
        let error = output(&mut Command::new("no-such-program"), "the moon").expect_err("missing");
        assert_eq!(error.to_string(), "`no-such-program` was not found; install the moon");
    }
}
