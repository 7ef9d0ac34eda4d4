use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use anyhow::bail;

use crate::config::{self, Pipeline, Stage};
use crate::console::say;
use crate::dev::build::{self, Built};
use crate::dev::language::Language;
use crate::exit::Exit;
use crate::files::{self, Stamp};

const BAD: Style = AnsiColor::Red.on_default();
/// So many files and folders of a project are looked at.
const ENTRIES_MAX: usize = 10_000;
/// What tools make, and what no plugin is built from. Hidden ones are passed over too. A log may be what this writes itself: as
/// a source it would be built from again with every line.
const NO_SOURCES: [&str; 6] = ["target", "build", "cases", "node_modules", "__pycache__", "Cargo.lock"];
const NO_SOURCE_ENDINGS: [&str; 7] = ["wasm", "yaml", "yml", "md", "pyc", "sum", "log"];

/// A plugin's project, and the stages that run what is built of it.
pub(super) struct Project {
    folder: PathBuf,
    stages: Vec<String>,
    /// The stages' file.
    plugin: PathBuf,
    /// Whether the user named the folder, and so wants the stages' file to be what it builds, wherever that is.
    is_named: bool,
    /// Folders that are no sources, even where they lie in it: the pipeline's embedded logs.
    logs: Vec<PathBuf>,
    /// The sources of which it was built last, or not built.
    built: Option<Snapshot>,
}

/// A project's files and folders, as they are at some time.
#[derive(Default, PartialEq, Eq)]
struct Snapshot {
    files: BTreeMap<PathBuf, Option<Stamp>>,
    folders: BTreeSet<PathBuf>,
}

impl Snapshot {
    /// A file that one has and the other has not, or has otherwise.
    fn first_other<'a>(&'a self, other: &'a Snapshot) -> Option<&'a Path> {
        let differs = |one: &Snapshot, other: &Snapshot, file: &Path| one.files.get(file) != other.files.get(file);
        let mut all = other.files.keys().chain(self.files.keys());
        all.find(|file| differs(self, other, file)).map(PathBuf::as_path)
    }
}

impl Project {
    /// The projects of a pipeline's stages, the named ones and those that a stage's file lies in.
    ///
    /// # Errors
    /// There is no such stage, or its plugin is no file.
    pub(super) fn find(config: &Pipeline, named: &[(String, PathBuf)]) -> Result<Vec<Project>, Exit> {
        for (stage, folder) in named {
            let found = config.stages.iter().find(|other| other.name == *stage);
            if found.is_none_or(|found| found.plugin.file().is_none()) {
                let message =
                    format!("--source {stage}={}: no stage of that name has a plugin from a file", folder.display());
                return Err(Exit::usage(message));
            }
        }
        let mut projects: Vec<Project> = Vec::new();
        for stage in &config.stages {
            let Some(project) = Project::of(stage, config, named) else { continue };
            let same = |other: &&mut Project| other.folder == project.folder && other.plugin == project.plugin;
            match projects.iter_mut().find(same) {
                Some(other) => other.stages.extend(project.stages),
                None => projects.push(project),
            }
        }
        Ok(projects)
    }

    fn of(stage: &Stage, config: &Pipeline, named: &[(String, PathBuf)]) -> Option<Project> {
        let plugin = stage.plugin.file()?;
        let named = named.iter().find(|(name, _)| *name == stage.name).map(|(_, folder)| folder.clone());
        let is_named = named.is_some();
        let folder = named.unwrap_or_else(|| config::folder_of(plugin));
        (is_named || Language::of(&folder).is_some()).then(|| Project {
            folder,
            stages: vec![stage.name.clone()],
            plugin: plugin.to_owned(),
            is_named,
            logs: logs(config).cloned().collect(),
            built: None,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn stages(&self) -> &[String] {
        &self.stages
    }

    /// Whether it is the same project as one before, which then tells what is built already.
    pub(super) fn goes_on_from(&mut self, before: &mut Vec<Project>) {
        let same = |other: &Project| other.folder == self.folder && other.plugin == self.plugin;
        if let Some(at) = before.iter().position(same) {
            self.built = before.swap_remove(at).built;
        }
    }

    pub(super) fn has_changed(&self) -> bool {
        self.built.as_ref() != Some(&self.sources())
    }

    /// The folders in which a change may be one of the project's.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        self.sources().folders
    }

    /// Builds it, and tells how that went. Whether the stages' file is what was built.
    pub(super) fn build(&mut self) -> bool {
        // As they are before: what is saved meanwhile is built next.
        let sources = self.sources();
        match self.built.as_ref().and_then(|built| built.first_other(&sources)) {
            Some(saved) => say!("building {}: {} has changed", self.folder.display(), saved.display()),
            None => say!("building {}", self.folder.display()),
        }
        self.built = Some(sources);
        match self.build_plugin() {
            Ok(built) => {
                say!("built {built}");
                true
            }
            Err(error) => {
                say!("{BAD}not built{BAD:#}: {error:#}");
                false
            }
        }
    }

    fn build_plugin(&self) -> anyhow::Result<Built> {
        let built = build::build(&self.folder)?;
        if is_same(&built.path, &self.plugin) {
            return Ok(built);
        }
        if !self.is_named {
            let (made, wanted) = (built.path.display(), self.plugin.display());
            bail!("it makes {made}, but the pipeline runs {wanted}: name that, or give --source STAGE=FOLDER");
        }
        files::replace(&self.plugin, &std::fs::read(&built.path)?)?;
        Ok(Built { path: self.plugin.clone(), ..built })
    }

    fn sources(&self) -> Snapshot {
        let mut sources = Snapshot::default();
        self.walk(&self.folder, &mut sources);
        sources
    }

    fn walk(&self, folder: &Path, into: &mut Snapshot) {
        into.folders.insert(folder.to_owned());
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if into.files.len() + into.folders.len() >= ENTRIES_MAX {
                return;
            }
            let path = entry.path();
            if !is_source(&path) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    if !self.logs.iter().any(|log| is_same(log, &path)) {
                        self.walk(&path, into);
                    }
                }
                _ => drop(into.files.insert(path.clone(), Stamp::of(&path))),
            }
        }
    }
}

/// The folders of the pipeline's embedded logs.
fn logs(config: &Pipeline) -> impl Iterator<Item = &PathBuf> {
    let source = match &config.source {
        config::Source::Local(local) => Some(&local.path),
        config::Source::Kafka(_) => None,
    };
    let sink = match &config.sink {
        config::Sink::Local(local) => Some(&local.path),
        config::Sink::Kafka(_) => None,
    };
    source.into_iter().chain(sink)
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && !NO_SOURCES.contains(&&*name) && !NO_SOURCE_ENDINGS.contains(&&*ending)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn project(folder: &Path) -> Project {
        let text = "name: p\nsource: { local: { path: data, topics: [in] } }\nstages: [{ plugin: p.wasm }, { name: again, plugin: p.wasm }, \
                    { plugin: other/q.wasm }]\nsink: { local: { path: data, topic: out } }\n";
        let config = config::parse(text, &folder.join("pipeline.yaml"), &config::Process).unwrap();
        let mut projects = Project::find(&config, &[]).unwrap();
        assert_eq!(projects.len(), 1);
        projects.remove(0)
    }

    #[test]
    fn only_sources_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["src", "target", "cases", ".git"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("Cargo.toml"), "").unwrap();
        let mut project = project(folder.path());
        assert_eq!(project.stages(), ["p", "again"]);
        assert!(project.has_changed(), "it was never built");
        project.built = Some(project.sources());
        // The log is made when the pipeline starts for the first time.
        fs::create_dir(at("data")).unwrap();
        for name in
            ["target/x", "data/log.db", "cases/a.yaml", ".git/x", "p.wasm", "pipeline.yaml", "README.md", "dev.log"]
        {
            fs::write(at(name), "x").unwrap();
            assert!(!project.has_changed(), "{name}");
        }
        for name in ["src/lib.rs", "build.rs"] {
            fs::write(at(name), "x").unwrap();
            assert!(project.has_changed(), "{name}");
            project.built = Some(project.sources());
        }
        fs::write(at("src/lib.rs"), "longer").unwrap();
        let (built, now) = (project.built.as_ref().unwrap(), project.sources());
        assert!(project.has_changed() && built.first_other(&now) == Some(&at("src/lib.rs")));
    }
}
