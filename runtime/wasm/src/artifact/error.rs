use super::{CONTRACT_VERSION, PACKAGE, REDPANDA};
use crate::words::one_line;

/// What is told of the parser's words, in bytes.
const REASON_BYTES_MAX: usize = 1 << 10;

/// Why a file is not a plugin: what is wrong, and the remedy, on one line.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArtifactError {
    /// Not WebAssembly at all.
    #[error("not a WebAssembly file{instead}")]
    NotWasm {
        /// What it seems to be instead, where that is known, and the remedy.
        instead: &'static str,
    },
    /// A core module that is none of those that are run.
    #[error(
        "a core WebAssembly module that neither exports what plugin.wit asks for nor imports {REDPANDA}: build it with an SDK, by `sluicegate build`"
    )]
    CoreModule,
    /// A transform for a version of Redpanda's ABI that this program does not speak.
    #[error(
        "imports {REDPANDA} without check_abi_version_2: only version 2 of Redpanda's ABI is spoken: rebuild it with a newer version of its SDK"
    )]
    RedpandaVersion,
    /// The end is missing.
    #[error("the file is cut off after {size} bytes: copy it again")]
    Truncated {
        /// What there is, in bytes.
        size: usize,
    },
    /// Not a valid component.
    #[error("not a valid component: {reason}: copy it again, or build it with another version of its tools")]
    Corrupt {
        /// The parser's words.
        reason: String,
    },
    /// It has more of something than any plugin needs.
    #[error("has more than {max} {what}, and no plugin needs as many: build it with an SDK, by `sluicegate build`")]
    TooMany {
        /// Such as `imports`.
        what: &'static str,
        /// How many it may have.
        max: usize,
    },
    /// What its instances take cannot be told from the file.
    #[error(
        "instantiates a module or component that it does not hold itself, and that could take any amount of memory: build it with an SDK, by `sluicegate build`"
    )]
    InstantiatesOthers,
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

impl ArtifactError {
    /// What a parser's error says of a file of this size, in bytes.
    pub(super) fn unreadable(error: &wasmparser::Error, size: usize) -> ArtifactError {
        // The parser runs on the whole file, so what it misses at the end is not there.
        if error.offset() >= size || error.message().contains("unexpected end") {
            return ArtifactError::Truncated { size };
        }
        ArtifactError::Corrupt { reason: one_line(&error.to_string(), REASON_BYTES_MAX) }
    }
}
