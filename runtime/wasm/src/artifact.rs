mod contract;
mod error;
mod footprint;
mod producer;
mod sections;

use sha2::{Digest, Sha256};

use crate::allow::{ASKS, Ask};

pub use error::ArtifactError;
pub use producer::Producer;

/// The version of `wit/plugin.wit` that this program speaks.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// What a plugin's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A component.
    Component,
    /// A core module: a transform for Redpanda, or a plugin that lacks only its wrapping and gets it when it is loaded.
    Module,
}

impl Form {
    /// The form's name.
    pub fn name(self) -> &'static str {
        match self {
            Form::Component => "component",
            Form::Module => "module",
        }
    }
}

/// How a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// It exports `transform`: one record a call.
    Transform,
    /// It exports `batch-transform`: one batch a call.
    BatchTransform,
    /// It imports `redpanda_transform`, as Redpanda's Data Transforms do: it asks for records.
    Redpanda,
}

impl Interface {
    /// The interface's name: in `plugin.wit`, or as Redpanda's modules import it.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Transform => "transform",
            Interface::BatchTransform => "batch-transform",
            Interface::Redpanda => "redpanda_transform",
        }
    }
}

/// What a plugin's file says of itself, read without compiling or running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The file's size in bytes.
    pub size: usize,
    /// What it is.
    pub form: Form,
    /// How it is called.
    pub interface: Interface,
    /// The names of what it imports, in order: interfaces, or a module and a function with a dot between them. Control
    /// characters are escaped, here and in the exports.
    pub imports: Vec<String>,
    /// The names of what it exports, in order: interfaces, and what belongs to none.
    pub exports: Vec<String>,
    /// Languages, SDKs and tools that made it, without duplicates; the first 64.
    pub producers: Vec<Producer>,
    /// The contents of the section that holds signatures, if the file begins with one.
    pub signature: Option<Vec<u8>>,
    /// Lists of what it was built from.
    pub sboms: Vec<Sbom>,
}

/// A list of what a plugin was built from, as some tools leave in what they make. Its contents are not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sbom {
    /// The section that holds it: `.dep-v0`, which cargo-auditable makes, or `sbom`.
    pub section: &'static str,
    /// Its size in bytes.
    pub size: usize,
}

/// How files begin that people mistake for plugins, and what to say of them.
const LOOKALIKES: [(&[u8], &str); 5] = [
    (
        b"\x7fELF",
        ", but native code, as precompiled .cwasm files are, which is never run: give the .wasm file that it is of",
    ),
    (b"(component", TEXT),
    (b"(module", TEXT),
    (b"\x1f\x8b", ", but one that gzip has compressed: unpack it"),
    (b"PK\x03\x04", ", but a zip archive: unpack it"),
];
const TEXT: &str = ", but WebAssembly as text: `wasm-tools parse` makes a .wasm file of it";

/// What the names of the interfaces of `plugin.wit` begin with.
const PACKAGE: &str = "sluicegate:plugin/";
/// The module that Redpanda's transforms import.
const REDPANDA: &str = "redpanda_transform";

impl Artifact {
    /// Reads and checks a plugin's bytes. Takes time in proportion to their number; runs nothing.
    ///
    /// # Errors
    /// The first thing that keeps these bytes from being a plugin.
    pub fn read(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        let form = form(bytes)?;
        let mut artifact = Artifact {
            digest: hex::encode(Sha256::digest(bytes)),
            size: bytes.len(),
            form,
            interface: Interface::Transform,
            imports: Vec::new(),
            exports: Vec::new(),
            producers: Vec::new(),
            signature: None,
            sboms: Vec::new(),
        };
        artifact.parse(bytes)?;
        artifact.interface = contract::interface(form, &artifact.imports, &artifact.exports)?;
        let check = |import: &String| contract::check_import(artifact.interface, import);
        artifact.imports.iter().try_for_each(check)?;
        Ok(artifact)
    }

    /// What it imports that is real only where a stage's `allow` says so. It need not show in the outputs: runtimes of
    /// languages read clocks for purposes of their own.
    pub fn asks(&self) -> Vec<Ask> {
        let imports = |ask: &Ask| self.imports.iter().any(|import| import.split('@').next() == Some(ask.interface));
        ASKS.into_iter().filter(imports).collect()
    }
}

/// Tells components and core modules from everything else by their first eight bytes.
fn form(bytes: &[u8]) -> Result<Form, ArtifactError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(ArtifactError::NotWasm { instead: instead(bytes) });
    }
    match bytes.get(4..8) {
        None => Err(ArtifactError::Truncated { size: bytes.len() }),
        Some([1, 0, 0, 0]) => Ok(Form::Module),
        Some([0x0d, 0, 1, 0]) => Ok(Form::Component),
        Some(version) => Err(ArtifactError::Corrupt {
            reason: format!("version bytes {version:02x?} are none that this program knows"),
        }),
    }
}

/// What a file that is no plugin seems to be, and what to do about it.
fn instead(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return ", but an empty one: copy it again, or build the plugin with `sluicegate build`";
    }
    let known = LOOKALIKES.iter().find(|(start, _)| bytes.trim_ascii_start().starts_with(start));
    known.map_or(": build the plugin with `sluicegate build`", |(_, instead)| instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read(wat: &str) -> Result<Artifact, ArtifactError> {
        Artifact::read(&wat::parse_str(wat).unwrap())
    }

    pub(super) fn exporting(names: &[&str]) -> String {
        let exports = names.iter().map(|name| format!("(export \"{name}\" (instance $i))"));
        format!("(component (instance $i) {})", exports.collect::<String>())
    }

    fn refusal(wat: &str) -> String {
        read(wat).unwrap_err().to_string()
    }

    #[test]
    fn the_exports_decide_which_interface_it_is() {
        let lifecycle = "sluicegate:plugin/lifecycle@0.1.0";
        let batch = exporting(&[lifecycle, "sluicegate:plugin/batch-transform@0.1.0"]);
        assert_eq!(read(&batch).unwrap().interface, Interface::BatchTransform);
        let single = exporting(&[lifecycle, "sluicegate:plugin/transform@0.1.3"]);
        assert_eq!(read(&single).unwrap().interface, Interface::Transform);
        let both =
            exporting(&[lifecycle, "sluicegate:plugin/transform@0.1.0", "sluicegate:plugin/batch-transform@0.1.0"]);
        assert_eq!(read(&both), Err(ArtifactError::BothTransforms));
        assert_eq!(read(&exporting(&[lifecycle])), Err(ArtifactError::NoTransform));
        assert_eq!(read(&exporting(&["wasi:cli/run@0.2.6"])), Err(ArtifactError::NoLifecycle));
        let newer = exporting(&["sluicegate:plugin/lifecycle@0.2.0", "sluicegate:plugin/transform@0.2.0"]);
        assert_eq!(
            refusal(&newer),
            "exports sluicegate:plugin/lifecycle@0.2.0, and this program speaks version 0.1.0: \
             rebuild the plugin with an SDK of that version"
        );
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        for (bytes, words) in [
            (&b"#!/bin/sh"[..], "not a WebAssembly file: build the plugin"),
            (b"", "but an empty one"),
            (b"\x7fELF\x02\x01\x01\xc8", "but native code"),
            (b"\n  (component)", "but WebAssembly as text"),
            (b"(module)", "but WebAssembly as text"),
            (b"\x1f\x8b\x08", "but one that gzip has compressed"),
            (b"PK\x03\x04", "but a zip archive"),
        ] {
            let refused = Artifact::read(bytes).unwrap_err().to_string();
            assert!(refused.starts_with("not a WebAssembly file") && refused.contains(words), "{refused}");
        }
        assert_eq!(Artifact::read(b"\0asm\x0d"), Err(ArtifactError::Truncated { size: 5 }));
        assert_eq!(read("(module)"), Err(ArtifactError::CoreModule));
        let whole = wat::parse_str(exporting(&["sluicegate:plugin/lifecycle@0.1.0"])).unwrap();
        assert_eq!(Artifact::read(&whole[..whole.len() - 3]), Err(ArtifactError::Truncated { size: whole.len() - 3 }));
    }

    #[test]
    fn imports_are_refused_by_name() {
        let plugin = |import: &str| {
            format!(
                "(component (import \"{import}\" (instance)) (instance $i)
                    (export \"sluicegate:plugin/lifecycle@0.1.0\" (instance $i))
                    (export \"sluicegate:plugin/transform@0.1.0\" (instance $i)))"
            )
        };
        for import in ["sluicegate:plugin/log@0.1.0", "wasi:cli/environment@0.2.6", "wasi:io/poll@0.2.0"] {
            assert_eq!(read(&plugin(import)).unwrap().imports, [import]);
        }
        assert_eq!(
            refusal(&plugin("wasi:http/outgoing-handler@0.2.0")),
            "imports wasi:http/outgoing-handler@0.2.0, which no plugin is given (plugins have no network): remove what needs it"
        );
        for import in
            ["wasi:sockets/tcp@0.2.0", "wasi:io/poll@0.3.0", "acme:host/secrets", "sluicegate:plugin/log@0.9.0"]
        {
            assert!(refusal(&plugin(import)).starts_with(&format!("imports {import}, which no plugin is given")));
        }
    }
}
