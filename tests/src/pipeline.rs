//! Pipeline files, and the processes that run them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::program::{Running, free_address, sluicegate};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A pipeline file in a folder of its own.
#[derive(Debug)]
pub struct Pipeline {
    folder: TempDir,
}

impl Pipeline {
    /// Writes the file.
    pub fn new(yaml: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluicegate-pipeline-").tempdir()?;
        fs::write(folder.path().join("pipeline.yaml"), yaml)?;
        Ok(Self { folder })
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("pipeline.yaml")
    }

    /// Starts a process that runs the file, without waiting for anything. All of them keep what is changed at run time in
    /// one place.
    pub fn start(&self, admin: SocketAddr) -> Result<Running> {
        let file = self.file();
        let admin = admin.to_string();
        let program = sluicegate(["run".as_ref(), file.as_os_str(), "--admin".as_ref(), admin.as_ref()])?;
        program.env("XDG_STATE_HOME", self.folder.path()).spawn()
    }

    /// Starts a process that runs the file and waits until it is ready.
    pub fn run(&self) -> Result<Running> {
        let admin = free_address()?;
        let mut running = self.start(admin)?;
        running.wait_ready(admin, READY_WITHIN)?;
        Ok(running)
    }
}
