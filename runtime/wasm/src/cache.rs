use std::path::{Path, PathBuf};

use wasmtime::{Cache, CacheConfig};

use crate::engine::{EngineError, one_line};

/// How hard zstd tries, from 1 to 22. It is wasmtime's level for what is new and for what is loaded often alike: were they
/// to differ, it would compress anew whatever was loaded 256 times, in this process, with some 180 MiB.
const COMPRESSION: i32 = 3;

/// Opens the directory in which wasmtime keeps what it has compiled.
///
/// The cache is wasmtime's own. It loads only what it wrote itself, and finds it by the plugin's bytes and the compiler's
/// version and settings; it does not check that nobody else has written there. That is left to us, as compiled code is
/// run as it is.
///
/// It gets a folder of its own in there, since once a day it removes whatever it did not write.
pub(crate) fn open(path: &Path) -> Result<Cache, EngineError> {
    let path = private(path)?;
    let within = private(&path.join("wasmtime"))?;
    let mut config = CacheConfig::new();
    config.with_directory(within);
    config.with_baseline_compression_level(COMPRESSION).with_optimized_compression_level(COMPRESSION);
    Cache::new(config).map_err(|error| EngineError::Cache { path, reason: one_line(&error) })
}

/// Makes a directory where there is none, and makes sure that it is ours, and ours alone to write. Gives its real path.
fn private(path: &Path) -> Result<PathBuf, EngineError> {
    let fail = |reason: String| EngineError::Cache { path: path.to_owned(), reason };
    let made = create(path).and_then(|()| path.canonicalize());
    let real = made.map_err(|error| fail(error.to_string()))?;
    check(&real).map_err(fail)?;
    Ok(real)
}

#[cfg(unix)]
fn create(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)
}

#[cfg(unix)]
fn check(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let directory = path.metadata().map_err(|error| error.to_string())?;
    // A file that we create has our user as its owner, and shows that we can write here.
    let probe = tempfile::tempfile_in(path).and_then(|file| file.metadata());
    let user = probe.map_err(|error| format!("cannot write there: {error}"))?.uid();
    if directory.uid() != user {
        return Err("belongs to another user, whose compiled code would be run: choose another directory".into());
    }
    if directory.mode() & 0o022 != 0 {
        // Closing it to them is not enough: what they have left there would stay.
        return Err("others can write there, and what they leave there would be run as compiled code: remove it".into());
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(_: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    /// A module with nothing in it.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn find(folder: &Path, extension: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut found = entries.filter_map(|path| if path.is_dir() { find(&path, extension) } else { Some(path) });
        found.find(|path| path.extension().is_some_and(|found| found == extension))
    }

    /// Waits until wasmtime's own thread has written this about the module.
    fn wait_for(folder: &Path, expected: &str) -> PathBuf {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let stats = find(folder, "stats");
            let text = stats.as_ref().and_then(|stats| fs::read_to_string(stats).ok()).unwrap_or_default();
            if let Some(stats) = stats.filter(|_| text.contains(expected)) {
                return stats;
            }
            assert!(Instant::now() < end, "no `{expected}`, but: {text}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_loaded_often_is_not_compressed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = wasmtime::Config::new();
        config.cache(Some(super::open(folder.path()).unwrap()));
        let engine = wasmtime::Engine::new(&config).unwrap();
        let load = || drop(wasmtime::Module::new(&engine, MODULE).unwrap());
        load();
        let stats = wait_for(folder.path(), "usages = 1\n");
        fs::write(&stats, "usages = 1000\noptimized-compression = 3\n").unwrap();
        load();
        wait_for(folder.path(), "usages = 1001\n");
        load();
        // What the load before gave rise to is done by now, as wasmtime does one after the other.
        let stats = wait_for(folder.path(), "usages = 1002\n");
        assert!(fs::read_to_string(stats).unwrap().contains("optimized-compression = 3"));
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        assert!(super::open(&path).is_ok());
        for folder in [&path, &path.join("wasmtime")] {
            assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
            let error = super::open(&path).err().unwrap().to_string();
            let named = format!("compile cache {}: others can write there", folder.display());
            assert!(error.starts_with(&named) && error.ends_with("remove it"), "{error}");
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
}
