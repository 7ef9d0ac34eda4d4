//! The folder that keeps what the harness fetched or compiled: `$SLUICEGATE_CACHE`, or else
//! `${XDG_CACHE_HOME:-$HOME/.cache}/sluicegate`. It may be deleted at any time between runs.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The cache folder.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("SLUICEGATE_CACHE").filter(|value| !value.is_empty()) {
        return Ok(folder.into());
    }
    let user = env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty());
    let user = match user {
        Some(user) => PathBuf::from(user),
        None => env::home_dir().context("set SLUICEGATE_CACHE: no home folder is known")?.join(".cache"),
    };
    Ok(user.join("sluicegate"))
}

/// The cache's folder `name`, made by `make` in the folder it is given if it is not there yet. Of
/// several processes one makes it and the others wait; what an interrupted one left is made anew.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    once_in(&folder()?, name, make)
}

/// The cache's folder `name` of what `make` makes of these files: made anew when one of them changes.
pub fn once_for(name: &str, files: &[PathBuf], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    for file in files {
        hash.write(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.write(&fs::read(file).with_context(|| file.display().to_string())?);
    }
    once(&format!("{name}-{:016x}", hash.finish()), make)
}

fn once_in(cache: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let made = cache.join(name);
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let lock = File::create(cache.join(format!("{name}.lock")))?;
    lock.lock()?; // Until the file is closed.
    if !made.exists() {
        let partial = cache.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir(&partial)?;
        make(&partial).with_context(|| format!("cannot make {}", made.display()))?;
        fs::rename(&partial, &made)?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_folder_is_made_once_and_only_whole() -> Result<()> {
        let cache = tempfile::tempdir()?;
        let failed = once_in(cache.path(), "thing", |folder| {
            fs::write(folder.join("half"), "")?;
            bail!("interrupted")
        });
        assert!(failed.is_err());
        let made = once_in(cache.path(), "thing", |folder| Ok(fs::write(folder.join("whole"), "")?))?;
        assert!(made.join("whole").exists() && !made.join("half").exists());
        once_in(cache.path(), "thing", |_| bail!("made twice"))?;
        Ok(())
    }
}
