use sha2::{Digest, Sha256};
use wasmparser::{BinaryReader, Parser, Payload, ProducersSectionReader};

use crate::allow::{ASKS, Ask};
use crate::host::log::clean;

/// The version of `wit/plugin.wit` that this program speaks.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// The custom section in which an SDK writes its name and version, with a space between them.
const SDK_SECTION: &str = "sluicegate-sdk";
/// What is kept of a producer's name or version, in bytes.
const PRODUCER_BYTES_MAX: usize = 256;

const PACKAGE: &str = "sluicegate:plugin/";

/// The interfaces of WASI 0.2 that standard libraries import, many of them when nothing uses them. They are linked with
/// nothing behind them, but for clocks and random numbers.
const WASI: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Which of the two interfaces a plugin exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// `transform`: one record a call.
    Transform,
    /// `batch-transform`: one batch a call.
    BatchTransform,
}

impl Interface {
    /// The interface's name in `plugin.wit`.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Transform => "transform",
            Interface::BatchTransform => "batch-transform",
        }
    }
}

/// One entry of the `producers` that tools leave in what they make, or the SDK that says so itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// `language`, `sdk` or `processed-by`.
    pub field: String,
    /// For example `Rust`.
    pub name: String,
    /// For example `2024`; may be empty.
    pub version: String,
}

/// What a plugin's file says of itself, read without compiling or running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The file's size in bytes.
    pub size: usize,
    /// Which transform it exports.
    pub interface: Interface,
    /// The names of everything it imports, in order.
    pub imports: Vec<String>,
    /// The names of everything it exports, in order.
    pub exports: Vec<String>,
    /// Languages, SDKs and tools that made it, without duplicates.
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

const SBOM_SECTIONS: [&str; 2] = [".dep-v0", "sbom"];
const SBOMS_MAX: usize = 16;
const SIGNATURE_SECTION: &str = "signature";

/// Why a file is not a plugin: what is wrong, and the remedy, on one line.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArtifactError {
    /// Not WebAssembly at all.
    #[error("not a WebAssembly file: build the plugin with `sluicegate build`")]
    NotWasm,
    /// A core module.
    #[error("a core WebAssembly module, not a component: `sluicegate build` makes a component of it")]
    CoreModule,
    /// The end is missing.
    #[error("the file is cut off after {size} bytes: copy it again")]
    Truncated {
        /// What there is, in bytes.
        size: usize,
    },
    /// Not a valid component.
    #[error("not a valid component: {reason}")]
    Corrupt {
        /// The parser's words.
        reason: String,
    },
    /// It exports no `lifecycle`.
    #[error("exports no {PACKAGE}lifecycle@{CONTRACT_VERSION}: build it against the worlds of plugin.wit")]
    NoLifecycle,
    /// It exports neither transform.
    #[error("exports neither transform nor batch-transform of {PACKAGE}…@{CONTRACT_VERSION}: export one of them")]
    NoTransform,
    /// It exports both transforms.
    #[error("exports both transform and batch-transform: export one of them")]
    BothTransforms,
    /// It speaks another version of the contract.
    #[error(
        "exports {export}, and this program speaks version {CONTRACT_VERSION}: rebuild the plugin with an SDK of that version"
    )]
    WrongVersion {
        /// The export, with its version.
        export: String,
    },
    /// It wants something of the host that plugins do not get.
    #[error("imports {import}, which no plugin is given ({why}): remove what needs it")]
    ImportNotAllowed {
        /// The import, with its version.
        import: String,
        /// The rule.
        why: &'static str,
    },
}

impl Artifact {
    /// Reads and checks a plugin's bytes. Takes time in proportion to their number; runs nothing.
    ///
    /// # Errors
    /// The first thing that keeps these bytes from being a plugin.
    pub fn read(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        check_header(bytes)?;
        let mut artifact = Artifact {
            digest: hex::encode(Sha256::digest(bytes)),
            size: bytes.len(),
            interface: Interface::Transform,
            imports: Vec::new(),
            exports: Vec::new(),
            producers: Vec::new(),
            signature: None,
            sboms: Vec::new(),
        };
        artifact.parse(bytes).map_err(|error| {
            // The parser runs on the whole file, so what it misses at the end is not there.
            if error.offset() >= bytes.len() || error.message().contains("unexpected end") {
                return ArtifactError::Truncated { size: bytes.len() };
            }
            ArtifactError::Corrupt { reason: error.to_string().replace('\n', " ") }
        })?;
        artifact.interface = interface(&artifact.exports)?;
        artifact.imports.iter().try_for_each(|import| check_import(import))?;
        Ok(artifact)
    }

    /// What it asks for that it gets only where a stage's `allow` says so. That a plugin imports something need not show
    /// in its outputs: runtimes of languages look at clocks for their own ends.
    pub fn asks(&self) -> Vec<Ask> {
        let imports = |ask: &Ask| self.imports.iter().any(|import| import.split('@').next() == Some(ask.interface));
        ASKS.into_iter().filter(imports).collect()
    }

    /// Collects the names at the component's outer level, and the producers at all levels.
    fn parse(&mut self, bytes: &[u8]) -> wasmparser::Result<()> {
        let (mut depth, mut sections) = (0usize, 0usize);
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            sections += usize::from(!matches!(payload, Payload::Version { .. }));
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        self.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        self.exports.push(export?.name.name.to_owned());
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
        Ok(())
    }

    fn add_sbom(&mut self, name: &str, size: usize) {
        if let Some(section) = SBOM_SECTIONS.into_iter().find(|section| *section == name)
            && self.sboms.len() < SBOMS_MAX
        {
            self.sboms.push(Sbom { section, size });
        }
    }

    fn add_sdk(&mut self, section: &[u8]) {
        let said = String::from_utf8_lossy(section);
        let (name, version) = said.split_once(' ').unwrap_or((&said, ""));
        self.add_producer("sdk", name, version);
    }

    fn add_producers(&mut self, section: &[u8]) -> wasmparser::Result<()> {
        for field in ProducersSectionReader::new(BinaryReader::new(section, 0))? {
            let field = field?;
            for value in field.values {
                let value = value?;
                self.add_producer(field.name, value.name, value.version);
            }
        }
        Ok(())
    }

    fn add_producer(&mut self, field: &str, name: &str, version: &str) {
        // A file can say anything here, and it is shown to people.
        let [field, name, version] = [field, name, version].map(|said| clean(said, PRODUCER_BYTES_MAX));
        let producer = Producer { field, name, version };
        if !self.producers.contains(&producer) {
            self.producers.push(producer);
        }
    }
}

/// Tells components from everything else by their first eight bytes.
fn check_header(bytes: &[u8]) -> Result<(), ArtifactError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(ArtifactError::NotWasm);
    }
    match bytes.get(4..8) {
        None => Err(ArtifactError::Truncated { size: bytes.len() }),
        Some([_, _, 0, 0]) => Err(ArtifactError::CoreModule),
        Some([0x0d, 0, 1, 0]) => Ok(()),
        Some(version) => Err(ArtifactError::Corrupt {
            reason: format!("version bytes {version:02x?} are none that this program knows"),
        }),
    }
}

fn interface(exports: &[String]) -> Result<Interface, ArtifactError> {
    let export = |name: &str| {
        exports.iter().find_map(|export| export.strip_prefix(PACKAGE)?.strip_prefix(name)?.strip_prefix('@'))
    };
    let speaks = |name: &str| match export(name) {
        None => Ok(false),
        Some(version) if compatible(version) => Ok(true),
        Some(version) => Err(ArtifactError::WrongVersion { export: format!("{PACKAGE}{name}@{version}") }),
    };
    if !speaks("lifecycle")? {
        return Err(ArtifactError::NoLifecycle);
    }
    match (speaks("transform")?, speaks("batch-transform")?) {
        (true, true) => Err(ArtifactError::BothTransforms),
        (false, false) => Err(ArtifactError::NoTransform),
        (true, false) => Ok(Interface::Transform),
        (false, true) => Ok(Interface::BatchTransform),
    }
}

/// Whether a version of the contract is the one that we speak, but for its patch level.
fn compatible(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(version) == minor(CONTRACT_VERSION)
}

fn check_import(import: &str) -> Result<(), ArtifactError> {
    let refuse = |why| Err(ArtifactError::ImportNotAllowed { import: import.to_owned(), why });
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    if name.strip_prefix(PACKAGE).is_some_and(|name| matches!(name, "log" | "metrics" | "seed")) {
        return match compatible(version) {
            true => Ok(()),
            false => refuse("this program speaks another version of it"),
        };
    }
    if WASI.contains(&name) {
        return match version.starts_with("0.2.") {
            true => Ok(()),
            false => refuse("only version 0.2 of WASI is supported"),
        };
    }
    if name.starts_with("wasi:sockets/") || name.starts_with("wasi:http/") {
        return refuse("plugins have no network");
    }
    refuse("only log, metrics and seed are")
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
        assert_eq!(Artifact::read(b"#!/bin/sh"), Err(ArtifactError::NotWasm));
        assert_eq!(Artifact::read(b""), Err(ArtifactError::NotWasm));
        assert_eq!(Artifact::read(b"\0asm\x0d"), Err(ArtifactError::Truncated { size: 5 }));
        assert_eq!(
            refusal("(module)"),
            "a core WebAssembly module, not a component: `sluicegate build` makes a component of it"
        );
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
