//! Signatures as `cosign` leaves them beside an artifact in a registry, in both of its forms, made without it: of keys it would
//! make, over the same messages, in the same places.

use anyhow::{Context, Result};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use serde_json::{Value, json};

use crate::registry::{Registry, sha256};
use crate::user::base64;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What registries and tags list in.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MESSAGE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What the newer form is.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT: &str = "application/vnd.in-toto+json";
/// What a statement says that is a signature.
pub const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// Who signs: an ECDSA key on P-256.
#[derive(Debug)]
pub struct Cosign(KeyPair);

impl Cosign {
    /// A new key.
    pub fn new() -> Result<Self> {
        Ok(Cosign(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// The public key, as cosign's .pub files have it.
    pub fn public(&self) -> String {
        self.0.public_key_pem()
    }

    /// As `cosign sign` before version 3: a message under a tag that is made of the manifest's digest. `of` is the digest that the
    /// message names.
    pub fn sign_message(&self, registry: &Registry, repository: &str, manifest: &str, of: &str) -> Result<()> {
        let message = json!({
            "critical": {
                "identity": { "docker-reference": format!("{}/{repository}", registry.address()) },
                "image": { "docker-manifest-digest": of },
                "type": "cosign container image signature"
            },
            "optional": null
        });
        let message = message.to_string();
        let mut layer = registry.put_blob(repository, MESSAGE, message.as_bytes())?;
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": self.signature(message.as_bytes())? });
        let config = registry.put_blob(repository, "application/vnd.oci.image.config.v1+json", b"{}")?;
        let found = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
        registry.tag(repository, &format!("{}.sig", tag(manifest)?), &found)
    }

    /// As `cosign sign` from version 3: a bundle, with a statement of this kind, in a manifest that refers to the artifact's; and as
    /// the registry keeps no such lists, in an index under a tag.
    pub fn sign_bundle(&self, registry: &Registry, repository: &str, manifest: &str, kind: &str) -> Result<()> {
        let hex = manifest.strip_prefix("sha256:").context("a digest")?;
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": hex }, "annotations": {} }],
            "predicateType": kind,
            "predicate": {}
        });
        let statement = statement.to_string();
        let signed = format!("DSSEv1 {} {STATEMENT} {} {statement}", STATEMENT.len(), statement.len());
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": "none" }, "tlogEntries": [] },
            "dsseEnvelope": {
                "payload": base64(&statement),
                "payloadType": STATEMENT,
                "signatures": [{ "sig": self.signature(signed.as_bytes())? }]
            }
        });
        let layer = registry.put_blob(repository, BUNDLE, bundle.to_string().as_bytes())?;
        let config = registry.put_blob(repository, "application/vnd.oci.empty.v1+json", b"{}")?;
        let subject = json!({ "mediaType": MANIFEST, "digest": manifest, "size": 1 });
        let referring = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE,
            "config": config,
            "layers": [layer],
            "subject": subject
        });
        let digest = registry.put(repository, "", &referring)?;
        debug_assert_eq!(digest, sha256(referring.to_string().as_bytes()));
        let entry = json!({
            "mediaType": MANIFEST,
            "digest": digest,
            "size": referring.to_string().len(),
            "artifactType": BUNDLE
        });
        let list: Value = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
        registry.put(repository, &tag(manifest)?, &list).map(drop)
    }

    fn signature(&self, message: &[u8]) -> Result<String> {
        Ok(base64(self.0.sign(message)?))
    }
}

fn tag(manifest: &str) -> Result<String> {
    Ok(format!("sha256-{}", manifest.strip_prefix("sha256:").context("a digest")?))
}
