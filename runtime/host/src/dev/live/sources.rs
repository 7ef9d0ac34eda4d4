use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};

use super::project::Project;
use crate::config::{self, Pipeline};
use crate::exit::Exit;
use crate::files::{Stamp, folders};
use crate::watch::notice::{News, Notice};

/// Everything that is followed: the pipeline's file, the plugins' projects, and the files of plugins that have none here.
pub(super) struct Sources {
    pipeline: PathBuf,
    named: Vec<(String, PathBuf)>,
    projects: Vec<Project>,
    /// By stage, the file of a plugin, and how it was last.
    plugins: BTreeMap<String, (PathBuf, Option<Stamp>)>,
    /// How the pipeline's file was when it was read.
    stamp: Option<Stamp>,
    notice: Notice,
}

impl Sources {
    /// Of the pipeline in this file, with the projects that the user names by stage.
    pub(super) fn new(pipeline: &Path, named: &[(String, PathBuf)], news: Sender<News>, heard: Receiver<News>) -> Self {
        Sources {
            pipeline: pipeline.to_owned(),
            named: named.to_vec(),
            projects: Vec::new(),
            plugins: BTreeMap::new(),
            stamp: None,
            notice: Notice::new(news, heard),
        }
    }

    pub(super) fn notice(&self) -> &Notice {
        &self.notice
    }

    /// Reads the pipeline, and follows from now on what belongs to it.
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub(super) fn read_pipeline(&mut self) -> Result<Pipeline, Exit> {
        self.stamp = Stamp::of(&self.pipeline);
        self.observe();
        let config = config::load(&self.pipeline)?;
        let mut before = std::mem::replace(&mut self.projects, Project::find(&config, &self.named)?);
        self.projects.iter_mut().for_each(|project| project.goes_on_from(&mut before));
        let alone = config.stages.iter().filter(|stage| self.project_of(&stage.name).is_none());
        let file = |stage: &config::Stage| {
            let path = stage.plugin.file()?.to_owned();
            Some((stage.name.clone(), (path.clone(), Stamp::of(&path))))
        };
        self.plugins = alone.filter_map(file).collect();
        self.observe();
        Ok(config)
    }

    /// Asks for notice of changes in all folders there are now.
    pub(super) fn observe(&mut self) {
        let plugins = self.plugins.values().map(|(path, _)| path);
        let files = plugins.chain([&self.pipeline]).flat_map(|path| folders(path));
        let all: BTreeSet<PathBuf> = files.chain(self.projects.iter().flat_map(Project::folders)).collect();
        self.notice.observe(&all);
    }

    pub(super) fn project_of(&self, stage: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.stages().iter().any(|name| name == stage))
    }

    pub(super) fn is_pipeline_changed(&self) -> bool {
        self.stamp != Stamp::of(&self.pipeline)
    }

    /// The projects that were saved since they were built.
    pub(super) fn changed_projects(&mut self) -> impl Iterator<Item = &mut Project> {
        self.projects.iter_mut().filter(|project| project.has_changed())
    }

    /// The stages whose plugin's file is another one than at the last call.
    pub(super) fn changed_plugins(&mut self) -> Vec<String> {
        let changed = self.plugins.iter_mut().filter_map(|(stage, (path, stamp))| {
            let now = Stamp::of(path);
            // One that is gone may be on its way.
            let is_new = now.is_some() && now != *stamp;
            *stamp = now;
            is_new.then(|| stage.clone())
        });
        changed.collect()
    }

    /// Waits until anything has changed, or it is over.
    pub(super) fn wait(&self) -> News {
        while self.notice.wait() == News::Changed {
            let other = self.plugins.values().any(|(path, stamp)| Stamp::of(path) != *stamp);
            if other || self.is_pipeline_changed() || self.projects.iter().any(Project::has_changed) {
                return News::Changed;
            }
        }
        News::End
    }
}
