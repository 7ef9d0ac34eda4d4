use std::fmt;
use std::path::Path;

use super::secret::mentions_secret;

/// What is wrong with a file that a person wrote, and where.
///
/// Shown like a compiler's error: `pipeline.yaml:14:5: unknown key 'comit' — did you mean 'commit'?`, and below it the
/// line with a mark under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as the user named it; nothing where there is none.
    pub file: String,
    /// Where in the file; none where the file as a whole is at fault.
    pub place: Option<Place>,
    /// What is wrong, in one line.
    pub message: String,
    /// How to mend it, where that takes a line of its own.
    pub hint: Option<String>,
    /// The line at fault; none where it might show a secret.
    pub line: Option<String>,
}

/// A place in a file, counted in characters from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// How many characters are meant.
    pub length: u32,
}

impl ConfigError {
    /// An error that concerns the file as a whole.
    pub fn of_file(file: &Path, message: impl Into<String>) -> Self {
        let file = file.display().to_string();
        ConfigError { file, place: None, message: message.into(), hint: None, line: None }
    }

    /// The same error, with a way to mend it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        let is_of_file = !self.file.is_empty();
        write!(f, "{}{}", if is_of_file { ": " } else { "" }, self.message)?;
        if let (Some(place), Some(line)) = (self.place, &self.line) {
            let number = place.line.to_string();
            let before = place.column.saturating_sub(1) as usize;
            let rest = line.chars().count().saturating_sub(before);
            let marks = (place.length as usize).clamp(1, rest.max(1));
            write!(f, "\n{number} | {line}\n{:1$} | ", "", number.len())?;
            write!(f, "{:before$}{}", "", "^".repeat(marks))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A file's name and text, to which errors refer.
pub(crate) struct Text {
    pub(crate) file: String,
    pub(crate) text: String,
}

impl Text {
    /// The whole line of a place.
    pub(crate) fn line(&self, place: Place) -> Option<&str> {
        self.text.lines().nth((place.line as usize).checked_sub(1)?)
    }

    /// An error at a place of this file.
    pub(crate) fn error(&self, place: Option<Place>, message: impl Into<String>) -> ConfigError {
        let line = place.and_then(|place| self.line(place));
        let line =
            line.filter(|line| line.len() <= 200 && !mentions_secret(line)).map(|line| line.trim_end().to_owned());
        ConfigError { file: self.file.clone(), place, message: message.into(), hint: None, line }
    }
}

/// `— did you mean 'commit'?`, where one of `known` is near, or else what there is.
pub(crate) fn nearest(word: &str, known: &[&str]) -> String {
    // Underscores and capitals are the commonest slips, and no reason to rank a key lower.
    let plain = word.to_ascii_lowercase().replace('_', "-");
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&plain, known), known))
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance);
    match near {
        Some((_, known)) => format!(" — did you mean '{known}'?"),
        None if known.is_empty() => String::new(),
        None => format!(" — known here: {}", known.join(", ")),
    }
}
