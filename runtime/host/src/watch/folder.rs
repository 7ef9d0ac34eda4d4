//! A folder of pipeline files: a new one starts its pipeline, a changed one is taken up, and one that is gone ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::{Error, ErrorKind};

use super::notice::{News, Notice};
use crate::app::App;
use crate::config::{self, ConfigError, Pipeline};
use crate::exit::Exit;
use crate::files::{Stamp, folders};
use crate::state::StateFolder;
use crate::supervisor::{Running, Supervisor};

/// The extensions of pipeline files.
const ENDINGS: [&str; 2] = ["yaml", "yml"];
/// How often a file that does not run is tried again.
const TRIED_EVERY: Duration = Duration::from_secs(30);

/// What came of each file of the folder at the last look. Shared.
#[derive(Clone, Default)]
pub(crate) struct Files(Arc<Mutex<BTreeMap<PathBuf, Found>>>);

/// A file of the folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The pipeline that runs from it.
    pub(crate) pipeline: Option<String>,
    /// Why what is in it now does not run.
    pub(crate) refused: Option<String>,
    stamp: Option<Stamp>,
    tried: Option<Instant>,
    /// Only another file mends it.
    is_final: bool,
}

/// What is to be done about a file.
enum Step {
    /// Nothing.
    Leave,
    /// Its pipeline has ended by itself, for this reason: note it, and try the file again later.
    NoteFailure(Error),
    /// Have what is in it now run.
    TakeUp,
    /// The same, as it may run by now.
    TryAgain,
}

/// What to do about a file whose stamp is `now`; none where it cannot be read, as when a mount fails: what runs from it goes
/// on.
fn decide(now: Option<&Stamp>, before: Option<&Found>, failure: Option<Error>) -> Step {
    let Some(before) = before else { return Step::TakeUp };
    let is_another = now.is_some_and(|now| before.stamp.as_ref() != Some(now));
    match failure {
        _ if is_another => Step::TakeUp,
        Some(failure) => Step::NoteFailure(failure),
        None if now.is_some() && before.is_to_be_tried_again() => Step::TryAgain,
        None => Step::Leave,
    }
}

impl Found {
    /// The reason why a file does not run may lie outside it: its plugin comes later, a registry or a broker does not answer.
    fn is_to_be_tried_again(&self) -> bool {
        self.refused.is_some() && !self.is_final && self.tried.is_none_or(|tried| tried.elapsed() >= TRIED_EVERY)
    }

    /// Why its pipeline has ended by itself, unless that was noted already.
    fn failure(&self, supervisor: &Supervisor) -> Option<Error> {
        let running = self.pipeline.as_ref().filter(|_| self.refused.is_none())?;
        supervisor.find(running)?.failure()
    }

    fn tell(&self) {
        let why = self.refused.as_deref().unwrap_or_default();
        match &self.pipeline {
            Some(pipeline) => tracing::error!(pipeline, "{why}\nwhat ran goes on"),
            None => tracing::error!("{why}\nit does not run"),
        }
    }
}

/// The folder.
pub(crate) struct Folder {
    path: PathBuf,
    files: Files,
    state: StateFolder,
    /// The settings of the process's one admin endpoint.
    admin: Option<config::Admin>,
}

/// The thread that watches the folder. It ends with this.
pub(crate) struct Watch(Sender<News>);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.send(News::End);
    }
}

impl Files {
    /// Each file, and what came of it.
    pub(crate) fn list(&self) -> Vec<(PathBuf, Found)> {
        self.lock().iter().map(|(file, found)| (file.clone(), found.clone())).collect()
    }

    fn note(&self, file: &Path, found: Found) {
        self.lock().insert(file.to_owned(), found);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder {
    /// The folder, before any file is read. `admin` has the settings of the process's endpoint, if it has one.
    pub(crate) fn new(path: &Path, state: StateFolder, admin: Option<config::Admin>) -> Folder {
        Folder { path: path.to_owned(), files: Files::default(), state, admin }
    }

    /// The admin endpoint of the first file in the folder that names one.
    ///
    /// # Errors
    /// The folder is not there.
    pub(crate) fn admin(path: &Path) -> Result<Option<config::Admin>, Exit> {
        let files = read(path).map_err(|error| {
            Exit::usage(format!("--config-dir {}: cannot read the folder: {error}", path.display()))
        })?;
        // What is wrong with a file is said when it is to run.
        Ok(files.iter().filter_map(|file| config::load(file).ok()?.admin).next())
    }

    /// What came of each file.
    pub(crate) fn files(&self) -> Files {
        self.files.clone()
    }

    /// Starts what is in the folder and follows it from now on, on a thread of its own. Tells the supervisor once it has looked
    /// at all files.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub(crate) fn follow(self, app: &Arc<App>, supervisor: &Arc<Supervisor>) -> Result<Watch, Exit> {
        let (news, heard) = channel();
        let (app, supervisor) = (Arc::clone(app), Arc::clone(supervisor));
        let mut notice = Notice::new(news.clone(), heard);
        super::spawn("folder", move || {
            let mut there = BTreeSet::new();
            loop {
                match self.look(&app, &supervisor) {
                    Ok(files) => {
                        there = files;
                        supervisor.set_started();
                    }
                    // A folder that cannot be read is not one that says that nothing is to run.
                    Err(error) => tracing::warn!("{}: {error}; its pipelines go on", self.path.display()),
                }
                notice.observe(&there.iter().flat_map(|file| folders(file)).chain([self.path.clone()]).collect());
                if notice.wait() == News::End {
                    return;
                }
            }
        })?;
        Ok(Watch(news))
    }

    /// Brings the pipelines that run in line with the files, which it returns.
    ///
    /// # Errors
    /// The folder cannot be read; nothing was changed.
    fn look(&self, app: &App, supervisor: &Supervisor) -> std::io::Result<BTreeSet<PathBuf>> {
        let there = read(&self.path)?;
        let mut known = self.files.lock().clone();
        let mut gone = known.extract_if(.., |file, _| !there.contains(file)).collect();
        let mut refused = Vec::new();
        for file in &there {
            let (before, now) = (known.get(file), Stamp::of(file));
            match decide(now.as_ref(), before, before.and_then(|before| before.failure(supervisor))) {
                Step::Leave => {}
                Step::NoteFailure(failure) => {
                    let is_final =
                        !matches!(failure.kind, ErrorKind::Unreachable | ErrorKind::Login | ErrorKind::Config);
                    let refused = Some(failure.message);
                    let before = before.cloned().unwrap_or_default();
                    self.files.note(file, Found { refused, tried: Some(Instant::now()), is_final, ..before });
                }
                Step::TakeUp => self.follow_up(app, supervisor, file, before, &mut gone),
                Step::TryAgain => refused.push((file, before)),
            }
        }
        for (file, found) in gone {
            self.files.lock().remove(&file);
            if let Some(running) = found.pipeline.and_then(|name| supervisor.find(&name)) {
                tracing::info!(pipeline = %running.name(), "its file is gone: it ends");
                supervisor.remove(&running);
            }
        }
        // One at a time: it may wait for a registry, and files that change meanwhile wait for it.
        if let Some((file, before)) =
            refused.into_iter().min_by_key(|(_, before)| before.and_then(|before| before.tried))
        {
            self.follow_up(app, supervisor, file, before, &mut BTreeMap::new());
        }
        Ok(there)
    }

    /// Has what is in a file now run, and notes what came of it.
    fn follow_up(
        &self,
        app: &App,
        supervisor: &Supervisor,
        file: &Path,
        before: Option<&Found>,
        gone: &mut BTreeMap<PathBuf, Found>,
    ) {
        let pipeline = before.and_then(|before| before.pipeline.clone());
        // Looked at first: what is written while it is read is taken up at the next look.
        let stamp = Stamp::of(file);
        let mut found = Found { pipeline, refused: None, stamp, tried: Some(Instant::now()), is_final: false };
        found.refused = self.take_up(app, supervisor, file, &mut found, gone).err().map(|error| error.message);
        if found.refused.is_some() && before.map(|before| &before.refused) != Some(&found.refused) {
            found.tell();
        }
        self.files.note(file, found);
    }

    /// Has what is in a file now run. `gone` are files that are no longer there; the pipeline of one that was renamed goes
    /// on.
    fn take_up(
        &self,
        app: &App,
        supervisor: &Supervisor,
        file: &Path,
        found: &mut Found,
        gone: &mut BTreeMap<PathBuf, Found>,
    ) -> Result<(), Exit> {
        let running = |found: &Found| found.pipeline.as_ref().and_then(|name| supervisor.find(name));
        let config = self.read_pipeline(file).inspect_err(|error| {
            if let Some(before) = running(found) {
                before.pipeline().refuse_file(&error.message);
            }
        })?;
        let name = config.name.clone();
        let renamed = gone.iter().find(|(_, gone)| gone.pipeline.as_ref() == Some(&name)).map(|(file, _)| file.clone());
        if let Some(renamed) = renamed {
            gone.remove(&renamed);
            self.files.lock().remove(&renamed);
            if let Some(overwritten) = running(found) {
                tracing::info!(pipeline = %overwritten.name(), "its file is overwritten by another: it ends");
                supervisor.remove(&overwritten);
            }
            found.pipeline = Some(name.clone());
        }
        let before = running(found);
        let has_its_name = before.as_ref().is_some_and(|before| before.name() == name);
        if !has_its_name && supervisor.find(&name).is_some() {
            let message = format!("there is another pipeline named '{name}'; names are unique in a process");
            return Err(ConfigError::of_file(file, message).into());
        }
        match before {
            Some(before) if has_its_name && before.failure().is_none() => {
                self.change(app, supervisor, &before, config)?
            }
            before => {
                let mut loaded = app.load_with(self.state.journal(&name)?, config)?;
                loaded.restore(app)?;
                if let Some(before) = before {
                    if has_its_name {
                        loaded.take_seat_of(&before.pipeline());
                    }
                    supervisor.remove(&before);
                }
                supervisor.add(loaded)?;
            }
        }
        found.pipeline = Some(name);
        Ok(())
    }

    fn read_pipeline(&self, file: &Path) -> Result<Pipeline, Exit> {
        let config = config::load(file)?;
        let is_own = |named: &config::Admin| self.admin.as_ref().is_some_and(|own| own.is_same(named));
        if config.admin.as_ref().is_some_and(|named| !is_own(named)) {
            let message = "its 'admin' is not that with which the process was started, and which a running process keeps; \
                           leave it out here, or restart";
            return Err(ConfigError::of_file(file, message).into());
        }
        Ok(config)
    }

    /// Has a running pipeline go on as its file now says: with its present group members, where possible.
    fn change(&self, app: &App, supervisor: &Supervisor, running: &Arc<Running>, config: Pipeline) -> Result<(), Exit> {
        let before = running.pipeline();
        let keeps_members = config.keeps_members_of(&before.config);
        let next = before.successor(app, config)?;
        // Asked last: loading takes its time, in which a worker may end.
        if keeps_members && !running.lacks_workers() {
            supervisor.change(running, next);
            return Ok(());
        }
        tracing::info!(pipeline = %running.name(), "its file has changed where it connects: its workers are replaced");
        supervisor.remove(running);
        supervisor.add(next)
    }
}

/// The pipeline files in a folder. Names that begin with a dot are temporary files of whoever writes there.
fn read(folder: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_pipeline = path.extension().is_some_and(|end| ENDINGS.iter().any(|ending| end == *ending));
        if is_pipeline && !is_hidden && may_be_file(&path) {
            files.insert(path);
        }
    }
    Ok(files)
}

/// A file that cannot be read, as when a mount fails, counts as there.
fn may_be_file(path: &Path) -> bool {
    match path.metadata() {
        Ok(data) => data.is_file(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_looked_at_is_there_and_what_runs_from_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.yaml"), "").unwrap();
        std::fs::write(at(".new.yaml"), "").unwrap();
        std::fs::create_dir(at("folder.yaml")).unwrap();
        symlink(at("nothing"), at("gone.yaml")).unwrap();
        // No user may look at this one, be it root: it leads to itself.
        symlink(at("loop.yml"), at("loop.yml")).unwrap();
        assert_eq!(read(folder.path()).unwrap(), BTreeSet::from([at("a.yaml"), at("loop.yml")]));

        let known = Found { stamp: Stamp::of(&at("a.yaml")), ..Found::default() };
        assert!(matches!(decide(Stamp::of(&at("loop.yml")).as_ref(), Some(&known), None), Step::Leave));
        assert!(matches!(decide(None, None, None), Step::TakeUp), "it is said why it does not run");
    }

    #[test]
    fn a_file_is_taken_up_once_and_again_when_it_is_another_or_may_run_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "a").unwrap();
        let now = Stamp::of(&path);
        let step = |known: &Found| decide(now.as_ref(), Some(known), None);
        let known = Found { stamp: now.clone(), ..Found::default() };
        assert!(matches!(step(&known), Step::Leave));
        assert!(matches!(step(&Found::default()), Step::TakeUp), "it was another");
        let refused = Found { refused: Some("no plugin".into()), ..known.clone() };
        assert!(matches!(step(&refused), Step::TryAgain));
        assert!(matches!(step(&Found { tried: Some(Instant::now()), ..refused.clone() }), Step::Leave));
        assert!(matches!(step(&Found { is_final: true, ..refused }), Step::Leave));

        let failure = || Some(Error::new(ErrorKind::Stopped, "it failed"));
        assert!(matches!(decide(now.as_ref(), Some(&known), failure()), Step::NoteFailure(_)));
        assert!(matches!(decide(now.as_ref(), Some(&Found::default()), failure()), Step::TakeUp));
    }
}
