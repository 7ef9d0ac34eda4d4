use std::fs;
use std::path::{Path, PathBuf};

use super::reference::OciRef;
use super::seals::Kept;
use crate::config::Digest;
use crate::files;
use crate::trust::{Seal, Signature};

/// What was fetched, kept by digest, so that a restart needs no network. What is read from it is checked by its digest,
/// and a pipeline's demands are checked as if it had just come.
///
/// That nothing could be kept is logged and costs a download the next time, no more.
pub(super) struct Cache {
    /// None where the user has no cache folder.
    folder: Option<PathBuf>,
}

/// The longest text that a file of a tag holds: a digest.
const TAG_BYTES_MAX: u64 = 128;
/// A manifest and as many signatures as are looked at, in base64.
const SEAL_BYTES_MAX: u64 = 128 << 20;

impl Cache {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Cache { folder }
    }

    /// The bytes of this digest, if they are here, are no more than `size_max`, and are what they should be.
    pub(super) fn read(&self, digest: &Digest, size_max: u64) -> Option<Vec<u8>> {
        let path = self.blob(digest)?;
        let bytes = files::read(&path, size_max).ok()?;
        if Digest::of(&bytes) == *digest {
            return Some(bytes);
        }
        tracing::warn!("{} is damaged, and is fetched again", path.display());
        None
    }

    /// Keeps these bytes.
    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) {
        if let Some(path) = self.blob(digest) {
            write(&path, bytes);
        }
    }

    /// The manifest that this tag led to when it was last looked up.
    pub(super) fn tag(&self, oci: &OciRef) -> Option<Digest> {
        let text = files::read(&self.tag_file(oci)?, TAG_BYTES_MAX).ok()?;
        Digest::parse(std::str::from_utf8(&text).ok()?.trim())
    }

    /// Keeps what this tag leads to.
    pub(super) fn keep_tag(&self, oci: &OciRef, manifest: &Digest) {
        if let Some(path) = self.tag_file(oci) {
            write(&path, manifest.to_string().as_bytes());
        }
    }

    /// The signatures that were found beside this plugin, if their manifest is its own.
    pub(super) fn seal(&self, plugin: &Digest) -> Option<Seal> {
        let bytes = files::read(&self.seal_file(plugin)?, SEAL_BYTES_MAX).ok()?;
        serde_json::from_slice::<Kept>(&bytes).ok()?.seal(plugin)
    }

    /// Keeps the signatures that were found beside this plugin, with its manifest.
    pub(super) fn keep_seal(&self, plugin: &Digest, manifest: &[u8], signatures: &[Signature]) {
        if let Some(path) = self.seal_file(plugin)
            && let Ok(bytes) = serde_json::to_vec(&Kept::new(manifest, signatures.to_vec()))
        {
            write(&path, &bytes);
        }
    }

    fn seal_file(&self, plugin: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("seals").join(plugin.hex()))
    }

    fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("sha256").join(digest.hex()))
    }

    fn tag_file(&self, oci: &OciRef) -> Option<PathBuf> {
        // By its digest: a name may have slashes, and any length.
        Some(self.folder.as_ref()?.join("tags").join(Digest::of(oci.to_string().as_bytes()).hex()))
    }
}

/// Whole or not at all, whoever else writes the same.
fn write(path: &Path, bytes: &[u8]) {
    let folder = path.parent().unwrap_or(Path::new("."));
    if let Err(error) = create(folder).and_then(|()| files::keep(path, bytes)) {
        tracing::warn!("cannot keep {}: {error}; it is fetched again the next time", path.display());
    }
}

/// Makes a folder that only its owner can use: whoever writes there says where tags lead while registries do not answer.
fn create(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(folder.path().join("plugins")));
        let digest = Digest::of(b"plugin");
        assert_eq!(cache.read(&digest, 100), None);
        cache.keep(&digest, b"plugin");
        assert_eq!(cache.read(&digest, 6).as_deref(), Some(&b"plugin"[..]));
        assert_eq!(cache.read(&digest, 5), None, "longer than it may be");
        fs::write(cache.blob(&digest).unwrap(), "plugiN").unwrap();
        assert_eq!(cache.read(&digest, 100), None);
    }

    #[test]
    fn a_tag_is_remembered_by_its_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(folder.path().to_owned()));
        let (one, other): (OciRef, OciRef) = ("a/x:1".parse().unwrap(), "b/x:1".parse().unwrap());
        cache.keep_tag(&one, &Digest::of(b"1"));
        cache.keep_tag(&one, &Digest::of(b"2"));
        assert_eq!((cache.tag(&one), cache.tag(&other)), (Some(Digest::of(b"2")), None));
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let cache = Cache::new(None);
        cache.keep(&Digest::of(b"x"), b"x");
        assert_eq!(cache.read(&Digest::of(b"x"), 100), None);
    }
}
