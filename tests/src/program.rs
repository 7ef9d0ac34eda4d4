//! The program `sluicegate` as its users meet it: a process with arguments, exit codes and output.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::build;
use crate::http;
use crate::process::{Process, Signal, tail};
use crate::wait::eventually;

/// How long [`Program::run`] lets the program run.
pub const RUN_WITHIN: Duration = Duration::from_secs(120);
/// How long the program may take to finish what is in flight and end, as its documentation says.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
/// Where the program keeps what is changed at run time.
const STATE: &str = "XDG_STATE_HOME";

/// The program with these arguments, which [`build::program`] gives on the first call.
pub fn sluicegate<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Program> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let path = build::once(&BUILT, build::program)?;
    Ok(Program::new(&path, args))
}

/// A program that is about to be run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    input: Vec<u8>,
    stderr: Option<File>,
}

/// What a program left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Program {
    fn new<S: AsRef<OsStr>>(path: &Path, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(path);
        command.args(args);
        Self { command, input: Vec::new(), stderr: None }
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in this folder.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it this standard input; without, it has an empty one.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Gives it a full disk for its standard error: every write fails.
    pub fn unheard(mut self) -> Result<Self> {
        self.stderr = Some(File::options().write(true).open("/dev/full")?);
        Ok(self)
    }

    /// Runs it to its end, which must come within [`RUN_WITHIN`].
    pub fn run(self) -> Result<Output> {
        self.spawn()?.wait(RUN_WITHIN)
    }

    /// Runs it to its end with a standard output that nobody reads: every write fails.
    pub fn run_unread(mut self) -> Result<Output> {
        let (reader, writer) = io::pipe()?;
        drop(reader);
        let folder = self.own_folder()?;
        fs::write(folder.path().join("stdout"), "")?;
        self.command.stdin(Stdio::null()).stdout(writer);
        self.command.stderr(File::create(folder.path().join("stderr"))?);
        let process = Process::spawn(&mut self.command, folder.path())?;
        drop(self.command); // And with it this process's end of the pipe.
        Running { process, folder }.wait(RUN_WITHIN)
    }

    /// Starts it between two pipes: what is written to one, and read from the other, is up to the test.
    pub fn pipe(mut self) -> Result<Piped> {
        let folder = self.own_folder()?;
        fs::write(folder.path().join("stdout"), "")?;
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        self.command.stderr(File::create(folder.path().join("stderr"))?);
        let mut process = Process::spawn(&mut self.command, folder.path())?;
        let child = process.child();
        let (stdin, stdout) = (child.stdin.take().context("a pipe")?, child.stdout.take().context("a pipe")?);
        Ok(Piped { running: Running { process, folder }, stdin, stdout })
    }

    /// Starts it.
    pub fn spawn(mut self) -> Result<Running> {
        let folder = self.own_folder()?;
        let file = |name| folder.path().join(name);
        fs::write(file("stdin"), &self.input)?;
        self.command.stdin(Stdio::from(File::open(file("stdin"))?));
        self.command.stdout(File::create(file("stdout"))?);
        let stderr = File::create(file("stderr"))?;
        self.command.stderr(self.stderr.unwrap_or(stderr));
        let process = Process::spawn(&mut self.command, folder.path())?;
        Ok(Running { process, folder })
    }

    /// A folder for what it says. What it keeps goes there too, and not to the user's folder, unless the test says where.
    fn own_folder(&mut self) -> Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("sluicegate-program-").tempdir()?;
        if self.command.get_envs().all(|(name, _)| name != STATE) {
            self.command.env(STATE, folder.path().join("state"));
        }
        Ok(folder)
    }
}

/// A program that runs between two pipes.
#[derive(Debug)]
pub struct Piped {
    /// The program; its output is not there, but in the pipe.
    pub running: Running,
    /// The end of the pipe that it reads from.
    pub stdin: ChildStdin,
    /// The end of the pipe that it writes to.
    pub stdout: ChildStdout,
}

/// A program that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    process: Process,
    folder: TempDir,
}

impl Running {
    /// Its standard output so far.
    pub fn stdout(&self) -> Result<String> {
        self.said("stdout")
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> Result<String> {
        self.said("stderr")
    }

    fn said(&self, file: &str) -> Result<String> {
        let bytes = fs::read(self.folder.path().join(file))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until `GET /ready` on its admin endpoint answers 200. An error if it ends before.
    pub fn wait_ready(&mut self, admin: SocketAddr, within: Duration) -> Result<()> {
        let mut answer = "nothing".to_owned();
        let process = &mut self.process;
        let ready = eventually(within, "/ready", || {
            if let Some(status) = process.ended()? {
                bail!("it ended: {status}");
            }
            let response = http::get(admin, "/ready");
            answer = format!("{response:?}");
            Ok(response.is_ok_and(|response| response.status == 200).then_some(()))
        });
        let stderr = || tail(&self.folder.path().join("stderr"));
        ready.with_context(|| format!("{admin} answered {answer}; standard error:\n{}", stderr()))
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Kills it on the spot (`kill -9`).
    pub fn kill(mut self) -> Result<Output> {
        let status = self.process.kill()?;
        self.output(status)
    }

    /// Asks it to end, which it must in good order and in time.
    pub fn end(mut self) -> Result<()> {
        self.signal(Signal::Term)?;
        let end = self.wait(DRAINED_WITHIN)?;
        ensure!(end.code == Some(0), "{end:?}");
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(mut self, within: Duration) -> Result<Output> {
        let stderr = self.folder.path().join("stderr");
        let status = self.process.wait(within);
        let status = status.with_context(|| format!("standard error:\n{}", tail(&stderr)))?;
        self.output(status)
    }

    fn output(&self, status: ExitStatus) -> Result<Output> {
        let (stdout, stderr) = (self.stdout()?, self.stderr()?);
        Ok(Output { code: status.code(), signal: status.signal(), stdout, stderr })
    }
}

/// The standard output of a command that did its work.
///
/// # Errors
/// It did not; with all that it said.
pub fn done(output: Output) -> Result<String> {
    ensure!(output.code == Some(0), "{:?}: {}\n{}", output.code, output.stdout, output.stderr);
    Ok(output.stdout)
}

/// An address of this machine for an admin endpoint, which nobody else takes before it is used: each test process has a
/// loopback address of its own, from which no client connects.
pub fn free_address() -> Result<SocketAddr> {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from((Ipv4Addr::new(127, high | 0x80, middle, low), PORT.fetch_add(1, Relaxed)));
    TcpListener::bind(address).with_context(|| address.to_string())?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new(Path::new("sh"), ["-c", script])
    }

    #[test]
    fn a_run_gives_code_and_output() -> Result<()> {
        let program = sh("cat; echo $A >&2; pwd; exit 3").input("in\n").env("A", "b");
        let output = program.folder(Path::new("/")).run()?;
        let expected = Output { code: Some(3), signal: None, stdout: "in\n/\n".into(), stderr: "b\n".into() };
        assert_eq!(output, expected);
        Ok(())
    }

    #[test]
    fn what_a_program_keeps_is_not_among_the_users_files() -> Result<()> {
        let kept = |program: Program| anyhow::Ok(program.run()?.stdout);
        assert!(kept(sh("echo $XDG_STATE_HOME"))?.contains("sluicegate-program-"));
        assert_eq!(kept(sh("echo $XDG_STATE_HOME").env(STATE, "/elsewhere"))?, "/elsewhere\n");
        Ok(())
    }

    #[test]
    fn free_addresses_differ_and_are_of_this_machine() -> Result<()> {
        let (one, other) = (free_address()?, free_address()?);
        assert!(one != other && one.ip().is_loopback() && one.ip() != Ipv4Addr::LOCALHOST, "{one}, {other}");
        Ok(())
    }

    #[test]
    fn a_running_program_is_signalled_and_killed() -> Result<()> {
        let script = "trap 'echo drained; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let up =
            |running: &Running| eventually(RUN_WITHIN, "its word", || Ok((running.stdout()? == "up\n").then_some(())));
        let mut running = sh(script).spawn()?;
        up(&running)?;
        running.signal(Signal::Term)?;
        let output = running.wait(RUN_WITHIN)?;
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "up\ndrained\n"));

        let running = sh(script).spawn()?;
        up(&running)?;
        assert_eq!(running.kill()?.signal, Some(9));
        Ok(())
    }

    #[test]
    fn a_program_that_ends_is_not_waited_for() -> Result<()> {
        let mut running = sh("echo 'no such broker' >&2; exit 3").spawn()?;
        let error = running.wait_ready(free_address()?, RUN_WITHIN).expect_err("it ended");
        assert!(!running.is_running()?);
        let error = format!("{error:#}");
        assert!(error.contains("no such broker") && error.contains("exit status: 3"), "{error}");
        Ok(())
    }
}
