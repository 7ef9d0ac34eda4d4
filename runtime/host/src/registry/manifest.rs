use serde::{Deserialize, Serialize};
use serde_json::json;
use sluicegate_wasm::Artifact;

use super::reference::OciRef;
use crate::config::Digest;
use crate::exit::Exit;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media types of the Wasm OCI artifact, as the CNCF's TAG Runtime has them.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

/// What a registry says of an artifact, as far as it is a plugin.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// A blob: what it is, and its bytes' digest and number.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

impl Descriptor {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        let digest = Digest::of(bytes).to_string();
        Descriptor { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
    }
}

/// The plugin of an artifact.
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Manifest {
    /// Finds the plugin in what a registry answered.
    ///
    /// # Errors
    /// It is no Wasm artifact of one layer.
    pub(super) fn layer(oci: &OciRef, bytes: &[u8]) -> Result<Layer, Exit> {
        Manifest::plugin(bytes).map_err(|what| {
            Exit::usage(format!("{oci} is no plugin: {what}; 'sluicegate push' makes artifacts that are"))
        })
    }

    /// The same, or what is wrong with it.
    pub(super) fn plugin(bytes: &[u8]) -> Result<Layer, String> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|error| format!("its manifest is not that of an OCI image: {error}"))?;
        if manifest.config.media_type != CONFIG {
            let found = shown(&manifest.config.media_type);
            return Err(format!("its config has the media type {found}, and not {CONFIG}"));
        }
        let [layer] = &manifest.layers[..] else {
            return Err(format!("it has {} layers, and not one", manifest.layers.len()));
        };
        if layer.media_type != LAYER {
            return Err(format!("its layer has the media type {}, and not {LAYER}", shown(&layer.media_type)));
        }
        let digest = Digest::parse(&layer.digest)
            .ok_or_else(|| format!("its layer has the digest {}, which is no SHA-256", shown(&layer.digest)))?;
        Ok(Layer { digest, size: layer.size })
    }

    /// The manifest of a plugin and the config that it names. The same plugin always has the same: pushed again, its digest
    /// is the one that somebody pinned.
    pub(super) fn of(artifact: &Artifact, plugin: &[u8]) -> (Manifest, Vec<u8>) {
        let config = json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [Digest::of(plugin).to_string()],
            "component": { "exports": artifact.exports, "imports": artifact.imports, "target": null },
        });
        let config = config.to_string().into_bytes();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: Descriptor::of(CONFIG, &config),
            layers: vec![Descriptor::of(LAYER, plugin)],
        };
        (manifest, config)
    }
}

/// Something that a registry said, for an error of one line.
fn shown(said: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    format!("'{}'", said.chars().take(CHARACTERS_MAX).flat_map(char::escape_default).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(config: &str, layers: &[(&str, &str)]) -> Result<Layer, String> {
        let descriptor =
            |(media_type, digest): &(&str, &str)| json!({ "mediaType": media_type, "digest": digest, "size": 1 });
        let layers: Vec<_> = layers.iter().map(descriptor).collect();
        let manifest = json!({ "schemaVersion": 2, "config": descriptor(&(config, "sha256:00")), "layers": layers });
        Manifest::layer(&"example.com/x:1".parse().unwrap(), manifest.to_string().as_bytes())
            .map_err(|exit| exit.message)
    }

    #[test]
    fn only_one_layer_of_wasm_is_a_plugin() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(layer(CONFIG, &[(LAYER, &digest)]).ok().map(|layer| layer.digest.to_string()), Some(digest.clone()));
        let refused = |config: &str, layers: &[(&str, &str)]| layer(config, layers).err().unwrap_or_default();
        assert!(refused("text/x\n", &[(LAYER, &digest)]).contains("media type 'text/x\\n', and not"));
        assert!(refused(CONFIG, &[]).contains("0 layers"));
        assert!(refused(CONFIG, &[(LAYER, &digest), (LAYER, &digest)]).contains("2 layers"));
        assert!(refused(CONFIG, &[("application/gzip", &digest)]).contains("'application/gzip'"));
        assert!(refused(CONFIG, &[(LAYER, "sha256:12")]).contains("no SHA-256"));
    }

    #[test]
    fn an_index_of_several_is_none() {
        let index = json!({ "schemaVersion": 2, "manifests": [] }).to_string();
        let refused = Manifest::layer(&"example.com/x:1".parse().unwrap(), index.as_bytes()).err().unwrap();
        assert!(refused.message.contains("not that of an OCI image") && refused.code == 2, "{refused}");
    }
}
