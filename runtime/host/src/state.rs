use std::path::{Path, PathBuf};

use crate::app::{App, LoadedPipeline};
use crate::exit::Exit;
use crate::journal::{Broken, Journal};

/// Where what is changed at run time is kept over a restart.
#[derive(Clone, Debug)]
pub(crate) struct StateFolder(Option<PathBuf>);

impl StateFolder {
    /// This folder, or the user's own for such things.
    pub(crate) fn new(given: Option<&Path>) -> Self {
        let folder = given.map(Path::to_owned).or_else(|| {
            let folders = directories::ProjectDirs::from("", "", "sluicegate")?;
            Some(folders.state_dir().unwrap_or_else(|| folders.data_local_dir()).to_owned())
        });
        if folder.is_none() {
            tracing::warn!("no folder is known for changes made at run time: a restart forgets them; give --state-dir");
        }
        StateFolder(folder)
    }

    /// A pipeline that is about to start, with what was changed in it at run time before.
    ///
    /// # Errors
    /// What is kept makes no sense.
    pub(crate) fn go_on(&self, app: &App, mut pipeline: LoadedPipeline) -> Result<LoadedPipeline, Exit> {
        let Some(folder) = &self.0 else { return Ok(pipeline) };
        match Journal::open(folder, &pipeline.config.name) {
            Ok(journal) => pipeline.restore(app, journal),
            Err(Broken::Content(error)) => return Err(Exit::usage(error)),
            Err(Broken::Folder(error)) => tracing::warn!("{error}; a restart forgets changes made at run time"),
        }
        Ok(pipeline)
    }
}
