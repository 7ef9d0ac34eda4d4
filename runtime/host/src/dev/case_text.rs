//! The text of a case file, in which what is expected can be replaced and all else stays as it was written.

use std::ops::Range;
use std::path::Path;

use crate::config::{ConfigError, Place, Places};

/// A case file as it is written.
pub(super) struct CaseText {
    text: String,
    places: Places,
}

/// Where a case says what it expects.
pub(super) struct Slot {
    /// The value of `expect`.
    value: Range<usize>,
    pub(super) layout: Layout,
}

/// How the case is laid out around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Between braces, where line ends mean nothing.
    Flow,
    /// By indentation: that of the key, and where the value begins.
    Block(usize, Begins),
}

/// Where a value begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// On the key's line.
    Beside,
    /// On a line of its own.
    Below,
    /// On a line of its own, after a comment on the key's.
    BelowComment,
}

impl CaseText {
    pub(super) fn of(text: String, file: &Path) -> Result<Self, ConfigError> {
        let places = Places::read(&text, file)?;
        Ok(CaseText { text, places })
    }

    /// Where case number `index` says what it expects; none where it is written in a way that is not understood here.
    pub(super) fn expectation(&self, index: usize) -> Option<Slot> {
        let index = index.to_string();
        let case = self.at(self.places.of_value(&["cases", &index])?)?;
        let key_place = self.places.of_key(&["cases", &index, "expect"])?;
        let key = self.at(key_place)?;
        let colon = key + self.text[key..].find(':')?;
        if self.text[case..].starts_with('{') {
            let value = self.flow_value(self.skip_blank(colon + 1))?;
            return Some(Slot { value, layout: Layout::Flow });
        }
        let indent = (key_place.column as usize).checked_sub(1)?;
        let line_end = self.line_end(colon);
        let rest = self.text[colon + 1..line_end].trim_start();
        let start = line_end - rest.len();
        let (value, begins) = match rest.as_bytes().first() {
            None => (colon + 1..self.block_end(line_end, indent), Begins::Below),
            Some(b'#') => (line_end..self.block_end(line_end, indent), Begins::BelowComment),
            Some(b'{' | b'[' | b'"' | b'\'') => (self.flow_value(start)?, Begins::Beside),
            Some(_) => {
                let length = rest.find(" #").map_or(rest.len(), |comment| rest[..comment].trim_end().len());
                (start..start + length, Begins::Beside)
            }
        };
        Some(Slot { value, layout: Layout::Block(indent, begins) })
    }

    /// The whole text, with these values in these slots.
    pub(super) fn replaced(&self, mut values: Vec<(Slot, String)>) -> String {
        values.sort_by_key(|(slot, _)| slot.value.start);
        let mut text = self.text.clone();
        for (slot, value) in values.into_iter().rev() {
            let mut place = slot.value;
            if value.starts_with('\n') {
                place.start = text[..place.start].trim_end_matches([' ', '\t']).len();
            }
            text.replace_range(place, &value);
        }
        text
    }

    /// Where this place is in the text.
    fn at(&self, place: Place) -> Option<usize> {
        let before = (place.line as usize).checked_sub(1)?;
        let line: usize = self.text.split_inclusive('\n').take(before).map(str::len).sum();
        let column = (place.column as usize).checked_sub(1)?;
        let within = self.text.get(line..)?.char_indices().nth(column)?.0;
        Some(line + within)
    }

    /// Where the line of this place ends, before its end-of-line.
    fn line_end(&self, at: usize) -> usize {
        let end = self.text[at..].find('\n').map_or(self.text.len(), |end| at + end);
        if self.text[..end].ends_with('\r') { end - 1 } else { end }
    }

    /// Where a block ends that begins below this line: before the first line that is not indented more than its key.
    fn block_end(&self, line_end: usize, indent: usize) -> usize {
        let mut end = line_end;
        let mut at = self.text[line_end..].find('\n').map_or(self.text.len(), |length| line_end + length + 1);
        for line in self.text[at..].split_inclusive('\n') {
            let content = line.trim();
            if !content.is_empty() && !content.starts_with('#') {
                if line.len() - line.trim_start().len() <= indent {
                    break;
                }
                end = at + line.trim_end().len();
            }
            at += line.len();
        }
        end
    }

    fn skip_blank(&self, at: usize) -> usize {
        self.text.len() - self.text[at..].trim_start().len()
    }

    /// A value between braces, or that could stand there; none if it does not end.
    fn flow_value(&self, start: usize) -> Option<Range<usize>> {
        let text = &self.text[start..];
        let mut depth = 0usize;
        let mut characters = text.char_indices().peekable();
        let mut before = ' ';
        while let Some((at, character)) = characters.next() {
            let opens = before.is_whitespace() || "{[,:".contains(before);
            match character {
                '"' | '\'' if opens && (depth > 0 || at == 0) => {
                    let end = quoted_end(&text[at..], character)? + at;
                    if depth == 0 {
                        return Some(start..start + end);
                    }
                    while characters.next_if(|(at, _)| *at < end).is_some() {}
                }
                '#' if before.is_whitespace() => while characters.next_if(|(_, next)| *next != '\n').is_some() {},
                '{' | '[' => depth += 1,
                '}' | ']' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(start..start + at + 1);
                    }
                }
                '}' | ']' | ',' | '\n' if depth == 0 => return Some(start..start + text[..at].trim_end().len()),
                _ => {}
            }
            before = character;
        }
        None
    }
}

/// The length of the quoted text that begins here, with its quotes.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if quote == '"' => drop(characters.next()),
            '\'' if quote == '\'' && characters.next_if(|(_, next)| *next == '\'').is_some() => {}
            character if character == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with each expectation put between angle brackets.
    fn marked(text: &str) -> String {
        let cases = CaseText::of(text.to_owned(), Path::new("c.yaml")).unwrap_or_else(|error| panic!("{error}"));
        let slots = (0..).map_while(|index| cases.expectation(index));
        cases.replaced(
            slots
                .map(|slot| {
                    let value = format!("<{}>", &text[slot.value.clone()]);
                    (slot, value)
                })
                .collect(),
        )
    }

    #[test]
    fn what_is_expected_is_found_in_every_layout() {
        for (text, expected) in [
            ("cases: [{ expect: pass }]\n", "cases: [{ expect: <pass> }]\n"),
            (
                "cases: [{ expect: pass}, {expect: drop , record: {}}]\n",
                "cases: [{ expect: <pass>}, {expect: <drop> , record: {}}]\n",
            ),
            (
                "cases:\n  - { record: { key: \"expect: {\" }, expect: { reject: 'it''s }' } } # why\n",
                "cases:\n  - { record: { key: \"expect: {\" }, expect: <{ reject: 'it''s }' }> } # why\n",
            ),
            (
                "cases:\n  - name: ünï\n    expect: pass   # why\n  - expect: drop\n",
                "cases:\n  - name: ünï\n    expect: <pass>   # why\n  - expect: <drop>\n",
            ),
            (
                "cases:\r\n  - expect: { emit: [\r\n      {value: \"}\\\"\"}, # {\r\n      {}] } # why\r\n    name: x\r\n",
                "cases:\r\n  - expect: <{ emit: [\r\n      {value: \"}\\\"\"}, # {\r\n      {}] }> # why\r\n    name: x\r\n",
            ),
            (
                "cases:\n  - expect: # why\n      emit:\n        - value: a\n\n    # the next\n    record: {}\n  - expect: pass",
                "cases:\n  - expect: # why<\n      emit:\n        - value: a>\n\n    # the next\n    record: {}\n  - expect: <pass>",
            ),
            (
                "cases:\n- expect:\n    reject: no\n- expect: drop\n",
                "cases:\n- expect:<\n    reject: no>\n- expect: <drop>\n",
            ),
            ("{\"cases\":[{\"expect\":\"pass\"}]}", "{\"cases\":[{\"expect\":<\"pass\">}]}"),
        ] {
            assert_eq!(marked(text), expected);
        }
    }
}
