//! `sluicegate new`: a project that builds, tests and runs as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::language::Language;

/// Where a file goes, and its text with `{{…}}` to be filled in.
type Template = (&'static str, &'static str);

/// What every project has.
const COMMON: &[Template] = &[
    ("cases/first.yaml", include_str!("template/first.yaml.in")),
    ("pipeline.yaml", include_str!("template/pipeline.yaml.in")),
    ("README.md", include_str!("template/README.md.in")),
];
const RUST: &[Template] = &[
    ("Cargo.toml", include_str!("template/rust/Cargo.toml.in")),
    ("rust-toolchain.toml", include_str!("template/rust/rust-toolchain.toml.in")),
    (".cargo/config.toml", include_str!("template/rust/cargo-config.toml.in")),
    (".gitignore", include_str!("template/rust/gitignore.in")),
    ("src/lib.rs", include_str!("template/rust/lib.rs.in")),
];
const GO: &[Template] = &[
    ("go.mod", include_str!("template/go/go.mod.in")),
    (".gitignore", include_str!("template/go/gitignore.in")),
    ("plugin.go", include_str!("template/go/plugin.go.in")),
];
const PYTHON: &[Template] = &[
    ("pyproject.toml", include_str!("template/python/pyproject.toml.in")),
    ("requirements.txt", include_str!("template/python/requirements.txt.in")),
    (".gitignore", include_str!("template/python/gitignore.in")),
    ("plugin.py", include_str!("template/python/plugin.py.in")),
];
const JS: &[Template] = &[
    ("package.json", include_str!("template/js/package.json.in")),
    (".gitignore", include_str!("template/js/gitignore.in")),
    ("plugin.js", include_str!("template/js/plugin.js.in")),
];
const TS: &[Template] = &[
    ("package.json", include_str!("template/ts/package.json.in")),
    ("tsconfig.json", include_str!("template/ts/tsconfig.json.in")),
    (".gitignore", include_str!("template/js/gitignore.in")),
    ("plugin.ts", include_str!("template/ts/plugin.ts.in")),
];
const C: &[Template] = &[
    ("Makefile", include_str!("template/c/Makefile.in")),
    (".gitignore", include_str!("template/c/gitignore.in")),
    ("plugin.c", include_str!("template/c/plugin.c.in")),
];
const CPP: &[Template] = &[
    ("Makefile", include_str!("template/cpp/Makefile.in")),
    (".gitignore", include_str!("template/c/gitignore.in")),
    ("plugin.cpp", include_str!("template/cpp/plugin.cpp.in")),
];

/// The tools that projects pin, at the versions that are tested.
const TOOLS: &[(&str, &str)] = &[("{{componentize-py}}", "0.25.1")];

/// What a language's templates are filled with.
struct Flavour {
    /// As a README calls it.
    title: &'static str,
    /// Where the plugin is.
    source: &'static str,
    files: &'static [Template],
}

fn flavour(language: Language) -> Flavour {
    let of = |title, source, files| Flavour { title, source, files };
    match language {
        Language::Rust => of("Rust", "src/lib.rs", RUST),
        Language::Go => of("Go", "plugin.go", GO),
        Language::Python => of("Python", "plugin.py", PYTHON),
        Language::Js => of("JavaScript", "plugin.js", JS),
        Language::Ts => of("TypeScript", "plugin.ts", TS),
        Language::C => of("C", "plugin.c", C),
        Language::Cpp => of("C++", "plugin.cpp", CPP),
    }
}

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
    /// One of [`Language::ALL`], by its name.
    pub language: &'a str,
    /// The plugin's name, and the new folder's.
    pub name: &'a str,
    /// The folder in which to make it.
    pub parent: &'a Path,
    /// The folder of the SDK for the language.
    pub sdk: Option<&'a Path>,
}

/// Makes the project and gives its folder.
///
/// # Errors
/// The name is none, the folder exists, the SDK is not given or not there, or a file cannot be written.
pub fn create(project: NewProject<'_>) -> anyhow::Result<PathBuf> {
    let Some(language) = Language::named(project.language) else {
        bail!("there is no template for '{}'; there is one for: {}", project.language, Language::names());
    };
    check_name(project.name, language)?;
    let sdk = sdk_dependency(project.sdk, language)?;
    let folder = project.parent.join(project.name);
    if folder.symlink_metadata().is_ok() {
        bail!("{} exists already; choose another name or remove it", folder.display());
    }
    for (file, template) in flavour(language).files.iter().chain(COMMON) {
        let text = fill(template, project.name, language, &sdk);
        let path = folder.join(file);
        let write = || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(&path, text)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

fn fill(template: &str, name: &str, language: Language, sdk: &str) -> String {
    let Flavour { title, source, .. } = flavour(language);
    let own_test = match language {
        Language::Rust => "cargo test                      # the tests in src/lib.rs, without Wasm\n",
        _ => "",
    };
    // CPython is compiled once a machine, which takes a busy one longer than the usual minute.
    let (limits, stage_limits) = match language {
        Language::Python => ("limits: { compile-time: 10m }\n", "    limits: { compile-time: 10m }\n"),
        _ => ("", ""),
    };
    let filled = template
        .replace("{{limits}}", limits)
        .replace("{{stage-limits}}", stage_limits)
        .replace("{{own-test}}", own_test)
        .replace("{{language}}", title)
        .replace("{{source}}", source)
        .replace("{{name}}", name)
        .replace("{{type}}", &type_name(name))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{sdk}}", sdk);
    TOOLS.iter().fold(filled, |text, (tool, version)| text.replace(tool, version))
}

fn check_name(name: &str, language: Language) -> anyhow::Result<()> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins_well || name.len() > NAME_LENGTH_MAX || !name.chars().all(legal) {
        bail!(
            "'{name}' is no name for a plugin: a letter, then a-z, 0-9, '-' and '_', {NAME_LENGTH_MAX} in all at most"
        );
    }
    if language == Language::Rust && RESERVED.contains(&name.replace('_', "-").as_str()) {
        bail!("'{name}' means something else to Rust; choose another name, such as '{name}-records'");
    }
    Ok(())
}

/// How the project names the SDK. Never by a name in a public registry, which anybody may have taken: `build` would run their code.
fn sdk_dependency(sdk: Option<&Path>, language: Language) -> anyhow::Result<String> {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let Some(sdk) = sdk else {
        bail!(
            "the SDKs are not published yet: --sdk FOLDER names the one for {} in a checkout of Sluicegate, {}",
            language.name(),
            language.sdk_folder()
        );
    };
    let marker = language.sdk_marker();
    if !sdk.join(marker).is_file() {
        bail!("there is no {marker} in {}: --sdk takes the folder of the SDK for {}", sdk.display(), language.name());
    }
    let path = sdk.canonicalize().with_context(|| format!("cannot find {}", sdk.display()))?;
    let path = path.to_str().context("the path of the SDK is not UTF-8")?;
    Ok(match language {
        Language::Rust => format!("{{ path = {path:?}, version = \"{major}.{minor}\" }}"),
        Language::Go => format!("\nreplace {GO_SDK} => {path}\n"),
        Language::Python => format!("sluicegate-plugin @ file://{path}"),
        Language::Js | Language::Ts => format!("file:{path}"),
        Language::C | Language::Cpp => path.to_owned(),
    })
}

/// The module of the SDK for Go.
const GO_SDK: &str = "github.com/sluicegate/sluicegate/plugins/sdk/go";

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

    fn project<'a>(name: &'a str, parent: &'a Path, sdk: &'a Path) -> NewProject<'a> {
        NewProject { language: "rust", name, parent, sdk: Some(sdk) }
    }

    /// The SDK in this checkout.
    fn sdk(language: Language) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(language.sdk_folder())
    }

    #[test]
    fn what_is_made_is_legal() {
        for language in Language::ALL {
            let (parent, sdk) = (tempfile::tempdir().unwrap(), sdk(language));
            let of = NewProject { language: language.name(), ..project("mask-accounts", parent.path(), &sdk) };
            let folder = create(of).unwrap();
            for (file, _) in flavour(language).files.iter().chain(COMMON) {
                let text = std::fs::read_to_string(folder.join(file)).unwrap();
                assert!(!text.contains("{{") && text.ends_with('\n'), "{file}: {text}");
            }
            let pipeline = config::load(&folder.join("pipeline.yaml")).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(pipeline.stages[0].plugin.file(), Some(&*folder.join("mask-accounts.wasm")));
            CaseFile::load(&folder.join("cases/first.yaml")).unwrap_or_else(|error| panic!("{error}"));
            let known = Language::of(&folder).map(Language::marker);
            assert_eq!(known, Some(language.marker()));
            assert!(folder.join(flavour(language).source).is_file());
        }
    }

    #[test]
    fn no_project_takes_an_sdk_that_somebody_else_may_have_published() {
        for language in Language::ALL {
            let parent = tempfile::tempdir().unwrap();
            let message =
                create(NewProject { language: language.name(), name: "one", parent: parent.path(), sdk: None });
            let message = message.unwrap_err().to_string();
            assert!(message.starts_with("the SDKs are not published yet: --sdk FOLDER names"), "{message}");
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_type_is_named_as_the_plugin() {
        let (parent, sdk) = (tempfile::tempdir().unwrap(), sdk(Language::Rust));
        let folder = create(project("mask-accounts", parent.path(), &sdk)).unwrap();
        assert!(std::fs::read_to_string(folder.join("src/lib.rs")).unwrap().contains("struct MaskAccounts"));
    }

    #[test]
    fn a_language_that_is_not_known_is_told_which_are() {
        let parent = tempfile::tempdir().unwrap();
        let cobol = NewProject { language: "cobol", name: "one", parent: parent.path(), sdk: None };
        let message = create(cobol).unwrap_err().to_string();
        assert!(message.contains("'cobol'; there is one for: rust, go, python, js, ts, c, cpp"), "{message}");
    }

    #[test]
    fn nothing_is_overwritten() {
        let (parent, sdk) = (tempfile::tempdir().unwrap(), sdk(Language::Rust));
        create(project("one", parent.path(), &sdk)).unwrap();
        let message = create(project("one", parent.path(), &sdk)).unwrap_err().to_string();
        assert!(message.ends_with("exists already; choose another name or remove it"), "{message}");
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["", "Big", "1st", "a b", "../up", "match", "proc_macro", &"x".repeat(65)] {
            let (parent, sdk) = (tempfile::tempdir().unwrap(), sdk(Language::Rust));
            assert!(create(project(name, parent.path(), &sdk)).is_err(), "{name}");
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn an_sdk_in_a_folder_becomes_a_path() {
        let parent = tempfile::tempdir().unwrap();
        let sdk = parent.path().join("sdk");
        let missing = create(project("one", parent.path(), &sdk));
        assert!(missing.unwrap_err().to_string().contains("--sdk takes the folder"));
        std::fs::create_dir(&sdk).unwrap();
        std::fs::write(sdk.join("Cargo.toml"), "").unwrap();
        let folder = create(project("one", parent.path(), &sdk)).unwrap();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("path = {:?}", sdk.canonicalize().unwrap())), "{manifest}");
    }
}
