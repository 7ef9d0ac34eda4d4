//! Python projects, by componentize-py: the interpreter, the plugin and what it imports become one component.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow, bail};

use super::{Made, component, tool};

/// The project's own environment, and what is installed in it.
const ENVIRONMENT: &str = ".venv";
const REQUIREMENTS: &str = "requirements.txt";
/// Written when the requirements are installed: they are again when they are newer.
const INSTALLED: &str = ".venv/sluicegate-installed";
const VENV_REMEDY: &str = "install Python 3.10 or newer with venv (Debian: apt-get install python3-venv)";
const COMPONENTIZE_REMEDY: &str = "requirements.txt names it as componentize-py";
/// The module of the SDK that componentize-py starts from; it imports `plugin`.
const ENTRY: &str = "sluicegate.component";

pub(super) fn build(folder: &Path) -> anyhow::Result<Made> {
    let name = project_name(folder)?;
    if !folder.join("plugin.py").is_file() {
        bail!("there is no plugin.py in {}: that is the module that a plugin is in", folder.display());
    }
    let folder = folder.canonicalize()?;
    install(&folder)?;
    let scratch = tempfile::tempdir()?;
    let (wit, made) = (scratch.path().join("plugin.wit"), scratch.path().join("plugin.wasm"));
    std::fs::write(&wit, component::WIT)?;
    let mut componentize = Command::new(folder.join(ENVIRONMENT).join("bin/componentize-py"));
    componentize.arg("-q").arg("-d").arg(&wit).args(["-w", "batch-plugin", "componentize", ENTRY, "--stub-wasi"]);
    componentize.arg("-p").arg(&folder).arg("-p").arg(packages(&folder)?).arg("-o").arg(&made);
    // Else it looks for packages in the environment of whoever called.
    componentize.env("VIRTUAL_ENV", folder.join(ENVIRONMENT)).env("PYTHONDONTWRITEBYTECODE", "1");
    tool::run(componentize.current_dir(&folder), COMPONENTIZE_REMEDY)?;
    let component = std::fs::read(&made).context("componentize-py made no component")?;
    Ok(Made { name, component })
}

/// Makes the environment and installs the requirements, where that was not done since they changed.
fn install(folder: &Path) -> anyhow::Result<()> {
    let modified = |file: &str| folder.join(file).metadata().and_then(|file| file.modified()).ok();
    let required =
        modified(REQUIREMENTS).ok_or_else(|| anyhow!("there is no {REQUIREMENTS} in {}", folder.display()))?;
    if modified(INSTALLED).is_some_and(|installed| installed >= required) {
        return Ok(());
    }
    tool::run(Command::new("python3").args(["-m", "venv", ENVIRONMENT]).current_dir(folder), VENV_REMEDY)?;
    let mut pip = Command::new(folder.join(ENVIRONMENT).join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]);
    tool::run(pip.current_dir(folder), VENV_REMEDY)?;
    Ok(std::fs::write(folder.join(INSTALLED), "")?)
}

/// The folder of the environment's packages.
fn packages(folder: &Path) -> anyhow::Result<PathBuf> {
    let library = folder.join(ENVIRONMENT).join("lib");
    let versions = std::fs::read_dir(&library).into_iter().flatten().flatten();
    let mut found = versions.map(|version| version.path().join("site-packages")).filter(|path| path.is_dir());
    found.next().with_context(|| format!("there are no site-packages in {}", library.display()))
}

/// What `name = "…"` says in the table `[project]` of pyproject.toml.
fn project_name(folder: &Path) -> anyhow::Result<String> {
    let file = folder.join("pyproject.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != "[project]").skip(1);
    let table = lines.by_ref().take_while(|line| !line.starts_with('['));
    let name = table.filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "name");
    let name = name.map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned());
    name.filter(|name| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| anyhow!("{} has no name under [project]", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_as_its_project() {
        let folder = tempfile::tempdir().unwrap();
        for (text, name) in [
            ("[project]\nname = \"shout\"\n", Some("shout")),
            ("[tool.x]\nname = 'no'\n[project]\nversion = \"1\"\nname='shout'\n[tool.y]\nname = 'no'\n", Some("shout")),
            ("[project]\nversion = \"1\"\n[tool.y]\nname = 'no'\n", None),
            ("", None),
        ] {
            std::fs::write(folder.path().join("pyproject.toml"), text).unwrap();
            assert_eq!(project_name(folder.path()).ok().as_deref(), name, "{text}");
        }
    }
}
