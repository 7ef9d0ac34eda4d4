//! From a stage's `plugin:` to a plugin: fetched, found to be the one that was meant, and only then compiled.

use sluicegate_wasm::{LoadOptions, Plugin};

use super::App;
use super::schema::check_config;
use crate::config::{self, ConfigError, Limits, Pipeline};
use crate::exit::Exit;
use crate::journal::Journal;
use crate::registry::{Fetched, PluginRef, Registry, Wanted};
use crate::trust::{self, PublicKey, SignatureError};

impl App {
    /// Where plugins are fetched from.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Loads a plugin that no pipeline demands anything of.
    ///
    /// # Errors
    /// It cannot be fetched, or what is wrong with it; names the plugin.
    pub fn plugin(&self, plugin: &PluginRef, limits: &Limits) -> Result<Plugin, Exit> {
        let wanted = Wanted { digest: None, size_max: limits.file_size.0, plain_http: false };
        let bytes = self.registry.fetch(plugin, &wanted)?.bytes;
        self.compile(plugin, bytes, limits)
    }

    /// Fetches a plugin for a stage: that which its file names, or another. Blocks for some minutes at most; for any thread
    /// but tokio's own.
    ///
    /// # Errors
    /// It cannot be fetched (exit code 3 where that may pass); names the place.
    pub fn fetch(&self, pipeline: &Pipeline, stage: &config::Stage, plugin: &PluginRef) -> Result<Fetched, Exit> {
        check_lock(pipeline, stage, Some(plugin))?;
        let fetched = self.fetch_for(pipeline, stage, plugin);
        fetched.map_err(|exit| Exit { code: exit.code, ..refuse(stage, &["plugin"], exit.message).into() })
    }

    /// The same for a stage that runs: what is wrong is not its file, and no place in that is named.
    ///
    /// # Errors
    /// It cannot be fetched (exit code 3 where that may pass), or is in a registry and nobody trusted has signed it, which
    /// somebody may do later.
    pub(crate) fn fetch_for(
        &self,
        pipeline: &Pipeline,
        stage: &config::Stage,
        plugin: &PluginRef,
    ) -> Result<Fetched, Exit> {
        let wanted =
            Wanted { digest: stage.digest.as_ref(), size_max: stage.limits.file_size.0, plain_http: stage.plain_http };
        let fetched = self.registry.fetch(plugin, &wanted)?;
        if let PluginRef::Oci(oci) = plugin
            && self.signer(pipeline, &fetched.bytes, &fetched.digest).is_err()
        {
            self.registry.find_seal(oci, &fetched.digest, stage.plain_http)?;
            let signed = self.signer(pipeline, &fetched.bytes, &fetched.digest);
            signed.map_err(|why| Exit::usage(format!("plugin {plugin}: {why}")))?;
        }
        Ok(fetched)
    }

    /// Those of the keys that signed a plugin that was fetched from there, in its file or beside it in its registry.
    ///
    /// # Errors
    /// The registry refuses, or is out of reach (exit code 3); and within: none of them did.
    pub fn signers<'k>(
        &self,
        plugin: &PluginRef,
        bytes: &[u8],
        keys: &'k [PublicKey],
        plain_http: bool,
    ) -> Result<Result<Vec<&'k PublicKey>, SignatureError>, Exit> {
        let digest = config::Digest::of(bytes);
        if let PluginRef::Oci(oci) = plugin {
            self.registry.find_seal(oci, &digest, plain_http)?;
        }
        Ok(trust::signers(bytes, self.registry.seal(&digest).as_ref(), keys))
    }

    /// Makes a stage's plugin of bytes, wherever they are from: if they are pinned and signed as the pipeline asks for, and
    /// take the stage's configuration. Takes as long as compiling does. `from` is none where somebody handed them over.
    ///
    /// # Errors
    /// What does not fit; names the place.
    pub fn plugin_for(
        &self,
        pipeline: &Pipeline,
        stage: &config::Stage,
        from: Option<&PluginRef>,
        bytes: Vec<u8>,
    ) -> Result<Plugin, ConfigError> {
        let signer = self.verify(pipeline, stage, from, &bytes)?;
        let plugin = Plugin::load(&self.engine, bytes, &load_options(&stage.limits))
            .map_err(|error| refuse(stage, &["plugin"], format!("{}: {error}", named(from))))?;
        let (description, digest) = (plugin.description(), &plugin.artifact().digest);
        if let Some(schema) = &description.config_schema {
            check_config(schema, stage, from)?;
        }
        tracing::info!(
            pipeline = %pipeline.name, stage = %stage.name, plugin = %description.name, version = %description.version,
            digest = %format!("sha256:{digest}"), signed_by = signer.as_deref(), "plugin loaded"
        );
        Ok(plugin)
    }

    /// Whether these bytes are what the pipeline asks for: pinned, and signed by a key that may write to its topics. Gives that
    /// key, where the pipeline asks for signatures.
    fn verify(
        &self,
        pipeline: &Pipeline,
        stage: &config::Stage,
        from: Option<&PluginRef>,
        bytes: &[u8],
    ) -> Result<Option<String>, ConfigError> {
        check_lock(pipeline, stage, from)?;
        let found = config::Digest::of(bytes);
        if let Some(pinned) = stage.digest.as_ref().filter(|pinned| **pinned != found) {
            let message =
                format!("{} has digest {found}, pinned is {pinned}: 'digest:' says which may run", named(from));
            return Err(refuse(stage, &["digest"], message));
        }
        let signer = self.signer(pipeline, bytes, &found);
        signer.map_err(|why| refuse(stage, &["plugin"], format!("{}: {why}", named(from))))
    }

    /// The key that signed a plugin and may write to the pipeline's topics, or why there is none; none where the pipeline asks
    /// for no signatures. Of those beside it in its registry, what is known of them here.
    fn signer(&self, pipeline: &Pipeline, plugin: &[u8], digest: &config::Digest) -> Result<Option<String>, String> {
        let Some(keys) = pipeline.trust.as_ref().map(|trust| &trust.keys).filter(|keys| !keys.is_empty()) else {
            return Ok(None);
        };
        let public: Vec<_> = keys.iter().map(|key| key.key.clone()).collect();
        let signers = trust::signers(plugin, self.registry.seal(digest).as_ref(), &public);
        let signers = signers.map_err(|error| match error {
            // Whoever signs it now signs what somebody else made of it.
            SignatureError::Changed(_) => format!("{error}: get it once more from whoever signed it"),
            _ => format!(
                "{error}; 'trust.keys' asks for a signature: 'sluicegate sign' it with one of its keys, or 'cosign sign' it \
                 in its registry"
            ),
        })?;
        let mut forbidden = None;
        for signed in keys.iter().filter(|key| signers.contains(&&key.key)) {
            match signed.forbidden(pipeline) {
                None => return Ok(Some(signed.key.to_string())),
                Some(topic) => forbidden = forbidden.or(Some((&signed.key, topic))),
            }
        }
        Err(match forbidden {
            Some((key, topic)) => {
                format!("it is signed by key {key}, whose plugins may not write to topic '{topic}': see 'trust.keys'")
            }
            None => "none of 'trust.keys' signed it".into(),
        })
    }

    pub(super) fn load_stage(
        &self,
        pipeline: &Pipeline,
        stage: &config::Stage,
        journal: &Journal,
    ) -> Result<Plugin, Exit> {
        let Fetched { bytes, .. } = self.fetch(pipeline, stage, &stage.plugin)?;
        let plugin = self.plugin_for(pipeline, stage, Some(&stage.plugin), bytes.clone())?;
        // One that is pinned has no other after it.
        if stage.digest.is_none() {
            journal.keep_plugin(&bytes);
        }
        Ok(plugin)
    }

    /// Compiles a plugin that was fetched.
    ///
    /// # Errors
    /// What is wrong with it; names the plugin.
    pub fn compile(&self, named: &PluginRef, bytes: Vec<u8>, limits: &Limits) -> Result<Plugin, Exit> {
        Plugin::load(&self.engine, bytes, &load_options(limits))
            .map_err(|error| Exit::from(error).within(&format!("plugin {named}")))
    }
}

/// The limits under which a plugin is read and compiled.
pub(crate) fn load_options(limits: &Limits) -> LoadOptions {
    LoadOptions { file_size_max: limits.file_size.0, compile_time_max: limits.compile_time.0 }
}

fn named(from: Option<&PluginRef>) -> String {
    from.map_or_else(|| "the plugin".to_owned(), |from| format!("plugin {from}"))
}

/// Whether a locked pipeline takes a plugin from there.
fn check_lock(pipeline: &Pipeline, stage: &config::Stage, from: Option<&PluginRef>) -> Result<(), ConfigError> {
    let locked = pipeline.trust.as_ref().is_some_and(|trust| trust.locked);
    if locked && stage.digest.is_none() && !from.is_some_and(PluginRef::is_pinned) {
        let message = format!("{} is not pinned, and the pipeline is locked: add 'digest: sha256:…'", named(from));
        return Err(refuse(stage, &["plugin"], message));
    }
    Ok(())
}

/// An error at a key of a stage's.
pub(super) fn refuse(stage: &config::Stage, path: &[&str], message: impl std::fmt::Display) -> ConfigError {
    stage.origin.error(path, format!("stage '{}': {message}", stage.name))
}
