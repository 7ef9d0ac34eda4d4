//! The languages that plugins are written in, as `new` and `build` know them.

use std::path::Path;

/// A language with an SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, by cargo.
    Rust,
    /// C, by make and zig or clang.
    C,
    /// C++, likewise.
    Cpp,
    /// Go, by its own compiler.
    Go,
    /// Python, by pip and componentize-py.
    Python,
    /// JavaScript, by npm and componentize-qjs.
    Js,
    /// TypeScript, likewise.
    Ts,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 7] =
        [Language::Rust, Language::Go, Language::Python, Language::Js, Language::Ts, Language::C, Language::Cpp];

    /// What `sluicegate new` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Go => "go",
            Language::Python => "python",
            Language::Js => "js",
            Language::Ts => "ts",
        }
    }

    /// The language of this name.
    pub fn named(name: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.name() == name)
    }

    /// The file by which a project of the language is known.
    pub fn marker(self) -> &'static str {
        match self {
            Language::Rust => "Cargo.toml",
            Language::C | Language::Cpp => "Makefile",
            Language::Go => "go.mod",
            Language::Python => "pyproject.toml",
            Language::Js | Language::Ts => "package.json",
        }
    }

    /// The file by which the folder of its SDK is known.
    pub fn sdk_marker(self) -> &'static str {
        match self {
            Language::C | Language::Cpp => "include/sluicegate.h",
            other => other.marker(),
        }
    }

    /// The folder of its SDK in a checkout.
    pub fn sdk_folder(self) -> &'static str {
        match self {
            Language::Rust => "plugins/sdk/rust",
            Language::Go => "plugins/sdk/go",
            Language::Python => "plugins/sdk/python",
            Language::Js | Language::Ts => "plugins/sdk/js",
            Language::C | Language::Cpp => "plugins/sdk/c",
        }
    }

    /// The language of the project in this folder. What two languages share is told apart by neither's build.
    pub fn of(folder: &Path) -> Option<Language> {
        Language::ALL.into_iter().find(|language| folder.join(language.marker()).is_file())
    }

    /// All names, for a person to choose from.
    pub fn names() -> String {
        Language::ALL.map(Language::name).join(", ")
    }
}
