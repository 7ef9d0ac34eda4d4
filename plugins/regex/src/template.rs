use std::borrow::Cow;

use regex::bytes::{Captures, Regex, Replacer};
use sluicegate_plugin::Error;

/// What stands in place of a match: text, and what groups matched.
///
/// It reads as the templates of the crate `regex` do, but a group that the pattern does not have is an error, and not empty.
pub(crate) struct Template(Vec<Part>);

enum Part {
    Text(Vec<u8>),
    Group(usize),
}

impl Template {
    /// `$1`, `$name` and `${name}` are groups of the pattern, `$$` is a dollar sign.
    pub(crate) fn new(template: &str, pattern: &Regex) -> Result<Self, Error> {
        let (mut parts, mut rest) = (Vec::new(), template);
        while let Some((text, after)) = rest.split_once('$') {
            parts.push(Part::Text(text.into()));
            let (group, after) = group(after);
            if group.is_empty() {
                parts.push(Part::Text(b"$".into()));
                rest = after.strip_prefix('$').unwrap_or(after);
                continue;
            }
            let index = group.parse().ok().filter(|index| *index < pattern.captures_len());
            let index = index.or_else(|| pattern.capture_names().position(|name| name == Some(group)));
            parts.push(Part::Group(index.ok_or_else(|| unknown(group, pattern))?));
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        Ok(Template(parts))
    }

    /// The text with every match replaced; none if there is no match.
    pub(crate) fn replace_all(&self, pattern: &Regex, text: &[u8]) -> Option<Vec<u8>> {
        match pattern.replace_all(text, self) {
            Cow::Owned(replaced) => Some(replaced),
            Cow::Borrowed(_) => None,
        }
    }
}

/// The name of a group at the beginning, empty if there is none, and what comes after it.
fn group(text: &str) -> (&str, &str) {
    if let Some((name, after)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        return (name, after);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

fn unknown(group: &str, pattern: &Regex) -> Error {
    let numbers = (1..pattern.captures_len()).map(|index| format!("`${index}`"));
    let names = pattern.capture_names().flatten().map(|name| format!("`${name}`"));
    let known: Vec<String> = numbers.chain(names).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::new(format_args!("`${group}` is no group of the pattern, which has {known}"))
}

impl Replacer for &Template {
    fn replace_append(&mut self, groups: &Captures<'_>, into: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => into.extend_from_slice(text),
                Part::Group(index) => into.extend_from_slice(groups.get(*index).map_or(b"", |group| group.as_bytes())),
            }
        }
    }

    /// Where there are no groups in it, matches are found by the faster search that knows of none.
    fn no_expansion<'r>(&'r mut self) -> Option<Cow<'r, [u8]>> {
        let texts = self.0.iter().map(|part| match part {
            Part::Text(text) => Some(text.as_slice()),
            Part::Group(_) => None,
        });
        texts.collect::<Option<Vec<_>>>().map(|texts| Cow::Owned(texts.concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, template: &str, text: &str) -> Option<String> {
        let pattern = Regex::new(pattern).unwrap();
        let replaced = Template::new(template, &pattern).unwrap().replace_all(&pattern, text.as_bytes());
        replaced.map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn groups_are_named_by_number_and_by_name() {
        let pattern = "(?<year>[0-9]{4})-([0-9]{2})";
        assert_eq!(replaced(pattern, "$2/${year}$$", "on 2026-11, 2027-01").unwrap(), "on 11/2026$, 01/2027$");
        assert_eq!(replaced(pattern, "$0", "2026-11").unwrap(), "2026-11");
        assert_eq!(replaced(pattern, "$ -$", "2026-11").unwrap(), "$ -$");
        assert_eq!(replaced(pattern, "x", "no date"), None);
    }

    #[test]
    fn a_group_that_took_no_part_is_empty() {
        assert_eq!(replaced("a(b)?", "[$1]", "a ab").unwrap(), "[] [b]");
    }

    #[test]
    fn a_group_that_is_not_there_is_refused() {
        let refused = |template| Template::new(template, &Regex::new("(a)(?<b>c)").unwrap()).err().unwrap().to_string();
        assert_eq!(refused("$3"), "`$3` is no group of the pattern, which has `$1`, `$2`, `$b`");
        assert!(refused("$bb").starts_with("`$bb` is no group"));
        assert!(refused("${x y}").starts_with("`$x y` is no group"));
    }
}
