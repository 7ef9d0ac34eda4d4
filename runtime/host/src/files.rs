//! Files that are read within bounds, and written whole or not at all; and what tells that one has become another.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Symbolic links that are followed.
const LINKS_MAX: usize = 16;

use tempfile::NamedTempFile;

use crate::config::folder_of;

/// Reads a file of `bytes_max` bytes at most.
///
/// # Errors
/// It cannot be read, or is longer: [`ErrorKind::FileTooLarge`].
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Replaces the file as a whole, so that whoever watches it never sees a half.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    readable(path, bytes)?.persist(path)?;
    Ok(())
}

/// Makes a file. One that is there stays as it is, which is an error.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    readable(path, bytes)?.persist_noclobber(path)?;
    Ok(())
}

/// The same, and only its owner can read it.
pub(crate) fn create_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(bytes)?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Replaces the file as a whole, for its owner alone, and so that it is there after a power cut.
pub(crate) fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // With its name. Some file systems sync no folders, and it is no worse there than it can be.
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Temporary files are private to their owner; a plugin is read by whoever runs pipelines.
fn readable(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = beside(path)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(file)
}

fn beside(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".writing-").tempfile_in(folder_of(path))
}

/// All folders on the way to a file: it may be replaced, and any link before it.
pub(crate) fn folders(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = file.to_owned();
    for _ in 0..LINKS_MAX {
        let folder = folder_of(&at);
        let link = std::fs::read_link(&at);
        folders.push(folder.clone());
        match link {
            Ok(target) => at = folder.join(target),
            Err(_) => break,
        }
    }
    folders
}

/// What tells that a file may be another, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    path: PathBuf,
    file: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// None where there is no file, or none that can be looked at.
    pub(crate) fn of(path: &Path) -> Option<Stamp> {
        let (path, data) = (path.canonicalize().ok()?, path.metadata().ok()?);
        let (file, changed) = ((data.dev(), data.ino()), (data.mtime(), data.mtime_nsec()));
        Some(Stamp { path, file, length: data.len(), changed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.wasm");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_made_is_never_overwritten_and_a_secret_is_its_owners() {
        use std::os::unix::fs::PermissionsExt as _;
        type Create = fn(&Path, &[u8]) -> io::Result<()>;
        let folder = tempfile::tempdir().unwrap();
        for (name, create, mode) in [("ops.key", create_secret as Create, 0o600), ("ops.pub", create, 0o644)] {
            let path = folder.path().join(name);
            create(&path, b"key").unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
            assert_eq!(create(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&path).unwrap(), b"key");
        }
    }
}
