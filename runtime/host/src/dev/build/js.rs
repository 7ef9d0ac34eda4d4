//! JavaScript and TypeScript projects, by npm and componentize-qjs: the engine, the plugin and what it imports become one
//! component. What is particular to JavaScript's tools is in the SDK's `tool/build.js`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow, bail};

use super::{Made, component, tool};

const MANIFEST: &str = "package.json";
/// Written when the dependencies are installed: they are again when the manifest is newer.
const INSTALLED: &str = "node_modules/.sluicegate-installed";
/// What the SDK brings to make a component.
const TOOL: &str = "node_modules/sluicegate-plugin/tool/build.js";
const REMEDY: &str = "install Node.js 20 or newer from https://nodejs.org, which brings npm";

pub(super) fn build(folder: &Path) -> anyhow::Result<Made> {
    let name = package_name(folder)?;
    let folder = folder.canonicalize()?;
    install(&folder)?;
    if !folder.join(TOOL).is_file() {
        bail!("the SDK is not among the dependencies: npm install sluicegate-plugin, in {}", folder.display());
    }
    let scratch = tempfile::tempdir()?;
    let (wit, made) = (scratch.path().join("plugin.wit"), scratch.path().join("plugin.wasm"));
    std::fs::write(&wit, component::WIT)?;
    tool::run(Command::new("node").arg(folder.join(TOOL)).args([&folder, &wit, &made]).current_dir(&folder), REMEDY)?;
    let component = std::fs::read(&made).context("the SDK's tool made no component")?;
    Ok(Made { name, component })
}

/// Installs the dependencies, where that was not done since they changed.
fn install(folder: &Path) -> anyhow::Result<()> {
    let modified = |file: &str| folder.join(file).metadata().and_then(|file| file.modified()).ok();
    if modified(INSTALLED).is_some_and(|installed| Some(installed) >= modified(MANIFEST)) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    // With --install-links an SDK in a folder is installed as a published one is.
    npm.args(["install", "--install-links", "--no-audit", "--no-fund", "--loglevel=error"]);
    tool::run(npm.current_dir(folder), REMEDY)?;
    Ok(std::fs::write(folder.join(INSTALLED), "")?)
}

/// What package.json says under `name`, without a scope.
fn package_name(folder: &Path) -> anyhow::Result<String> {
    let file = folder.join(MANIFEST);
    let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let manifest: serde_json::Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let name = manifest["name"].as_str().and_then(|name| name.rsplit('/').next());
    let name = name.filter(|name| !name.is_empty() && !name.starts_with('.'));
    Ok(name.ok_or_else(|| anyhow!("{} has no name", file.display()))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_as_its_package() {
        let folder = tempfile::tempdir().unwrap();
        for (text, name) in [
            (r#"{ "name": "shout" }"#, Some("shout")),
            (r#"{ "name": "@team/shout" }"#, Some("shout")),
            (r#"{ "name": "../.." }"#, None),
            (r#"{ "name": "" }"#, None),
            ("{}", None),
            ("{", None),
        ] {
            std::fs::write(folder.path().join(MANIFEST), text).unwrap();
            assert_eq!(package_name(folder.path()).ok().as_deref(), name, "{text}");
        }
    }
}
