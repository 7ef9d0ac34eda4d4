//! The components that tests run: the project's plugins, and guests that misbehave.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::build::{self, Artifact};
use crate::languages;

type Built = OnceLock<Result<Vec<Artifact>, String>>;

/// The component of a plugin of `plugins/`, such as `redact`, in whatever language it is; built on the first call.
pub fn plugin(name: &str) -> Result<PathBuf> {
    static BUILT: Built = OnceLock::new();
    let folder = build::project().join("plugins");
    match languages::of(&folder.join(name)) {
        Some(language) => languages::component(name, language, &folder.join(name)),
        None => component(&BUILT, &folder, "plugins", name),
    }
}

/// The component of a guest of `tests/guests/`, such as `traps`; built on the first call.
pub fn guest(name: &str) -> Result<PathBuf> {
    static BUILT: Built = OnceLock::new();
    component(&BUILT, &build::project().join("tests/guests"), "guests", name)
}

/// The transform of `tests/transforms/`, a core module by Redpanda's own SDK; built on the first call.
pub fn transform() -> Result<PathBuf> {
    static BUILT: Built = OnceLock::new();
    let workspace = build::project().join("tests/transforms");
    let build = || build::modules(&workspace, "wasm32-wasip1", &build::target_folder()?.join("transforms"));
    find(build::once(&BUILT, build)?, "asked")
}

fn component(built: &Built, workspace: &Path, target: &str, name: &str) -> Result<PathBuf> {
    let build = || {
        if !workspace.join("Cargo.toml").exists() {
            bail!("{} has no Cargo.toml", workspace.display());
        }
        build::components(workspace, &build::target_folder()?.join(target))
    };
    find(build::once(built, build)?, name)
}

fn find(built: Vec<Artifact>, name: &str) -> Result<PathBuf> {
    let found = built.iter().find(|artifact| artifact.name == name.replace('_', "-"));
    let names: Vec<_> = built.iter().map(|artifact| &artifact.name).collect();
    Ok(found.with_context(|| format!("no component `{name}` among {names:?}"))?.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_found_by_name() -> Result<()> {
        let artifact = |name: &str| Artifact { name: name.into(), path: Path::new("/of").join(name) };
        let built = Built::from(Ok(vec![artifact("redact"), artifact("too-much")]));
        let find = |name| component(&built, Path::new("/"), "", name);
        assert_eq!(find("redact")?, Path::new("/of/redact"));
        assert_eq!(find("too_much")?, find("too-much")?);
        let error = find("filter").expect_err("not built").to_string();
        assert!(error.contains("filter") && error.contains("redact"), "{error}");
        Ok(())
    }

    #[test]
    fn a_missing_workspace_is_named() {
        let missing = Path::new("/no/such/workspace");
        let error = component(&Built::new(), missing, "", "redact").expect_err("missing");
        assert!(error.to_string().contains("/no/such/workspace"), "{error}");
    }
}
