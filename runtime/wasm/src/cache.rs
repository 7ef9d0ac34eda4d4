use std::path::Path;

use wasmtime::{Cache, CacheConfig};

use crate::engine::EngineError;

/// Opens the directory in which wasmtime keeps what it has compiled.
///
/// This is wasmtime's own cache, not files that we write: loading compiled code means trusting it, and so is unsafe in
/// wasmtime's interface. Its cache only ever loads what it wrote itself, keyed by the plugin's bytes, the compiler's
/// version and settings. What remains to us is that nobody else can write there.
///
/// It has a folder of its own in there, since once a day it removes whatever it did not write.
pub(crate) fn open(path: &Path) -> Result<Cache, EngineError> {
    let fail = |reason: String| EngineError::Cache { path: path.to_owned(), reason };
    create(path).map_err(|error| fail(error.to_string()))?;
    let path = path.canonicalize().map_err(|error| fail(error.to_string()))?;
    check(&path).map_err(fail)?;
    let mut config = CacheConfig::new();
    config.with_directory(path.join("wasmtime"));
    Cache::new(config).map_err(|error| fail(crate::engine::one_line(&error)))
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

/// Compiled code is run as it is: the directory has to be ours, and ours alone to write.
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
        return Err("others can write there, and compiled code from it is run: chmod 700 it".into());
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(_: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        assert!(super::open(&path).is_ok());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = super::open(&path).err().unwrap().to_string();
        assert!(error.contains("others can write there"), "{error}");
    }
}
