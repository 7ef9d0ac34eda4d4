//! Go projects, by Go's own compiler: a reactor for WASI preview 1, then the component step.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::{Made, component, tool};

const REMEDY: &str = "install Go 1.24 or newer from https://go.dev/dl, or put its folder on the path";

pub(super) fn build(folder: &Path) -> anyhow::Result<Made> {
    let name = module_name(folder)?;
    let scratch = tempfile::tempdir()?;
    let module = scratch.path().join("core.wasm");
    let mut go = Command::new("go");
    go.args(["build", "-mod=mod", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"]).arg(&module).arg(".");
    // What is set for other builds is not for this one.
    go.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0")]).env_remove("GOFLAGS");
    tool::run(go.current_dir(folder), REMEDY)?;
    let module = std::fs::read(&module).context("Go made no module")?;
    Ok(Made { name, component: component::of_module(&module)? })
}

/// The last part of the path in the line `module …` of go.mod, without a version.
fn module_name(folder: &Path) -> anyhow::Result<String> {
    let file = folder.join("go.mod");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let path = text.lines().find_map(|line| line.trim().strip_prefix("module "));
    let path = path.map(|path| path.split("//").next().unwrap_or(path).trim().trim_matches('"'));
    let is_version = |part: &&str| part.strip_prefix('v').is_some_and(|digits| digits.parse::<u32>().is_ok());
    match path.and_then(|path| path.rsplit('/').find(|part| !is_version(part) && !part.is_empty())) {
        Some(name) => Ok(name.to_owned()),
        None => bail!("{} names no module: its first line is 'module <path>'", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_as_its_module() {
        let folder = tempfile::tempdir().unwrap();
        for (text, name) in [
            ("module shout\n", Some("shout")),
            ("// by hand\nmodule example.com/a/shout // why\n\ngo 1.24\n", Some("shout")),
            ("module \"example.com/a/shout/v2\"\n", Some("shout")),
            ("go 1.24\n", None),
        ] {
            std::fs::write(folder.path().join("go.mod"), text).unwrap();
            assert_eq!(module_name(folder.path()).ok().as_deref(), name, "{text}");
        }
    }
}
