//! The processes of a run. All run the same pipeline file; each goes by a name of its own, which its requests carry.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::process::{Signal, peak_memory};
use sluicegate_tests::program::{Output, Running, free_address, sluicegate};
use sluicegate_tests::wait::eventually;

/// How long a process may take to load its plugins.
const START_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to finish what is in flight and end.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// A process's number: the how manieth of its run it is, from 0.
pub type Number = usize;

/// The processes of one pipeline. Those that still run end with this.
#[derive(Debug)]
pub struct Fleet {
    name: String,
    pipeline: Pipeline,
    cache: PathBuf,
    running: BTreeMap<Number, Running>,
    ended: Vec<(Number, Output)>,
}

impl Fleet {
    /// No process yet, of the pipeline of this name and file. `cache` is where the program keeps its lock files, what it
    /// compiled and what is changed at run time.
    pub fn new(name: &str, yaml: &str, cache: &Path) -> Result<Self> {
        let (cache, running, ended) = (cache.to_owned(), BTreeMap::new(), Vec::new());
        Ok(Self { name: name.to_owned(), pipeline: Pipeline::new(yaml)?, cache, running, ended })
    }

    /// Starts one more.
    pub fn start(&mut self) -> Result<Number> {
        self.start_as("")
    }

    /// Starts one more, with this identity; with none it takes the first that is free.
    pub fn start_as(&mut self, identity: &str) -> Result<Number> {
        let number = self.running.len() + self.ended.len();
        let (file, admin) = (self.pipeline.file(), free_address()?.to_string());
        let program = sluicegate(["run".as_ref(), file.as_os_str(), "--admin".as_ref(), admin.as_ref()])?;
        let program = program.env("XDG_CACHE_HOME", &self.cache).env("XDG_STATE_HOME", self.cache.join("state"));
        let program = program.env("FAULTS_PROCESS", self.client(number));
        self.running.insert(number, program.env("SLUICEGATE_INSTANCE", identity).spawn()?);
        Ok(number)
    }

    /// Who the requests of this process say they are from.
    pub fn client(&self, number: Number) -> String {
        format!("{}.{number}", self.name)
    }

    /// The processes that run.
    pub fn numbers(&self) -> Vec<Number> {
        self.running.keys().copied().collect()
    }

    /// Sends a process a signal.
    pub fn signal(&mut self, number: Number, signal: Signal) -> Result<()> {
        self.running.get_mut(&number).context("no such process")?.signal(signal)
    }

    /// Kills a process on the spot.
    pub fn kill(&mut self, number: Number) -> Result<()> {
        let killed = self.running.remove(&number).context("no such process")?.kill()?;
        let signal = killed.signal;
        self.ended.push((number, killed));
        ensure!(signal == Some(9), "process {number} ended before it was killed");
        Ok(())
    }

    /// Kills all that still run.
    pub fn kill_all(&mut self) -> Result<()> {
        self.fallen()?;
        self.numbers().into_iter().try_for_each(|number| self.kill(number))
    }

    /// Stops these processes in good order, all at once.
    pub fn stop(&mut self, numbers: &[Number]) -> Result<()> {
        for number in numbers {
            // One that has just started is ended on the spot by a signal, as it has not begun to listen.
            let listens = || Ok(self.said(*number)?.contains("admin endpoint on").then_some(()));
            eventually(START_WITHIN, "a process that listens to signals", listens)?;
            self.signal(*number, Signal::Term)?;
        }
        for number in numbers {
            let code = self.wait(*number, DRAINED_WITHIN)?;
            ensure!(code == Some(0), "process {number} was asked to end, and did with {code:?}");
        }
        Ok(())
    }

    /// Waits for the end of a process. Its exit code.
    pub fn wait(&mut self, number: Number, within: Duration) -> Result<Option<i32>> {
        let running = self.running.get_mut(&number).context("no such process")?;
        let what = format!("the end of process {number}");
        eventually(within, &what, || Ok((!running.is_running()?).then_some(())))?;
        self.bury(number)
    }

    /// The processes that ended by themselves since the last call, with their exit codes.
    pub fn fallen(&mut self) -> Result<Vec<(Number, Option<i32>)>> {
        let mut fallen = Vec::new();
        for number in self.numbers() {
            if !self.running.get_mut(&number).context("no such process")?.is_running()? {
                fallen.push((number, self.bury(number)?));
            }
        }
        Ok(fallen)
    }

    fn bury(&mut self, number: Number) -> Result<Option<i32>> {
        let output = self.running.remove(&number).context("no such process")?.wait(Duration::ZERO)?;
        let code = output.code;
        self.ended.push((number, output));
        Ok(code)
    }

    /// The most memory that each process has had, in bytes.
    pub fn memory(&self) -> Result<Vec<u64>> {
        self.running.values().map(|running| peak_memory(running.id())).collect()
    }

    /// What a process has said: its standard error.
    pub fn said(&self, number: Number) -> Result<String> {
        if let Some(running) = self.running.get(&number) {
            return running.stderr();
        }
        let ended = self.ended.iter().find(|ended| ended.0 == number);
        Ok(ended.context("no such process")?.1.stderr.clone())
    }

    /// Keeps what all processes have said, each in a file of this folder.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        for number in 0..self.running.len() + self.ended.len() {
            fs::write(folder.join(format!("{number}.log")), self.said(number)?)?;
        }
        Ok(fs::copy(self.pipeline.file(), folder.join("pipeline.yaml")).map(drop)?)
    }
}
