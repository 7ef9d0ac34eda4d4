//! C and C++ projects, by make, and by zig or a clang that the user names; then the component step.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::{Made, component, tool};

/// The variable by which a user names a compiler: `clang --target=wasm32-wasi --sysroot=…`.
const NAMED: &str = "SLUICEGATE_CC";
const CORE: &str = ".core.wasm";
const MAKE_REMEDY: &str = "install make (Debian: apt-get install make)";

pub(super) fn build(folder: &Path) -> anyhow::Result<Made> {
    let compiler = Compiler::find()?;
    let mut make = Command::new("make");
    make.arg("--no-print-directory").arg(format!("CC={}", compiler.c)).arg(format!("CXX={}", compiler.cpp));
    tool::run(make.current_dir(folder), MAKE_REMEDY)?;
    let file = core_module(folder)?;
    let module = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(CORE).to_owned();
    Ok(Made { name, component: component::of_module(&module)? })
}

/// The command lines that compile for WASI.
struct Compiler {
    c: String,
    cpp: String,
}

impl Compiler {
    /// What the user names, else zig, as a program or as the package from PyPI.
    fn find() -> anyhow::Result<Compiler> {
        if let Some(c) = std::env::var(NAMED).ok().filter(|named| !named.trim().is_empty()) {
            return Ok(Compiler { cpp: cpp_of(&c), c });
        }
        for zig in ["zig", "python3 -m ziglang", "python -m ziglang"] {
            let mut words = zig.split(' ');
            let mut command = Command::new(words.next().unwrap_or_default());
            if tool::answers(command.args(words).arg("version")) {
                let of = |language| format!("{zig} {language} -target wasm32-wasi");
                return Ok(Compiler { c: of("cc"), cpp: of("c++") });
            }
        }
        bail!(
            "no compiler for WASI is here: pip install ziglang, or name one: \
             {NAMED}='clang --target=wasm32-wasi --sysroot=<wasi-sysroot>'"
        )
    }
}

/// The C++ compiler beside a C compiler: `/opt/clang-20 --flags` → `/opt/clang++-20 --flags`.
fn cpp_of(c: &str) -> String {
    if c.contains("zig cc") {
        return c.replace("zig cc", "zig c++");
    }
    let (program, flags) =
        c.split_once(' ').map_or((c, String::new()), |(program, flags)| (program, format!(" {flags}")));
    match program.rsplit_once("clang") {
        Some((before, after)) => format!("{before}clang++{after}{flags}"),
        None => c.to_owned(),
    }
}

/// The one module that make has left in `build/`.
fn core_module(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder.join("build")).into_iter().flatten().flatten();
    let mut modules = entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(CORE));
    match (modules.next(), modules.next()) {
        (Some(module), None) => Ok(module),
        (None, _) => bail!("make left no build/<name>{CORE}: that is what its first target has to make"),
        _ => bail!("there are several build/*{CORE}: remove all but the plugin's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_for_cpp_is_beside_that_for_c() {
        for (c, cpp) in [
            ("clang", "clang++"),
            ("/opt/clang-20 --target=wasm32-wasi", "/opt/clang++-20 --target=wasm32-wasi"),
            ("/opt/wasi-sdk/bin/clang", "/opt/wasi-sdk/bin/clang++"),
            ("zig cc -O3", "zig c++ -O3"),
        ] {
            assert_eq!(cpp_of(c), cpp);
        }
    }

    #[test]
    fn make_leaves_one_module() {
        let folder = tempfile::tempdir().unwrap();
        let message = || core_module(folder.path()).unwrap_err().to_string();
        assert!(message().contains("make left no"));
        std::fs::create_dir(folder.path().join("build")).unwrap();
        std::fs::write(folder.path().join("build/a.core.wasm"), "").unwrap();
        assert!(core_module(folder.path()).unwrap().ends_with("build/a.core.wasm"));
        std::fs::write(folder.path().join("build/b.core.wasm"), "").unwrap();
        assert!(message().contains("several"));
    }
}
