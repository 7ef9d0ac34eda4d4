//! A plain Python loop over confluent-kafka, from PyPI.

use std::process::Command;

use anyhow::Result;
use sluicegate_tests::process::output;

use super::{arguments, built, sources};
use crate::contender::Task;

const PYTHON: &str = "Python 3 with venv (Debian: apt-get install python3-venv)";

pub(crate) fn command(task: &Task<'_>) -> Result<Command> {
    let folder = built("python", &["requirements.txt"], |folder| {
        output(Command::new("python3").args(["-m", "venv"]).arg(folder.join("env")), PYTHON)?;
        // By its module: the scripts of an environment name the folder that it was made in.
        let mut pip = Command::new(folder.join("env/bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "-r"]).arg(sources("python").join("requirements.txt"));
        output(&mut pip, PYTHON).map(drop)
    })?;
    let mut command = Command::new(folder.join("env/bin/python"));
    command.arg(sources("python").join("loop.py"));
    command.args(arguments(task));
    Ok(command)
}
