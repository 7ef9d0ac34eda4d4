//! `${NAME}` and `${file:path}` in values, never in keys; `$$` is a dollar sign.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Text};
use super::tree::{Kind, Node, Plain};

/// Where `${…}` takes its values from.
pub trait Surroundings {
    /// The environment variable of this name.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of this file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The environment and the files of this process.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let bytes = super::read_bounded(path)?;
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
    }
}

/// Replaces `${…}` in all values at and below `node`. Paths start at `folder`.
///
/// # Errors
/// A variable is not set, a file cannot be read, or `${` has no end.
pub(crate) fn expand(
    node: &mut Node,
    source: &Text,
    folder: &Path,
    surroundings: &dyn Surroundings,
) -> Result<(), ConfigError> {
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().try_for_each(|item| expand(item, source, folder, surroundings)),
        Kind::Mapping(entries) => {
            entries.iter_mut().try_for_each(|(_, value)| expand(value, source, folder, surroundings))
        }
        Kind::Text { text, quoted } if text.contains('$') => {
            let expanded =
                expand_text(text, folder, surroundings).map_err(|message| source.error(Some(node.place), message))?;
            if expanded != *text {
                node.unexpanded = text.contains("${").then(|| std::mem::take(text));
                // Without quotes, `${WORKERS}` may become a number, as if it were written in its place.
                node.kind = match Plain::of(&expanded) {
                    Some(value) if !*quoted => Kind::Plain { text: expanded, value },
                    _ => Kind::Text { text: expanded, quoted: *quoted },
                };
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The text with its `${…}` replaced.
///
/// # Errors
/// As of [`expand`].
pub(crate) fn expand_text(text: &str, folder: &Path, surroundings: &dyn Surroundings) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) =
                after.split_once('}').ok_or("'${' without '}' — a dollar sign itself is written '$$'")?;
            expanded.push_str(&look_up(name, folder, surroundings)?);
            rest = after;
        } else {
            expanded.push('$'); // As in the regex `^trades.*$`.
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn look_up(name: &str, folder: &Path, surroundings: &dyn Surroundings) -> Result<String, String> {
    if let Some(path) = name.strip_prefix("file:") {
        let path: PathBuf = folder.join(path);
        let text = surroundings.file(&path).map_err(|error| format!("cannot read '{}': {error}", path.display()))?;
        // Editors and `echo` end a file with a newline that is no part of the secret in it.
        let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        return Ok(text.to_owned());
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let known = "use ${NAME}, ${file:path}, or $${ for the characters themselves";
        return Err(format!("'${{{name}}}' names no environment variable — {known}"));
    }
    surroundings.variable(name).ok_or_else(|| format!("the environment variable {name} is not set"))
}
