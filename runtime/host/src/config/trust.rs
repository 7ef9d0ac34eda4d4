use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checked;
use super::error::ConfigError;
use super::pipeline::Pipeline;
use crate::trust::PublicKey;

const KEYS_MAX: usize = 64;

/// Which plugins the pipeline loads.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Trust {
    /// Only plugins that one of these signed are loaded; all, where there is none.
    pub keys: Vec<TrustedKey>,
    /// Only plugins whose bytes are pinned are loaded: by 'digest:', or by @sha256:… of an OCI registry.
    pub locked: bool,
}

/// A key whose plugins are loaded.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrustedKey {
    /// The public key, inline or as ${file:ops.pub}.
    pub key: PublicKey,
    /// The topics that pipelines with its plugins may write to; all, unless said.
    pub topics: Option<Vec<String>>,
}

impl TrustedKey {
    /// The first topic that the pipeline writes outputs to and plugins of this key may not. Any stage's plugin can
    /// influence all of them.
    pub fn forbidden<'a>(&self, pipeline: &'a Pipeline) -> Option<&'a str> {
        let topics = self.topics.as_ref()?;
        let outputs = pipeline.sink.outputs().iter().map(|(_, topic)| topic);
        std::iter::once(pipeline.sink.topic()).chain(outputs).find(|topic| !topics.iter().any(|may| may == topic))
    }
}

pub(super) fn check(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    let Some(Trust { keys, locked }) = &pipeline.trust else {
        return Ok(());
    };
    if keys.is_empty() && !locked {
        let error = file.error(&["trust"], "'trust' without keys asks for nothing");
        return Err(error.with_hint("name keys, set 'locked: true', or leave it out"));
    }
    if keys.len() > KEYS_MAX {
        return Err(file.error(&["trust", "keys"], format!("{} keys; the most is {KEYS_MAX}", keys.len())));
    }
    for (index, key) in keys.iter().enumerate() {
        let at = index.to_string();
        if keys[..index].iter().any(|other| other.key == key.key) {
            return Err(file.error(&["trust", "keys", &at], format!("key {} is here twice", key.key)));
        }
        if key.topics.as_ref().is_some_and(Vec::is_empty) {
            let message = "no topics: no plugin of this key could be loaded; leave 'topics' out to allow all";
            return Err(file.error(&["trust", "keys", &at, "topics"], message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{ConfigError, Pipeline, Process, parse};

    const KEY: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

    fn read(stage: &str, trust: &str) -> Result<Pipeline, ConfigError> {
        let text = format!(
            "name: p\n\
             source: {{ local: {{ path: data, topics: in }} }}\n\
             sink: {{ local: {{ path: data, topic: out, outputs: {{ audit: audit.log }} }} }}\n\
             stages: [{{ name: s, {stage} }}]\n\
             trust: {trust}\n"
        );
        parse(&text, Path::new("p.yaml"), &Process)
    }

    #[test]
    fn mistakes_are_told_by_their_place() {
        let (file, key) = ("plugin: s.wasm", format!("{{ key: {KEY} }}"));
        for (stage, trust, place, words) in [
            (file, "{ keys: [] }".to_owned(), "5:1", "'trust' without keys asks for nothing"),
            (file, "{ keys: [{ key: '' }] }".into(), "5:", "expected a public key"),
            (file, format!("{{ keys: [{key}, {key}] }}"), "5:", "is here twice"),
            (file, format!("{{ keys: [{{ key: {KEY}, topics: [] }}] }}"), "5:", "no topics"),
            ("plugin: s.wasm, plain-http: true", "{ locked: true }".into(), "4:", "'plain-http' is for oci:// only"),
            ("plugin: http://host/s.wasm", "{ locked: true }".into(), "4:", "use https://"),
        ] {
            let error = read(stage, &trust).unwrap_err().to_string();
            assert!(error.starts_with(&format!("p.yaml:{place}")) && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_key_may_write_to_its_topics_alone() {
        let forbidden = |topics: &str| {
            let pipeline = read("plugin: s.wasm", &format!("{{ keys: [{{ key: {KEY}{topics} }}] }}")).unwrap();
            pipeline.trust.as_ref().and_then(|trust| trust.keys[0].forbidden(&pipeline).map(str::to_owned))
        };
        assert_eq!(forbidden(""), None);
        assert_eq!(forbidden(", topics: [out, audit.log, more]"), None);
        assert_eq!(forbidden(", topics: [out, audit]").as_deref(), Some("audit.log"));
        assert_eq!(forbidden(", topics: [audit.log]").as_deref(), Some("out"));
    }
}
