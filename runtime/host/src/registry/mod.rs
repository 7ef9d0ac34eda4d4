//! Where plugins come from: files, web servers, OCI registries, and a cache of what was fetched.
//!
//! ```text
//! PluginRef → Registry::fetch (cache, else network; bounded in time and size) → bytes and their digest
//! ```
//!
//! Everything blocks, some minutes at most, and may be called on any thread but tokio's own.

mod cache;
mod credentials;
mod docker;
mod http;
mod manifest;
mod oci;
mod reference;
mod seals;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use sluicegate_wasm::{Artifact, LoadError, LoadOptions, Plugin};

pub use reference::{OciRef, PluginRef};

use crate::config::Digest;
use crate::exit::Exit;
use crate::trust::Seal;
use cache::Cache;
use manifest::Manifest;
use oci::{MANIFEST_BYTES_MAX, Oci};

/// Beyond this, they are found anew, or are in the cache.
const SEALS_MAX: usize = 256;

/// Fetches plugins, and writes them to registries.
pub struct Registry {
    cache: Cache,
    /// What this process has found, by plugin; needed where there is no cache.
    seals: Mutex<BTreeMap<String, Seal>>,
}

/// How a plugin is to be fetched.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The digest of its bytes, where it is pinned.
    pub digest: Option<&'a Digest>,
    /// Its bytes, at most.
    pub size_max: u64,
    /// Whether its registry may be asked without TLS, though it is not on this machine.
    pub plain_http: bool,
}

/// A plugin's bytes. Nothing but its digest was looked at.
#[derive(Debug)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    /// The digest of the artifact's manifest, where it is from an OCI registry and was not found by its pinned digest.
    pub manifest: Option<Digest>,
}

impl Fetched {
    /// What was read from a place that says nothing of it.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Fetched { digest: Digest::of(&bytes), bytes, manifest: None }
    }
}

impl Registry {
    /// Keeps what it fetches in this folder, if there is one.
    pub fn new(cache: Option<PathBuf>) -> Self {
        Registry { cache: Cache::new(cache), seals: Mutex::default() }
    }

    /// The bytes of a plugin. What is pinned, by its own digest or its manifest's, is asked for once; a tag is looked up
    /// each time, and where its registry does not answer, what it last led to is used and a warning logged. Whether the
    /// bytes are those that were pinned is for the caller to see, by their digest.
    ///
    /// # Errors
    /// It is not there, not allowed, too large, not what its manifest says, or out of reach (exit code 3).
    pub fn fetch(&self, plugin: &PluginRef, wanted: &Wanted<'_>) -> Result<Fetched, Exit> {
        let kept = || {
            let digest = wanted.digest?.clone();
            Some(Fetched { bytes: self.cache.read(&digest, wanted.size_max)?, digest, manifest: None })
        };
        match plugin {
            PluginRef::File(path) => {
                let options = LoadOptions { file_size_max: wanted.size_max, ..LoadOptions::default() };
                let bytes = Plugin::read(path, &options).map_err(|error| match error {
                    LoadError::Read { .. } => Exit::from(error),
                    _ => Exit::from(error).within(&format!("plugin {}", path.display())),
                })?;
                Ok(Fetched::of(bytes))
            }
            PluginRef::Https(url) if wanted.digest.is_none() => {
                Err(Exit::usage(format!("{url} may change what it gives: pin the plugin with 'digest: sha256:…'")))
            }
            PluginRef::Https(url) => kept().map_or_else(|| self.fetch_url(url, wanted), Ok),
            PluginRef::Oci(oci) => kept().map_or_else(|| self.fetch_artifact(oci, wanted), Ok),
        }
    }

    /// Writes a plugin to a registry. Gives the digest of its manifest.
    ///
    /// # Errors
    /// The bytes are no plugin; the registry refuses, or is out of reach (exit code 3).
    pub fn push(&self, oci: &OciRef, plugin: &[u8], plain_http: bool) -> Result<Digest, Exit> {
        let artifact = Artifact::read(plugin).map_err(|error| Exit::usage(error.to_string()))?;
        Oci::new(oci, plain_http, "pull,push").push(&artifact, plugin)
    }

    /// The signatures beside a plugin in its registry, as they were last found by this process or, through the cache, by an
    /// earlier one. They do not age: what was signed stays signed.
    pub fn seal(&self, plugin: &Digest) -> Option<Seal> {
        let known = self.seals.lock().unwrap_or_else(PoisonError::into_inner).get(plugin.hex()).cloned();
        known.or_else(|| self.cache.seal(plugin))
    }

    /// Looks for the signatures beside a plugin that was fetched from here, for [`Registry::seal`].
    ///
    /// # Errors
    /// The registry refuses, or is out of reach (exit code 3).
    pub fn find_seal(&self, oci: &OciRef, plugin: &Digest, plain_http: bool) -> Result<(), Exit> {
        let mut remote = Oci::new(oci, plain_http, "pull");
        let (digest, manifest) = self.manifest(oci, &mut remote)?;
        if Manifest::layer(oci, &manifest)?.digest != *plugin {
            return Ok(()); // The tag leads to another by now.
        }
        let signatures = seals::find(oci, &mut remote, &digest)?;
        if signatures.is_empty() {
            return Ok(());
        }
        self.cache.keep_seal(plugin, &manifest, &signatures);
        let seal = Seal { manifest: digest, signatures };
        let mut seals = self.seals.lock().unwrap_or_else(PoisonError::into_inner);
        if seals.len() >= SEALS_MAX {
            seals.pop_first();
        }
        seals.insert(plugin.hex().to_owned(), seal);
        Ok(())
    }

    fn fetch_url(&self, url: &str, wanted: &Wanted<'_>) -> Result<Fetched, Exit> {
        let response = http::Client::new(false).get(url)?.call().map_err(|error| http::failure(url, &error))?;
        if response.status().as_u16() != 200 {
            return Err(http::refusal(url, response.status().as_u16()));
        }
        let bytes = http::body(response, wanted.size_max, url, ": raise limits.file-size if that is meant")?;
        let fetched = Fetched::of(bytes);
        // Whatever else is there is of no use to anybody.
        if wanted.digest == Some(&fetched.digest) {
            self.cache.keep(&fetched.digest, &fetched.bytes);
        }
        Ok(fetched)
    }

    fn fetch_artifact(&self, oci: &OciRef, wanted: &Wanted<'_>) -> Result<Fetched, Exit> {
        let mut remote = Oci::new(oci, wanted.plain_http, "pull");
        let (digest, manifest) = self.manifest(oci, &mut remote)?;
        let layer = Manifest::layer(oci, &manifest)?;
        if layer.size > wanted.size_max {
            return Err(Exit::usage(format!(
                "the plugin of {oci} has {} bytes, more than {}: raise limits.file-size if that is meant",
                layer.size, wanted.size_max
            )));
        }
        let bytes = match self.cache.read(&layer.digest, wanted.size_max) {
            Some(bytes) => bytes,
            None => {
                let bytes = remote.plugin(&layer.digest, wanted.size_max)?;
                self.cache.keep(&layer.digest, &bytes);
                bytes
            }
        };
        Ok(Fetched { bytes, digest: layer.digest, manifest: Some(digest) })
    }

    /// The manifest: by its digest from the cache, by its tag from the registry or, where that does not answer, as it
    /// was the last time.
    fn manifest(&self, oci: &OciRef, remote: &mut Oci<'_>) -> Result<Named, Exit> {
        let kept = |digest: &Digest| Some((digest.clone(), self.cache.read(digest, MANIFEST_BYTES_MAX)?));
        if let Some(manifest) = oci.digest.as_ref().and_then(kept) {
            return Ok(manifest);
        }
        let last = self.cache.tag(oci).as_ref().and_then(kept);
        match (self.look_up(oci, remote, last.as_ref()), last) {
            (Err(error), Some(last)) if error.is_unreachable() => {
                tracing::warn!("{error}; using {}, to which the tag led the last time", last.0);
                Ok(last)
            }
            (found, _) => found,
        }
    }

    /// The manifest, from the registry. Where one is known, the registry is only asked whether it is still that one:
    /// registries count how often manifests are read.
    fn look_up(&self, oci: &OciRef, remote: &mut Oci<'_>, last: Option<&Named>) -> Result<Named, Exit> {
        if let Some(last) = last
            && remote.manifest_digest()?.as_ref() == Some(&last.0)
        {
            return Ok(last.clone());
        }
        let (digest, bytes) = remote.manifest()?;
        self.cache.keep(&digest, &bytes);
        if oci.digest.is_none() {
            self.cache.keep_tag(oci, &digest);
        }
        Ok((digest, bytes))
    }
}

/// A manifest and its digest.
type Named = (Digest, Vec<u8>);
