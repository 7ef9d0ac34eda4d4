//! Which contract a file keeps to, by the names of its imports and exports.

use super::{ArtifactError, CONTRACT_VERSION, Form, Interface, PACKAGE, REDPANDA};

/// The functions of Redpanda's ABI, version 2.
const REDPANDA_FUNCTIONS: [&str; 5] =
    ["check_abi_version_2", "read_batch_header", "read_next_record", "write_record", "write_record_with_options"];
/// What Redpanda's transforms import to ask the broker's schema registry. Linked, and whatever calls it fails.
const REDPANDA_SCHEMAS: &str = "redpanda_schema_registry";
/// WASI as core modules import it.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// The interfaces of WASI 0.2 that standard libraries import, many of them even unused. They are linked with nothing behind
/// them, except for clocks and random numbers.
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

/// The interface of a file with these imports and exports.
pub(super) fn interface(form: Form, imports: &[String], exports: &[String]) -> Result<Interface, ArtifactError> {
    if form == Form::Module {
        let functions = imports.iter().filter_map(|import| import.strip_prefix(REDPANDA)?.strip_prefix('.'));
        let functions: Vec<&str> = functions.collect();
        if functions.contains(&REDPANDA_FUNCTIONS[0]) {
            return Ok(Interface::Redpanda);
        }
        if !functions.is_empty() {
            return Err(ArtifactError::RedpandaVersion);
        }
        if !exports.iter().any(|export| export.starts_with(PACKAGE)) {
            return Err(ArtifactError::CoreModule);
        }
    }
    exported(exports)
}

fn exported(exports: &[String]) -> Result<Interface, ArtifactError> {
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

/// Whether a version of the contract is ours, whatever its patch level.
fn compatible(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(version) == minor(CONTRACT_VERSION)
}

/// Whether a file with this interface is given the import of this name.
pub(super) fn check_import(interface: Interface, import: &str) -> Result<(), ArtifactError> {
    let refuse = |why| Err(ArtifactError::ImportNotAllowed { import: import.to_owned(), why });
    // A component's names have no dot before their version, and its wrapping leaves none of these.
    match (interface, import.split_once('.')) {
        (_, Some((PREVIEW_1, _))) => return Ok(()),
        (Interface::Redpanda, Some((REDPANDA_SCHEMAS, _))) => return Ok(()),
        (Interface::Redpanda, Some((REDPANDA, function))) if REDPANDA_FUNCTIONS.contains(&function) => return Ok(()),
        (Interface::Redpanda, _) => return refuse("transforms have Redpanda's ABI and the shell of WASI preview 1"),
        _ => {}
    }
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

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn module(imports: &[&str], exports: &[&str]) -> Result<Interface, ArtifactError> {
        interface(Form::Module, &names(imports), &names(exports))
    }

    #[test]
    fn modules_are_plugins_by_their_exports_or_transforms_by_their_imports() {
        let [lifecycle, single] = ["lifecycle", "transform"].map(|name| format!("{PACKAGE}{name}@{CONTRACT_VERSION}"));
        assert_eq!(module(&[], &["memory", &lifecycle, &single]), Ok(Interface::Transform));
        assert_eq!(module(&[], &[&lifecycle]), Err(ArtifactError::NoTransform));
        assert_eq!(module(&[], &["memory", "_start"]), Err(ArtifactError::CoreModule));
        let abi = |version| format!("redpanda_transform.check_abi_version_{version}");
        assert_eq!(module(&[&abi(2)], &["memory", "_start"]), Ok(Interface::Redpanda));
        assert_eq!(module(&[&abi(1)], &["memory", "_start"]), Err(ArtifactError::RedpandaVersion));
        // No more than what a component of these exports would be.
        assert_eq!(interface(Form::Component, &names(&[&abi(2)]), &[]), Err(ArtifactError::NoLifecycle));
    }

    #[test]
    fn modules_are_given_what_their_kind_is() {
        let given = |interface, import| check_import(interface, import).is_ok();
        for (import, plugin, transform) in [
            ("wasi_snapshot_preview1.fd_write", true, true),
            ("sluicegate:plugin/log@0.1.0", true, false),
            ("redpanda_transform.write_record", false, true),
            ("redpanda_transform.write_everything", false, false),
            ("redpanda_schema_registry.get_subject_schema", false, true),
            ("wasi_unstable.fd_write", false, false),
            ("env.system", false, false),
        ] {
            assert_eq!(given(Interface::Transform, import), plugin, "{import}");
            assert_eq!(given(Interface::Redpanda, import), transform, "{import}");
        }
    }
}
