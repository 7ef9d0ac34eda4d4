//! The ten-minute path of the README, as written: every line of its shell blocks is run, in order, in one folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sluicegate_tests::build::{program, project, target_folder};
use sluicegate_tests::process::{Process, Signal};
use sluicegate_tests::wait::eventually;

const SECTION: &str = "## Ten minutes to a plugin of your own";

#[test]
fn the_ten_minute_path_works_as_written() -> Result<()> {
    let readme = std::fs::read_to_string(project().join("README.md"))?;
    let section = readme.split_once(SECTION).context("the section")?.1.split("\n## ").next().unwrap_or_default();
    let lines: Vec<&str> = shell_lines(section).collect();
    ensure!(lines.iter().any(|line| line.starts_with("sluicegate run")), "the section runs a pipeline: {lines:?}");

    let mut shell = Shell::new()?;
    let mut consumed = String::new();
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("cargo install") {
            continue; // `Shell` has put the program on the path.
        }
        match line.strip_prefix("cd ") {
            Some(folder) => shell.folder = shell.folder.join(folder),
            None if line.starts_with("sluicegate run") => {
                // Ctrl-C comes when the person sees the output; here, when the next line shows it.
                let next = lines.get(index + 1).context("a line that shows what came of it")?;
                consumed = shell.run_until(line, next)?;
            }
            None => drop(shell.run(line)?),
        }
    }
    ensure!(consumed.contains("\"> HELLO\""), "what came out: {consumed}");
    Ok(())
}

/// The commands of the section's `sh` blocks, without their comments.
fn shell_lines(section: &str) -> impl Iterator<Item = &str> {
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let commands = blocks.flat_map(str::lines).map(|line| line.split("  #").next().unwrap_or(line).trim());
    commands.filter(|line| !line.is_empty())
}

/// A folder that begins as a checkout does: with `plugins/` in it, and `sluicegate` on the path.
struct Shell {
    folder: PathBuf,
    path: std::ffi::OsString,
    temporary: tempfile::TempDir,
}

impl Shell {
    fn new() -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        std::os::unix::fs::symlink(project().join("plugins"), temporary.path().join("plugins"))?;
        let bin = program()?.parent().map(Path::to_owned).context("the program's folder")?;
        let before = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&before)))?;
        Ok(Shell { folder: temporary.path().to_owned(), path, temporary })
    }

    fn command(&self, line: &str) -> Result<Command> {
        let mut command = Command::new("sh");
        // `exec` makes the shell the program itself, so that a signal reaches it.
        let line = if line.contains('|') { line.to_owned() } else { format!("exec {line}") };
        command.arg("-c").arg(line).current_dir(&self.folder).env("PATH", &self.path);
        command.env("XDG_STATE_HOME", self.temporary.path());
        // The scaffolded project is built beside the others, not anew each time.
        command.env("CARGO_TARGET_DIR", target_folder()?.join("scaffold"));
        Ok(command)
    }

    fn run(&self, line: &str) -> Result<String> {
        let output = self.command(line)?.output()?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "`{line}` failed ({}):\n{stdout}{stderr}", output.status);
        Ok(stdout.into_owned())
    }

    /// Runs a pipeline, interrupts it, and looks, until `look` shows something.
    fn run_until(&self, pipeline: &str, look: &str) -> Result<String> {
        eventually(Duration::from_secs(60), "the pipeline's output", || {
            let scratch = tempfile::tempdir()?;
            let log = scratch.path().join("stderr");
            let mut command = self.command(pipeline)?;
            command.stderr(std::fs::File::create(&log)?);
            let mut process = Process::spawn(&mut command, scratch.path())?;
            eventually(Duration::from_secs(60), "a worker that runs", || {
                Ok(std::fs::read_to_string(&log)?.contains("running").then_some(()))
            })?;
            process.signal(Signal::Int)?;
            let status = process.wait(Duration::from_secs(10))?;
            ensure!(status.success(), "`{pipeline}` ended with {status}: {}", std::fs::read_to_string(&log)?);
            let seen = self.run(look)?;
            Ok((!seen.is_empty()).then_some(seen))
        })
    }
}
