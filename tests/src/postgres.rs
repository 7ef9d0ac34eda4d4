//! A real PostgreSQL from the distribution's packages: a cluster of its own in a temporary folder, reached by a socket in it.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Process, Signal, output, tail};
use crate::wait::eventually;

const INSTALL: &str = "PostgreSQL (Debian: apt-get install postgresql)";
const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Debian's user and group `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;
/// Where Debian keeps the programs of each version.
const PROGRAMS: &str = "/usr/lib/postgresql";

/// A PostgreSQL, and its data. Both end with this, or with the test process.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    folder: TempDir,
}

impl Postgres {
    /// Starts one and waits until it serves. Installs the package where it is missing and this is root.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("sluicegate-postgres-").tempdir()?;
        let is_root = fs::metadata(folder.path())?.uid() == 0;
        if is_root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(folder.path()).arg("-D").arg(folder.path().join("data"));
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        output(command("initdb").args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]), INSTALL)?;
        let log = File::create(folder.path().join("log"))?;
        let mut server = command("postgres");
        server.arg("-k").arg(folder.path()).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Process::spawn(&mut server, folder.path())?;
        let mut postgres = Self { process, programs, folder };
        postgres.wait_ready()?;
        Ok(postgres)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let log = self.folder.path().join("log");
        let ready = eventually(START_WITHIN, "PostgreSQL to serve", || {
            if let Some(status) = self.process.ended()? {
                bail!("it ended: {status}");
            }
            Ok(self.query("postgres", "SELECT 1").ok().map(drop))
        });
        ready.with_context(|| tail(&log))
    }

    /// The variables by which its clients find it.
    pub fn env(&self) -> [(&'static str, &std::ffi::OsStr); 2] {
        [("PGHOST", self.folder.path().as_os_str()), ("PGUSER", "postgres".as_ref())]
    }

    /// The folder of its programs, `psql` among them.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// What a statement answers, without decoration.
    pub fn query(&self, database: &str, statement: &str) -> Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.envs(self.env()).args(["--no-psqlrc", "-At", "-d", database, "-c", statement]);
        Ok(String::from_utf8(output(&mut psql, INSTALL)?)?.trim_end().to_owned())
    }
}

impl Drop for Postgres {
    /// In good order: killed, it would leave its shared memory behind.
    fn drop(&mut self) {
        let stopped = self.process.signal(Signal::Int).and_then(|()| self.process.wait(STOP_WITHIN));
        if let Err(error) = stopped {
            eprintln!("PostgreSQL did not stop: {error:#}");
        }
    }
}

/// The folder of the newest version's programs.
fn programs() -> Result<PathBuf> {
    if let Some(found) = newest()? {
        return Ok(found);
    }
    // Only root can; whoever is not is told what to install.
    let apt =
        |args: &[&str]| output(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"), INSTALL);
    let installed =
        apt(&["update", "-q"]).and_then(|_| apt(&["install", "-qy", "--no-install-recommends", "postgresql"]));
    installed.with_context(|| format!("PostgreSQL is missing; install {INSTALL}"))?;
    newest()?.with_context(|| format!("no PostgreSQL in {PROGRAMS} after its installation"))
}

fn newest() -> Result<Option<PathBuf>> {
    let Ok(versions) = fs::read_dir(PROGRAMS) else { return Ok(None) };
    let mut found = Vec::new();
    for version in versions {
        let programs = version?.path().join("bin");
        let number = programs.parent().and_then(|folder| folder.file_name()?.to_str()?.parse::<u32>().ok());
        if ["initdb", "postgres", "psql", "createdb"].iter().all(|name| programs.join(name).exists()) {
            found.push((number, programs));
        }
    }
    Ok(found.into_iter().max().map(|(_, programs)| programs))
}
