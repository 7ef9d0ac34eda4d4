//! The signatures that lie beside artifacts: how cosign has a registry keep them, and how they are kept here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::manifest::{INDEX, MANIFEST, Manifest};
use super::oci::Oci;
use super::reference::OciRef;
use crate::config::Digest;
use crate::exit::Exit;
use crate::trust::{Seal, Signature};

/// The most signatures of each form that are looked at: whoever may write to a repository can leave any number there.
const SIGNATURES_MAX: usize = 32;
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;
/// The layers of a manifest that has messages, each with its signature: the older form, of cosign before version 3.
const MESSAGE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The newer form: a manifest that refers to the artifact's, and whose layer is a bundle.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A seal as it is kept: with the manifest, which says whose it is.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    manifest: String,
    signatures: Vec<Signature>,
}

impl Kept {
    pub(super) fn new(manifest: &[u8], signatures: Vec<Signature>) -> Self {
        Kept { manifest: STANDARD.encode(manifest), signatures }
    }

    /// The seal, if it is of this plugin.
    pub(super) fn seal(&self, plugin: &Digest) -> Option<Seal> {
        let manifest = STANDARD.decode(&self.manifest).ok()?;
        let is_of_it = Manifest::plugin(&manifest).is_ok_and(|layer| layer.digest == *plugin);
        is_of_it.then(|| Seal { manifest: Digest::of(&manifest), signatures: self.signatures.clone() })
    }
}

/// The signatures beside the artifact with this manifest. Those that cannot be read are left out.
///
/// # Errors
/// The registry refuses, or is out of reach (exit code 3).
pub(super) fn find(oci: &OciRef, remote: &mut Oci<'_>, manifest: &Digest) -> Result<Vec<Signature>, Exit> {
    let mut found = messages(oci, remote, manifest)?;
    found.extend(bundles(oci, remote, manifest)?);
    Ok(found)
}

/// Of the older form: under a tag that is made of the manifest's digest.
fn messages(oci: &OciRef, remote: &mut Oci<'_>, manifest: &Digest) -> Result<Vec<Signature>, Exit> {
    let Some(bytes) = remote.beside(&format!("sha256-{}.sig", manifest.hex()), MANIFEST)? else {
        return Ok(Vec::new());
    };
    let listed: List = serde_json::from_slice(&bytes).unwrap_or_default();
    let messages = listed.layers.into_iter().filter(|layer| layer.media_type == MESSAGE).take(SIGNATURES_MAX);
    messages
        .map(|layer| {
            let signature = layer.annotations.get(SIGNATURE).map(String::as_str).unwrap_or_default();
            let message = blob(oci, remote, &layer.digest)?;
            Ok(message.and_then(|message| Signature::of_message(message, signature)))
        })
        .filter_map(Result::transpose)
        .collect()
}

/// Of the newer form: what refers to the manifest, as the registry lists it, or else as it is listed under a tag: by a registry
/// that keeps no lists of its own, or did not yet when the artifact was signed.
fn bundles(oci: &OciRef, remote: &mut Oci<'_>, manifest: &Digest) -> Result<Vec<Signature>, Exit> {
    let mut entries = listed(remote.referrers(manifest, BUNDLE)?);
    if entries.is_empty() {
        entries = listed(remote.beside(&format!("sha256-{}", manifest.hex()), INDEX)?);
    }
    let mut found = Vec::new();
    for entry in entries {
        let Some(bytes) = Digest::parse(&entry.digest).map(|digest| remote.beside(&digest.to_string(), MANIFEST))
        else {
            continue;
        };
        let inner: List = bytes?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        if let Some(layer) = inner.layers.iter().find(|layer| layer.media_type == BUNDLE)
            && let Some(bundle) = blob(oci, remote, &layer.digest)?
        {
            found.extend(Signature::of_bundle(&bundle));
        }
    }
    Ok(found)
}

/// The bundles of an index.
fn listed(index: Option<Vec<u8>>) -> Vec<Entry> {
    let index: List = index.and_then(|index| serde_json::from_slice(&index).ok()).unwrap_or_default();
    let bundles = index.manifests.into_iter().filter(|entry| entry.artifact_type.as_deref() == Some(BUNDLE));
    bundles.take(SIGNATURES_MAX).collect()
}

fn blob(oci: &OciRef, remote: &mut Oci<'_>, digest: &str) -> Result<Option<Vec<u8>>, Exit> {
    let Some(digest) = Digest::parse(digest) else { return Ok(None) };
    match remote.blob(&digest, SIGNATURE_BYTES_MAX, &format!("a signature beside {oci}"), ": none is so long") {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_unreachable() => Err(error),
        Err(error) => {
            tracing::debug!("{error}");
            Ok(None)
        }
    }
}

/// A manifest or an index, as far as it leads to signatures.
#[derive(Default, Deserialize)]
struct List {
    #[serde(default)]
    layers: Vec<Entry>,
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: String,
    digest: String,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}
