mod contract;
mod error;
mod producer;

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload, WasmFeatures};

use crate::allow::{ASKS, Ask};
use crate::words::clean;
use producer::SDK_SECTION;

pub use error::ArtifactError;
pub use producer::Producer;

/// The version of `wit/plugin.wit` that this program speaks.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// What a plugin's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A component.
    Component,
    /// A core module. Where it is a plugin in all but its wrapping, a component is made of it when it is loaded.
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
    /// What the section holds in which the tools put signatures, if the file begins with one.
    pub signature: Option<Vec<u8>>,
    /// Lists of what it was built from.
    pub sboms: Vec<Sbom>,
}

/// A list of what a plugin was built from, which tools leave in what they make. Not read, only shown to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sbom {
    /// The section that holds it: `.dep-v0`, which cargo-auditable makes, or `sbom`.
    pub section: &'static str,
    /// Its size in bytes.
    pub size: usize,
}

/// How files begin that people take for plugins.
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
const SBOM_SECTIONS: [&str; 2] = [".dep-v0", "sbom"];
const SBOMS_MAX: usize = 16;
const SIGNATURE_SECTION: &str = "signature";
/// How many imports a file may have, and how many exports: a core module has one a function, all others far fewer.
const NAMES_MAX: usize = 10_000;
/// What is kept of one of their names, in bytes.
const NAME_BYTES_MAX: usize = 1 << 10;

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

    /// What it asks for that it gets only where a stage's `allow` says so. That a plugin imports something need not show
    /// in its outputs: runtimes of languages look at clocks for their own ends.
    pub fn asks(&self) -> Vec<Ask> {
        let imports = |ask: &Ask| self.imports.iter().any(|import| import.split('@').next() == Some(ask.interface));
        ASKS.into_iter().filter(imports).collect()
    }

    /// Collects the names at the outer level, and the producers at all levels.
    fn parse(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        let unreadable = |error: wasmparser::Error| ArtifactError::unreadable(&error, bytes.len());
        let mut parser = Parser::new(0);
        // Such imports name their module once for all of them, and so take more than the file. wasmtime has none.
        parser.set_features(WasmFeatures::all().difference(WasmFeatures::COMPACT_IMPORTS));
        let (mut depth, mut sections) = (0usize, 0usize);
        for payload in parser.parse_all(bytes) {
            let payload = payload.map_err(unreadable)?;
            sections += usize::from(!matches!(payload, Payload::Version { .. }));
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        add_name("imports", &mut self.imports, import.map_err(unreadable)?.name.name)?;
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        add_name("exports", &mut self.exports, export.map_err(unreadable)?.name.name)?;
                    }
                }
                // Of the file itself: the modules of a component are deeper.
                Payload::ImportSection(imports) if depth == 0 => {
                    for import in imports.into_imports() {
                        let import = import.map_err(unreadable)?;
                        add_name("imports", &mut self.imports, &core_import(import.module, import.name))?;
                    }
                }
                Payload::ExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export.map_err(unreadable)?;
                        add_name("exports", &mut self.exports, interface_of(export.name))?;
                    }
                }
                // Malformed producers are no reason to refuse a plugin.
                Payload::CustomSection(section) if section.name() == "producers" => {
                    let _ = self.add_producers(section.data());
                }
                Payload::CustomSection(section) if section.name() == SDK_SECTION => self.add_sdk(section.data()),
                Payload::CustomSection(section) if section.name() == SIGNATURE_SECTION && sections == 1 => {
                    self.signature = Some(section.data().to_owned());
                }
                Payload::CustomSection(section) => self.add_sbom(section.name(), section.data().len()),
                _ => {}
            }
        }
        // A core module names its interfaces once a function.
        [&mut self.imports, &mut self.exports].into_iter().for_each(keep_first);
        Ok(())
    }

    fn add_sbom(&mut self, name: &str, size: usize) {
        if let Some(section) = SBOM_SECTIONS.into_iter().find(|section| *section == name)
            && self.sboms.len() < SBOMS_MAX
        {
            self.sboms.push(Sbom { section, size });
        }
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

/// What was taken for a plugin, and what to do about it.
fn instead(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return ", but an empty one: copy it again, or build the plugin with `sluicegate build`";
    }
    let known = LOOKALIKES.iter().find(|(start, _)| bytes.trim_ascii_start().starts_with(start));
    known.map_or(": build the plugin with `sluicegate build`", |(_, instead)| instead)
}

/// A core import as a component would name it: by its interface, if it is of one.
fn core_import(module: &str, name: &str) -> String {
    if module.contains(':') { module.to_owned() } else { format!("{module}.{name}") }
}

/// `sluicegate:plugin/transform@0.1.0` of `sluicegate:plugin/transform@0.1.0#process`.
fn interface_of(core_export: &str) -> &str {
    core_export.split('#').next().unwrap_or(core_export)
}

fn add_name(what: &'static str, names: &mut Vec<String>, name: &str) -> Result<(), ArtifactError> {
    if names.len() == NAMES_MAX {
        return Err(ArtifactError::TooMany { what, max: NAMES_MAX });
    }
    // It is shown to people, be it in an error, and a file may name things as it likes.
    names.push(clean(name, NAME_BYTES_MAX));
    Ok(())
}

fn keep_first(names: &mut Vec<String>) {
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wat: &str) -> Result<Artifact, ArtifactError> {
        Artifact::read(&wat::parse_str(wat).unwrap())
    }

    fn exporting(names: &[&str]) -> String {
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

    #[test]
    fn names_are_shown_without_control_characters() {
        let lifecycle = "sluicegate:plugin/lifecycle@0.1.0";
        let odd = [lifecycle, "sluicegate:plugin/transform@0.1.0", "\\1b[2J\\u{202e}"];
        assert_eq!(read(&exporting(&odd)).unwrap().exports[2], "\\u{1b}[2J\\u{202e}");
        let refused = refusal(&exporting(&["sluicegate:plugin/lifecycle@9\\0a"]));
        assert!(refused.starts_with("exports sluicegate:plugin/lifecycle@9\\n, and this program"), "{refused}");
        let abi = "(import \"redpanda_transform\" \"check_abi_version_2\" (func))";
        let refused = refusal(&format!("(module {abi} (import \"\\u{{9b}}\" \"\\07\" (func)))"));
        assert!(refused.starts_with("imports \\u{9b}.\\u{7}, which no plugin is given"), "{refused}");
    }

    #[test]
    fn imports_and_exports_are_limited_in_number() {
        type Text = fn(usize) -> String;
        let cases: [(&str, Text, &str); 4] = [
            ("(component", |i| format!("(import \"i{i}\" (instance))"), "imports"),
            ("(component (instance $i)", |i| format!("(export \"e{i}\" (instance $i))"), "exports"),
            ("(module", |i| format!("(import \"m\" \"i{i}\" (func))"), "imports"),
            ("(module (func $f)", |i| format!("(export \"e{i}\" (func $f))"), "exports"),
        ];
        for (start, name, what) in cases {
            let read_with = |number: usize| read(&format!("{start} {})", (0..number).map(name).collect::<String>()));
            assert_eq!(read_with(NAMES_MAX + 1), Err(ArtifactError::TooMany { what, max: NAMES_MAX }));
            let most = read_with(NAMES_MAX);
            assert!(matches!(most, Err(ArtifactError::NoLifecycle | ArtifactError::CoreModule)), "{start}: {most:?}");
        }
    }

    #[test]
    fn no_module_is_named_once_for_many_imports() {
        // Imports: one module, `m`, and of it one function, `f`.
        let compact = b"\0asm\x01\0\0\0\x02\x0a\x01\x01m\0\x7f\x01\x01f\0\0";
        let refused = Artifact::read(compact).unwrap_err().to_string();
        assert!(refused.contains("compact imports"), "{refused}");
    }

    #[test]
    fn a_core_module_names_its_interfaces_once() {
        let artifact = read(
            "(module
                (import \"sluicegate:plugin/log@0.1.0\" \"log\" (func (param i32 i32 i32)))
                (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32)))
                (memory (export \"memory\") 1)
                (func (export \"sluicegate:plugin/lifecycle@0.1.0#describe\"))
                (func (export \"sluicegate:plugin/lifecycle@0.1.0#configure\"))
                (func (export \"sluicegate:plugin/transform@0.1.0#process\")))",
        );
        let artifact = artifact.unwrap();
        assert_eq!((artifact.form, artifact.interface), (Form::Module, Interface::Transform));
        assert_eq!(artifact.imports, ["sluicegate:plugin/log@0.1.0", "wasi_snapshot_preview1.fd_write"]);
        assert_eq!(
            artifact.exports,
            ["memory", "sluicegate:plugin/lifecycle@0.1.0", "sluicegate:plugin/transform@0.1.0"]
        );
    }
}
