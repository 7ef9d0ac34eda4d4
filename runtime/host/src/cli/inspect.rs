use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sluicegate_wasm::{Artifact, Ask, Description, FILE_BYTES_MAX, Form, Interface, clean};

use super::trust::read_public;
use crate::app::App;
use crate::config::{self, Limits, Pipeline, Size, Stage};
use crate::console::say;
use crate::exit::Exit;
use crate::registry::{PluginRef, Wanted};
use crate::trust::{self, PublicKey};

#[derive(Args)]
pub(super) struct Inspect {
    /// The plugin: a .wasm file, or oci://registry/repository:tag.
    plugin: PluginRef,
    /// Also say whether this pipeline allows what the plugin asks for, and trusts who signed it.
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// The stage that the plugin is for, where the pipeline has several.
    #[arg(long, requires = "pipeline")]
    stage: Option<String>,
    /// A public key file to check the signature with; may be repeated, and any one of them is enough.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Do not even compile it. Its name, version, summary and configuration are then not shown: they come from its
    /// `describe`, which runs in the sandbox.
    #[arg(long)]
    no_run: bool,
    /// Use plain HTTP, without TLS, for a registry that is not on this machine.
    #[arg(long)]
    plain_http: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// What is known of a plugin.
struct Report {
    artifact: Artifact,
    /// What it says of itself; none where it was not to run.
    description: Option<Description>,
    /// By which keys it says it is signed.
    signed_by: Vec<String>,
    /// Whether one of the keys that were asked about signed it; none where none was.
    signature: Option<Result<String, String>>,
    /// What of its asks the pipeline's stage allows; none where there is no pipeline.
    allowed: Option<Vec<&'static str>>,
}

/// Prints what a plugin is and needs. Nothing of it runs but `describe`, in the sandbox, and that not with `--no-run`.
pub(super) fn inspect(options: &Inspect) -> Result<(), Exit> {
    let app = App::new()?;
    let pipeline = options.pipeline.as_deref().map(config::load).transpose()?;
    let stage = pipeline.as_ref().map(|pipeline| stage(pipeline, options)).transpose()?;
    let limits = stage.map_or_else(largest, |stage| stage.limits);
    let wanted = Wanted { digest: None, size_max: limits.file_size.0, plain_http: options.plain_http };
    let bytes = app.registry().fetch(&options.plugin, &wanted)?.bytes;
    let artifact =
        Artifact::read(&bytes).map_err(|error| Exit::usage(format!("plugin {}: {error}", options.plugin)))?;
    let report = Report {
        signed_by: trust::said_signers(&bytes).unwrap_or_default(),
        signature: signature(&app, options, &bytes, &keys(options, pipeline.as_ref())?)?,
        allowed: stage.map(|stage| allowed(&artifact, stage)),
        description: match options.no_run {
            true => None,
            false => Some(app.compile(&options.plugin, bytes, &limits)?.description().clone()),
        },
        artifact,
    };
    if options.json {
        return super::print_json(&report.as_json());
    }
    report.print();
    Ok(())
}

/// Whoever looks wants to see; no pipeline has a limit to keep to.
fn largest() -> Limits {
    Limits { file_size: Size(FILE_BYTES_MAX), ..Limits::default() }
}

/// The stage that is meant: the named one, the only one, or the one that has this plugin.
fn stage<'a>(pipeline: &'a Pipeline, options: &Inspect) -> Result<&'a Stage, Exit> {
    let of = |fits: &dyn Fn(&Stage) -> bool| pipeline.stages.iter().find(|stage| fits(stage));
    let found = match (&options.stage, &pipeline.stages[..]) {
        (Some(name), _) => of(&|stage| stage.name == *name),
        (None, [only]) => Some(only),
        (None, _) => of(&|stage| stage.plugin == options.plugin),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
        Exit::usage(format!("say with --stage which stage of pipeline '{}': {}", pipeline.name, names.join(", ")))
    })
}

fn keys(options: &Inspect, pipeline: Option<&Pipeline>) -> Result<Vec<PublicKey>, Exit> {
    let mut keys: Vec<PublicKey> = options.key.iter().map(|path| read_public(path)).collect::<Result<_, _>>()?;
    let trusted = pipeline.and_then(|pipeline| pipeline.trust.as_ref());
    keys.extend(trusted.iter().flat_map(|trust| &trust.keys).map(|trusted| trusted.key.clone()));
    Ok(keys)
}

/// One of the keys that signed it, or why there is none; none where no key is asked about.
fn signature(
    app: &App,
    options: &Inspect,
    plugin: &[u8],
    keys: &[PublicKey],
) -> Result<Option<Result<String, String>>, Exit> {
    if keys.is_empty() {
        return Ok(None);
    }
    let signers = app.signers(&options.plugin, plugin, keys, options.plain_http)?;
    let first = |signers: Vec<&PublicKey>| signers.first().map(ToString::to_string).unwrap_or_default();
    Ok(Some(signers.map(first).map_err(|error| error.to_string())))
}

fn allowed(artifact: &Artifact, stage: &Stage) -> Vec<&'static str> {
    let allow: Vec<sluicegate_wasm::Capability> = stage.allow.iter().map(|capability| (*capability).into()).collect();
    let asked = artifact.asks().into_iter().map(|ask| ask.capability);
    asked.filter(|asked| allow.contains(asked)).map(sluicegate_wasm::Capability::name).collect()
}

impl Report {
    fn print(&self) {
        let Report { artifact, description, .. } = self;
        if let Some(description) = description {
            say!("name        {}", description.name);
            say!("version     {}", description.version);
            say!("summary     {}", description.summary);
        }
        say!("digest      sha256:{}", artifact.digest);
        say!("size        {}", bytesize::ByteSize(artifact.size as u64).display().iec());
        say!("signature   {}", self.signature_in_words());
        say!("interface   {}", artifact.interface.name());
        say!("form        {}", form_in_words(artifact));
        for producer in &artifact.producers {
            say!("{:<11} {} {}", producer.field, producer.name, producer.version);
        }
        for sbom in &artifact.sboms {
            say!("sbom        section {} of {} bytes", sbom.section, sbom.size);
        }
        say!("imports     {}", artifact.imports.join("\n            "));
        say!("exports     {}", artifact.exports.join("\n            "));
        say!("asks for    {}", self.asks_in_words());
        match description.as_ref().map(|description| &description.config_schema) {
            None => {}
            Some(None) => say!("config      takes none"),
            Some(Some(schema)) => say!("config      {}", indented(schema)),
        }
    }

    fn signature_in_words(&self) -> String {
        match &self.signature {
            Some(Ok(key)) => format!("by {key}, which is trusted"),
            Some(Err(why)) => format!("not trusted: {why}"),
            None if self.signed_by.is_empty() => "none".into(),
            None => format!("by {}, not checked: give --key or --pipeline", self.signed_by.join(", ")),
        }
    }

    /// What the plugin gets only where it is allowed.
    fn asks_in_words(&self) -> String {
        let asks = self.artifact.asks();
        if asks.is_empty() {
            return "nothing but logs and counters: it sees neither clocks nor random numbers".into();
        }
        let line = |Ask { interface, capability, otherwise }: &Ask| {
            let name = capability.name();
            match &self.allowed {
                Some(allowed) if allowed.contains(&name) => {
                    format!("{name}: imports {interface}; allowed by the stage")
                }
                Some(_) => format!("{name}: imports {interface}; not allowed by the stage: gets {otherwise}"),
                None => format!("{name}: imports {interface}; gets {otherwise}, unless the stage says allow: [{name}]"),
            }
        };
        let mut lines: Vec<String> = asks.iter().map(line).collect();
        lines.push(
            "(languages import some for their own ends: 'sluicegate test --repeat' shows if outputs hang on it)".into(),
        );
        lines.join("\n            ")
    }

    fn as_json(&self) -> Value {
        let Report { artifact, description, .. } = self;
        let schema = description.as_ref().and_then(|description| description.config_schema.as_deref());
        let schema =
            schema.map(|schema| serde_json::from_str(schema).unwrap_or_else(|_| Value::String(schema.to_owned())));
        let producers: Vec<_> = artifact
            .producers
            .iter()
            .map(|producer| json!({ "field": producer.field, "name": producer.name, "version": producer.version }))
            .collect();
        let ask = |Ask { interface, capability, otherwise }: &Ask| {
            let allowed = self.allowed.as_ref().map(|allowed| allowed.contains(&capability.name()));
            json!({ "capability": capability.name(), "interface": interface, "otherwise": otherwise, "allowed": allowed })
        };
        let asks: Vec<_> = artifact.asks().iter().map(ask).collect();
        let sboms: Vec<_> =
            artifact.sboms.iter().map(|sbom| json!({ "section": sbom.section, "size": sbom.size })).collect();
        let said = |of: fn(&Description) -> &String| description.as_ref().map(of);
        json!({
            "name": said(|description| &description.name),
            "version": said(|description| &description.version),
            "summary": said(|description| &description.summary),
            "digest": format!("sha256:{}", artifact.digest),
            "size": artifact.size,
            "signed-by": self.signed_by,
            "trusted-key": self.signature.as_ref().and_then(|signature| signature.as_ref().ok()),
            "interface": artifact.interface.name(),
            "form": artifact.form.name(),
            "producers": producers,
            "sboms": sboms,
            "imports": artifact.imports,
            "exports": artifact.exports,
            "asks": asks,
            "config-schema": schema,
        })
    }
}

fn form_in_words(artifact: &Artifact) -> &'static str {
    match (artifact.form, artifact.interface) {
        (Form::Component, _) => "component",
        (Form::Module, Interface::Redpanda) => "core module: a transform for Redpanda, run as it is",
        (Form::Module, _) => "core module, of which a component is made when it is loaded",
    }
}

/// The schema, laid out for people if it is JSON at all. Whatever it is, it moves no cursor.
fn indented(schema: &str) -> String {
    let parsed = serde_json::from_str::<Value>(schema);
    let text = parsed.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| schema.to_owned());
    text.lines().map(|line| clean(line, usize::MAX)).collect::<Vec<_>>().join("\n            ")
}

#[cfg(test)]
mod tests {
    use super::indented;

    #[test]
    fn a_schema_is_shown_without_control_characters() {
        assert_eq!(
            indented("{\"a\":\"\u{202e}\u{9b}2J\"}"),
            "{\n              \"a\": \"\\u{202e}\\u{9b}2J\"\n            }"
        );
        assert_eq!(indented("none\u{1b}[2J"), "none\\u{1b}[2J");
    }
}
