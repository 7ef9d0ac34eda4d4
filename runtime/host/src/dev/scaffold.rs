//! `sluicegate new`: a project that builds, tests and runs as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The files of a Rust project: where they go, and their text with `{{…}}` to be filled in.
const RUST: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/rust/Cargo.toml.in")),
    ("rust-toolchain.toml", include_str!("template/rust/rust-toolchain.toml.in")),
    (".cargo/config.toml", include_str!("template/rust/cargo-config.toml.in")),
    (".gitignore", include_str!("template/rust/gitignore.in")),
    ("src/lib.rs", include_str!("template/rust/lib.rs.in")),
    ("cases/first.yaml", include_str!("template/rust/first.yaml.in")),
    ("pipeline.yaml", include_str!("template/rust/pipeline.yaml.in")),
    ("README.md", include_str!("template/rust/README.md.in")),
];

const NAME_LENGTH_MAX: usize = 64;

/// Names that cargo refuses, or that break a Rust build in ways hard to understand.
const RESERVED: &[&str] = &[
    "alloc",
    "as",
    "async",
    "await",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "sluicegate-plugin",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
    "yield",
];

/// A project to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewProject<'a> {
    /// `rust`.
    pub language: &'a str,
    /// The plugin's name, and the new folder's.
    pub name: &'a str,
    /// The folder in which to make it.
    pub parent: &'a Path,
    /// The SDK in a folder, instead of the published one.
    pub sdk: Option<&'a Path>,
}

/// Makes the project and gives its folder.
///
/// # Errors
/// The name is none, the folder exists, the SDK is not there, or a file cannot be written.
pub fn create(project: NewProject<'_>) -> anyhow::Result<PathBuf> {
    if project.language != "rust" {
        bail!("there is no template for '{}' yet; there is one for: rust", project.language);
    }
    check_name(project.name)?;
    let sdk = sdk_dependency(project.sdk)?;
    let folder = project.parent.join(project.name);
    if folder.symlink_metadata().is_ok() {
        bail!("{} exists already; choose another name or remove it", folder.display());
    }
    for (file, template) in RUST {
        let text = template
            .replace("{{name}}", project.name)
            .replace("{{type}}", &type_name(project.name))
            .replace("{{sdk}}", &sdk);
        let path = folder.join(file);
        let write = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&path, text)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins_well || name.len() > NAME_LENGTH_MAX || !name.chars().all(legal) {
        bail!(
            "'{name}' is no name for a plugin: a letter, then a-z, 0-9, '-' and '_', {NAME_LENGTH_MAX} in all at most"
        );
    }
    if RESERVED.contains(&name.replace('_', "-").as_str()) {
        bail!("'{name}' means something else to Rust; choose another name, such as '{name}-records'");
    }
    Ok(())
}

fn sdk_dependency(sdk: Option<&Path>) -> anyhow::Result<String> {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let Some(sdk) = sdk else { return Ok(format!("\"{major}.{minor}\"")) };
    if !sdk.join("Cargo.toml").is_file() {
        bail!("there is no Cargo.toml in {}: --sdk takes the folder of the crate sluicegate-plugin", sdk.display());
    }
    let path = sdk.canonicalize().with_context(|| format!("cannot find {}", sdk.display()))?;
    let path = path.to_str().context("the path of the SDK is not UTF-8")?;
    Ok(format!("{{ path = {path:?}, version = \"{major}.{minor}\" }}"))
}

/// `mask-accounts` → `MaskAccounts`
fn type_name(name: &str) -> String {
    let capital =
        |word: &str| word.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(word.chars().skip(1)).collect();
    name.split(['-', '_']).map(|word| -> String { capital(word) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::dev::case_file::CaseFile;

    fn project<'a>(name: &'a str, parent: &'a Path) -> NewProject<'a> {
        NewProject { language: "rust", name, parent, sdk: None }
    }

    #[test]
    fn what_is_made_is_legal() {
        let parent = tempfile::tempdir().unwrap();
        let folder = create(project("mask-accounts", parent.path())).unwrap();
        for (file, _) in RUST {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            assert!(!text.contains("{{") && text.ends_with('\n'), "{file}: {text}");
        }
        let pipeline = config::load(&folder.join("pipeline.yaml")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(pipeline.stages[0].plugin.file(), Some(&*folder.join("mask-accounts.wasm")));
        CaseFile::load(&folder.join("cases/first.yaml")).unwrap_or_else(|error| panic!("{error}"));
        assert!(std::fs::read_to_string(folder.join("src/lib.rs")).unwrap().contains("struct MaskAccounts"));
    }

    #[test]
    fn nothing_is_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        create(project("one", parent.path())).unwrap();
        let message = create(project("one", parent.path())).unwrap_err().to_string();
        assert!(message.ends_with("exists already; choose another name or remove it"), "{message}");
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "Big", "1st", "a b", "../up", "match", "proc_macro", &"x".repeat(65)] {
            let parent = tempfile::tempdir().unwrap();
            assert!(create(project(name, parent.path())).is_err(), "{name}");
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn an_sdk_in_a_folder_becomes_a_path() {
        let parent = tempfile::tempdir().unwrap();
        let sdk = parent.path().join("sdk");
        let missing = create(NewProject { sdk: Some(&sdk), ..project("one", parent.path()) });
        assert!(missing.unwrap_err().to_string().contains("--sdk takes the folder"));
        std::fs::create_dir(&sdk).unwrap();
        std::fs::write(sdk.join("Cargo.toml"), "").unwrap();
        let folder = create(NewProject { sdk: Some(&sdk), ..project("one", parent.path()) }).unwrap();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("path = {:?}", sdk.canonicalize().unwrap())), "{manifest}");
    }
}
