use std::path::{Path, PathBuf};
use std::{fs, io};

use sluicegate_wasm::{CompilerProgram, Engine, EngineError, EngineSettings};

use super::COMPILE;

/// How often a temporary folder is deleted again: wasmtime's own thread may write a note into it meanwhile.
const DELETIONS_MAX: usize = 20;

/// A folder that is deleted when the program is done with it.
pub(super) struct TemporaryFolder(PathBuf);

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be deleted at all is left to whoever cleans temporary folders.
        let _ = (0..DELETIONS_MAX).any(|_| fs::remove_dir_all(&self.0).is_ok());
    }
}

/// Starts the engine. What plugins are compiled to is kept in `cache_dir`, or, where that cannot be used, in a temporary
/// folder, which is returned too, for as long as the process runs. In either case another process compiles them, and hands
/// over there what it made.
///
/// # Errors
/// The machine does not run wasmtime.
pub(super) fn start(
    cache_dir: Option<&Path>,
    temporary: &Path,
) -> Result<(Engine, Option<TemporaryFolder>), EngineError> {
    let why = match cache_dir.map(|cache_dir| Engine::new(&settings(cache_dir))) {
        Some(Ok(engine)) => return Ok((engine, None)),
        Some(Err(error)) => error.to_string(),
        None => "no cache folder is known, as no home folder is".to_owned(),
    };
    match start_in_temporary(temporary) {
        Ok((engine, folder)) => {
            tracing::warn!("{why}; plugins are compiled at each start");
            Ok((engine, Some(folder)))
        }
        Err(error) => {
            tracing::warn!(
                "{why}; nor can the temporary folder be used: {error}; plugins are compiled at each start and in this \
                 process, where nothing can end the compiler of a hostile one: set TMPDIR to a folder that it may write"
            );
            Ok((Engine::new(&EngineSettings::default())?, None))
        }
    }
}

fn start_in_temporary(parent: &Path) -> io::Result<(Engine, TemporaryFolder)> {
    let folder = TemporaryFolder(tempfile::Builder::new().prefix("sluicegate-").tempdir_in(parent)?.keep());
    // The engine makes it, for this user alone.
    let engine = Engine::new(&settings(&folder.0.join("compiled"))).map_err(io::Error::other)?;
    Ok((engine, folder))
}

fn settings(cache_dir: &Path) -> EngineSettings {
    let compiler = CompilerProgram { program: this_program(), arguments: vec![COMPILE.into(), cache_dir.into()] };
    EngineSettings { cache_dir: Some(cache_dir.to_owned()), compiler: Some(compiler) }
}

/// What can be started as this program. On Linux that is its very file, though another may have taken its place by then: what
/// another version compiles is of no use to this one.
fn this_program() -> PathBuf {
    match cfg!(target_os = "linux") {
        true => "/proc/self/exe".into(),
        // A name that is not known cannot be started, and plugins are refused.
        false => std::env::current_exe().unwrap_or_default(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn another_process_compiles_whether_there_is_a_cache_folder_or_not() {
        let parent = tempfile::tempdir().unwrap();
        let [cache, temporary, file] = ["cache", "temporary", "file"].map(|name| parent.path().join(name));
        fs::create_dir(&temporary).unwrap();
        fs::write(&file, "").unwrap();
        assert!(start(Some(&cache), &temporary).unwrap().1.is_none());
        for unusable in [None, Some(file.join("cache"))] {
            let (_engine, folder) = start(unusable.as_deref(), &temporary).unwrap();
            let folder = folder.expect("a folder of its own");
            assert_eq!(folder.0.parent(), Some(&*temporary));
            let compiled = folder.0.join("compiled");
            assert_eq!(fs::metadata(&compiled).unwrap().permissions().mode() & 0o777, 0o700);
            let compiler = settings(&compiled).compiler.unwrap();
            assert_eq!(compiler.arguments, [COMPILE.as_ref(), compiled.as_os_str()]);
        }
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "what is left behind");
        assert!(start(None, &file).unwrap().1.is_none(), "plugins can still be loaded");
    }
}
