use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::reference::OciRef;
use super::seals::Kept;
use crate::config::Digest;
use crate::files;
use crate::trust::{Seal, Signature};

/// What was fetched, kept by digest, so that a restart needs no network. Whatever is read back is checked against its
/// digest, and against what a pipeline demands, as if it had just been fetched.
///
/// A failure to keep something is logged, and costs no more than a download the next time.
pub(super) struct Cache {
    /// None where the user has no cache folder.
    folder: Option<PathBuf>,
    /// The bytes of all that is kept. Tags do not count: they are small, and one that moves stays one.
    bytes_max: u64,
}

/// A tag that moves every hour would fill the disk. What was used least recently goes, which costs a download at most.
const BYTES_MAX: u64 = 1 << 30;

/// The folder of what is kept by digest: plugins and manifests.
const BLOBS: &str = "sha256";
/// The folder of signatures.
const SEALS: &str = "seals";
/// The longest text that a file of a tag holds: a digest.
const TAG_BYTES_MAX: u64 = 128;
/// A manifest and as many signatures as are looked at, in base64.
const SEAL_BYTES_MAX: u64 = 128 << 20;

impl Cache {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Cache { folder, bytes_max: BYTES_MAX }
    }

    /// The bytes of this digest, if they are here, are no more than `size_max`, and are what they should be.
    pub(super) fn read(&self, digest: &Digest, size_max: u64) -> Option<Vec<u8>> {
        let path = self.blob(digest)?;
        let bytes = files::read(&path, size_max).ok()?;
        if Digest::of(&bytes) == *digest {
            touch(&path);
            return Some(bytes);
        }
        tracing::warn!("{} is damaged, and is fetched again", path.display());
        None
    }

    /// Keeps these bytes.
    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) {
        if let Some(path) = self.blob(digest) {
            write(&path, bytes);
            self.make_room_for(&path);
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
        let path = self.seal_file(plugin)?;
        let bytes = files::read(&path, SEAL_BYTES_MAX).ok()?;
        touch(&path);
        serde_json::from_slice::<Kept>(&bytes).ok()?.seal(plugin)
    }

    /// Keeps the signatures that were found beside this plugin, with its manifest.
    pub(super) fn keep_seal(&self, plugin: &Digest, manifest: &[u8], signatures: &[Signature]) {
        if let Some(path) = self.seal_file(plugin)
            && let Ok(bytes) = serde_json::to_vec(&Kept::new(manifest, signatures.to_vec()))
        {
            write(&path, &bytes);
            self.make_room_for(&path);
        }
    }

    /// Drops what was used least recently, until the rest is within bounds; never what was just kept.
    fn make_room_for(&self, kept: &Path) {
        let Some(folder) = &self.folder else { return };
        let files = [BLOBS, SEALS].into_iter().flat_map(|name| fs::read_dir(folder.join(name))).flatten().flatten();
        let mut entries: Vec<(SystemTime, u64, PathBuf)> = files
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        let mut bytes: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        entries.sort();
        for (_, size, path) in entries.iter().filter(|(_, _, path)| path != kept) {
            if bytes <= self.bytes_max {
                return;
            }
            match fs::remove_file(path) {
                Ok(()) => bytes -= size,
                Err(error) => tracing::debug!("cannot remove {}: {error}", path.display()),
            }
        }
    }

    fn seal_file(&self, plugin: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(SEALS).join(plugin.hex()))
    }

    fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(BLOBS).join(digest.hex()))
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

/// Counts as used now.
fn touch(path: &Path) {
    if let Err(error) = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now())) {
        tracing::debug!("cannot touch {}: {error}", path.display());
    }
}

/// Makes a folder that only its owner can use: whoever writes there decides where tags lead while a registry is down.
fn create(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn what_was_used_least_recently_makes_room_for_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: Some(folder.path().to_owned()), bytes_max: 10 };
        let [one, two, six] = [b"one!", b"two!", b"six!"].map(|bytes| Digest::of(bytes));
        let age = |digest: &Digest, seconds: u64| {
            let file = fs::File::open(cache.blob(digest).unwrap()).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        let is_kept = |digest: &Digest| cache.blob(digest).unwrap().exists();
        cache.keep(&one, b"one!");
        cache.keep(&two, b"two!");
        age(&one, 20);
        age(&two, 10);
        assert!(cache.read(&one, 4).is_some(), "which counts as used");
        cache.keep(&six, b"six!");
        assert_eq!([&one, &two, &six].map(is_kept), [true, false, true]);
        let large = Digest::of(b"more than all may have");
        cache.keep(&large, b"more than all may have");
        assert_eq!([&one, &six, &large].map(is_kept), [false, false, true], "what was just kept stays");
        cache.keep_seal(&one, b"a manifest", &[]);
        assert!(!is_kept(&large) && cache.seal_file(&one).unwrap().exists(), "signatures count too");
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let cache = Cache::new(None);
        cache.keep(&Digest::of(b"x"), b"x");
        assert_eq!(cache.read(&Digest::of(b"x"), 100), None);
    }
}
