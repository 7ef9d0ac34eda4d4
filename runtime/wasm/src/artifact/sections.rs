use std::collections::HashSet;

use wasmparser::{CustomSectionReader, Parser, Payload, WasmFeatures};

use super::footprint::Footprint;
use super::producer::SDK_SECTION;
use super::{Artifact, ArtifactError, Sbom};
use crate::words::clean;

/// How many imports a file may have, and how many exports: a core module has one a function, all others far fewer.
const NAMES_MAX: usize = 10_000;
/// What is kept of one of their names, in bytes.
const NAME_BYTES_MAX: usize = 1 << 10;
/// How deep components may lie within each other: those of SDKs do three deep.
const DEPTH_MAX: usize = 100;
const SIGNATURE_SECTION: &str = "signature";
const SBOM_SECTIONS: [&str; 2] = [".dep-v0", "sbom"];
const SBOMS_MAX: usize = 16;

impl Artifact {
    /// Collects the names at the outer level, and what custom sections say at all levels.
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        let unreadable = |error: wasmparser::Error| ArtifactError::unreadable(&error, bytes.len());
        let mut parser = Parser::new(0);
        // Such imports name their module once for all of them, and so take more than the file. wasmtime has none.
        parser.set_features(WasmFeatures::all().difference(WasmFeatures::COMPACT_IMPORTS));
        let (mut footprint, mut sections) = (Footprint::default(), 0usize);
        for payload in parser.parse_all(bytes) {
            let payload = payload.map_err(unreadable)?;
            footprint.add(&payload).map_err(unreadable)?;
            if footprint.depth() > DEPTH_MAX {
                return Err(ArtifactError::TooMany { what: "components within each other", max: DEPTH_MAX });
            }
            sections += usize::from(!matches!(payload, Payload::Version { .. }));
            match payload {
                Payload::CustomSection(section) => self.add_custom(&section, sections == 1),
                // The modules of a component are deeper.
                payload if footprint.depth() == 1 => self.add_names(payload, unreadable)?,
                _ => {}
            }
        }
        footprint.check()?;
        // A core module names its interfaces once a function.
        [&mut self.imports, &mut self.exports].into_iter().for_each(keep_first);
        Ok(())
    }

    fn add_names(
        &mut self,
        payload: Payload<'_>,
        unreadable: impl Fn(wasmparser::Error) -> ArtifactError,
    ) -> Result<(), ArtifactError> {
        match payload {
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    add_name("imports", &mut self.imports, import.map_err(&unreadable)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    add_name("exports", &mut self.exports, export.map_err(&unreadable)?.name.name)?;
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(&unreadable)?;
                    add_name("imports", &mut self.imports, &core_import(import.module, import.name))?;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    add_name("exports", &mut self.exports, interface_of(export.map_err(&unreadable)?.name))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_custom(&mut self, section: &CustomSectionReader<'_>, is_first: bool) {
        match section.name() {
            // Malformed producers are no reason to refuse a plugin.
            "producers" => drop(self.add_producers(section.data())),
            SDK_SECTION => self.add_sdk(section.data()),
            SIGNATURE_SECTION if is_first => self.signature = Some(section.data().to_owned()),
            name => self.add_sbom(name, section.data().len()),
        }
    }

    fn add_sbom(&mut self, name: &str, size: usize) {
        if let Some(section) = SBOM_SECTIONS.into_iter().find(|section| *section == name)
            && self.sboms.len() < SBOMS_MAX
        {
            self.sboms.push(Sbom { section, size });
        }
    }
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
    use crate::artifact::tests::{exporting, read};
    use crate::artifact::{Form, Interface};

    #[test]
    fn names_are_shown_without_control_characters() {
        let lifecycle = "sluicegate:plugin/lifecycle@0.1.0";
        let odd = [lifecycle, "sluicegate:plugin/transform@0.1.0", "\\1b[2J\\u{202e}"];
        assert_eq!(read(&exporting(&odd)).unwrap().exports[2], "\\u{1b}[2J\\u{202e}");
        let refused = read(&exporting(&["sluicegate:plugin/lifecycle@9\\0a"])).unwrap_err().to_string();
        assert!(refused.starts_with("exports sluicegate:plugin/lifecycle@9\\n, and this program"), "{refused}");
        let abi = "(import \"redpanda_transform\" \"check_abi_version_2\" (func))";
        let refused = read(&format!("(module {abi} (import \"\\u{{9b}}\" \"\\07\" (func)))")).unwrap_err().to_string();
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
    fn components_lie_only_so_deep_within_each_other() {
        // Their text may not.
        let within = |inner: Vec<u8>| {
            let size = u32::try_from(inner.len()).unwrap();
            let leb = [0, 7, 14].map(|shift| (size >> shift) as u8 & 0x7f | if shift < 14 { 0x80 } else { 0 });
            [&b"\0asm\x0d\0\x01\0\x04"[..], &leb, &inner].concat()
        };
        let nested = |depth: usize| (1..depth).fold(b"\0asm\x0d\0\x01\0".to_vec(), |inner, _| within(inner));
        assert_eq!(Artifact::read(&nested(DEPTH_MAX)), Err(ArtifactError::NoLifecycle));
        let too_deep = ArtifactError::TooMany { what: "components within each other", max: DEPTH_MAX };
        assert_eq!(Artifact::read(&nested(DEPTH_MAX + 1)), Err(too_deep));
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
