use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};

use crate::config::{Digest, parsed};

const URL_BYTES_MAX: usize = 2048;
const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// Where a plugin is, as a pipeline or a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginRef {
    /// A file on this machine.
    File(PathBuf),
    /// A file on a web server, by TLS.
    Https(String),
    /// An artifact in an OCI registry.
    Oci(OciRef),
}

/// An artifact in an OCI registry: `oci://registry/repository:tag` or `…@sha256:…`, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciRef {
    /// The registry's host, with its port if it has one.
    pub registry: String,
    /// The repository's name, with slashes.
    pub repository: String,
    /// The tag, which may move.
    pub tag: Option<String>,
    /// The digest of the artifact's manifest, which cannot.
    pub digest: Option<Digest>,
}

impl PluginRef {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            PluginRef::File(path) => Some(path),
            PluginRef::Https(_) | PluginRef::Oci(_) => None,
        }
    }

    /// Whether it can only lead to one plugin, whoever answers.
    pub fn is_pinned(&self) -> bool {
        matches!(self, PluginRef::Oci(OciRef { digest: Some(_), .. }))
    }

    /// A name for it: the file's name without `.wasm`, or the repository's last part.
    pub fn stem(&self) -> String {
        let stem = |path: &str| Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        match self {
            PluginRef::File(path) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
            PluginRef::Https(url) => stem(url.split(['?', '#']).next().unwrap_or(url)),
            PluginRef::Oci(oci) => oci.repository.rsplit('/').next().map(str::to_owned),
        }
        .unwrap_or_default()
    }

    /// The same, with a relative path starting at `folder`.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        match self {
            PluginRef::File(path) => PluginRef::File(folder.join(path)),
            elsewhere => elsewhere,
        }
    }
}

impl FromStr for PluginRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            _ if text.is_empty() => Err("expected the path of a plugin, such as plugins/redact.wasm".into()),
            None => Ok(PluginRef::File(text.into())),
            Some(("https", rest)) => https(text, rest),
            Some(("oci", rest)) => rest.parse().map(PluginRef::Oci),
            Some(("http", _)) => {
                Err("plugins are not fetched by http://, where anybody on the way can change them: use https://".into())
            }
            Some((scheme, _)) => {
                Err(format!("plugins cannot be fetched from {scheme}://: use a path, https:// or oci://"))
            }
        }
    }
}

fn https(url: &str, rest: &str) -> Result<PluginRef, String> {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let printable = url.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || path.is_empty() || !printable || url.len() > URL_BYTES_MAX {
        return Err("expected a URL such as https://example.com/redact.wasm".into());
    }
    if host.contains('@') {
        return Err("a URL with a password in it would be shown in logs: use an OCI registry and 'docker login'".into());
    }
    Ok(PluginRef::Https(url.to_owned()))
}

impl FromStr for OciRef {
    type Err = String;

    /// Reads what follows `oci://`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected oci://registry/repository:tag or oci://registry/repository@sha256:…".to_owned();
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => (name, Some(Digest::parse(digest).ok_or_else(expected)?)),
        };
        let (registry, path) = name.split_once('/').ok_or_else(expected)?;
        let (repository, tag) = match path.split_once(':') {
            None => (path, None),
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
        };
        if !is_authority(registry) || !is_repository(repository) || !tag.as_deref().is_none_or(is_tag) {
            return Err(expected());
        }
        if tag.is_none() && digest.is_none() {
            return Err(format!("oci://{text} has neither tag nor digest: add :tag or @sha256:…"));
        }
        Ok(OciRef { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
}

/// The distribution specification's rule, without what it says on separators in a row.
fn is_repository(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.bytes().all(legal);
    text.len() <= REPOSITORY_BYTES_MAX && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= TAG_BYTES_MAX && !text.starts_with(['.', '-']) && text.bytes().all(legal)
}

impl OciRef {
    /// What the registry is asked for: the digest where there is one.
    pub(super) fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_default(),
        }
    }

    /// Whether the registry is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = match self.registry.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => &self.registry,
        };
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for OciRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PluginRef::File(path) => path.display().fmt(f),
            PluginRef::Https(url) => f.write_str(url),
            PluginRef::Oci(oci) => oci.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for PluginRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, "a path, https://… or oci://registry/repository:tag")
    }
}

impl JsonSchema for PluginRef {
    fn schema_name() -> Cow<'static, str> {
        "PluginRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a plugin is: a path, https://… (with 'digest:'), oci://registry/repository:tag or \
                            oci://registry/repository@sha256:….",
            "type": "string",
            "minLength": 1,
            "examples": ["plugins/redact.wasm", "oci://registry.example.com/plugins/redact:1.2.0"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<PluginRef>().unwrap_err()
    }

    #[test]
    fn a_reference_reads_back_as_it_was_written() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for text in [
            "plugins/redact.wasm".to_owned(),
            "https://example.com/a/redact.wasm?v=1".to_owned(),
            "oci://localhost:5000/redact:1.0".to_owned(),
            format!("oci://[::1]:5000/team/redact@{digest}"),
            format!("oci://registry.example.com/team/x/redact:1.0@{digest}"),
        ] {
            let plugin: PluginRef = text.parse().unwrap();
            assert_eq!(plugin.to_string(), text);
            assert_eq!(plugin.stem(), "redact", "{text}");
            assert_eq!(plugin.is_pinned(), text.contains("@sha256:"));
        }
    }

    #[test]
    fn what_is_none_is_refused_with_a_remedy() {
        assert!(refusal("http://example.com/x.wasm").contains("use https://"));
        assert!(refusal("ftp://example.com/x.wasm").contains("oci://"));
        assert!(refusal("https://user:secret@example.com/x.wasm").contains("password"));
        assert!(refusal("https://example.com").contains("such as"));
        assert!(refusal("oci://example.com/x").contains("neither tag nor digest"));
        for text in ["oci://example.com", "oci://example.com/X:1", "oci://example.com/x@sha256:12", "oci://e/../x:1"] {
            assert!(refusal(text).contains("expected oci://registry/repository"), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let loopback = |text: &str| text.parse::<OciRef>().unwrap().is_loopback();
        assert!(loopback("localhost/x:1") && loopback("127.0.0.1:5000/x:1") && loopback("[::1]:5000/x:1"));
        assert!(!loopback("localhost.example.com/x:1") && !loopback("10.0.0.1:5000/x:1"));
    }
}
