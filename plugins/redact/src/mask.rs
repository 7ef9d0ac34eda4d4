use std::fmt;
use std::ops::Range;

use regex::bytes::{Match, Regex};
use serde::de::IgnoredAny;
use sluicegate_plugin::{Buffer, Error};

/// What stands in place of what is masked.
pub(crate) struct Mask {
    /// As it was configured: for values that are not JSON.
    plain: Vec<u8>,
    /// As a JSON string, with its quotes.
    json: Vec<u8>,
}

impl Mask {
    pub(crate) fn new(mask: &str) -> Result<Self, Error> {
        Ok(Mask { plain: mask.as_bytes().to_vec(), json: serde_json::to_vec(mask)? })
    }

    /// Within the quotes of a JSON string.
    fn within_string(&self) -> &[u8] {
        &self.json[1..self.json.len() - 1]
    }

    /// Appends a JSON value to `into`, with a string in place of each span. Spans are in order and do not overlap.
    pub(crate) fn fields(&self, value: &[u8], spans: &[Range<usize>], into: &mut impl Extend<u8>) {
        let mut copied = 0;
        for span in spans {
            into.extend(value[copied..span.start].iter().copied());
            into.extend(self.json.iter().copied());
            copied = span.end;
        }
        into.extend(value[copied..].iter().copied());
    }
}

/// Masking what a pattern matched would have left no JSON.
#[derive(Debug)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pattern matches across the structure of a JSON value, and masking it would leave no JSON")
    }
}

/// Regular expressions, as one.
pub(crate) struct Patterns(Regex);

impl Patterns {
    /// None if there is none.
    pub(crate) fn new(patterns: &[String]) -> Result<Option<Self>, Error> {
        if patterns.is_empty() {
            return Ok(None);
        }
        for pattern in patterns {
            // Alone first, for an error that shows what was written.
            Regex::new(pattern)?;
        }
        let any: Vec<String> = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
        Ok(Some(Patterns(Regex::new(&any.join("|"))?)))
    }

    /// Whether there is anything to mask. A match of nothing counts too: this is a first look, and a cheap one.
    pub(crate) fn match_any(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    /// Appends `text` to `into`, with what matches masked, and gives the number of masks.
    ///
    /// In JSON, a number, true, false or null that matches in part is masked as a whole, by a string: what was JSON
    /// stays JSON, or is refused.
    pub(crate) fn mask(
        &self,
        text: &[u8],
        mask: &Mask,
        known_json: bool,
        into: &mut Buffer<'_>,
    ) -> Result<u64, Broken> {
        let json = known_json || is_json(text);
        let (mut copied, mut masks) = (0, 0);
        let mut quotes = Quotes { text, at: 0, within: false };
        for found in self.0.find_iter(text).filter(|found| !found.is_empty()) {
            // Part of a number that is masked already.
            if found.start() < copied {
                continue;
            }
            let (span, with) =
                if json { json_span(text, &found, &mut quotes, mask) } else { (found.range(), &*mask.plain) };
            into.extend_from_slice(&text[copied..span.start]);
            into.extend_from_slice(with);
            copied = span.end;
            masks += 1;
        }
        into.extend_from_slice(&text[copied..]);
        if json && masks > 0 && !is_json(into) { Err(Broken) } else { Ok(masks) }
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// What to replace for a match in JSON text, and by what.
fn json_span<'m>(text: &[u8], found: &Match<'_>, quotes: &mut Quotes<'_>, mask: &'m Mask) -> (Range<usize>, &'m [u8]) {
    if quotes.around(found.start()) {
        return (found.range(), mask.within_string());
    }
    let is_bare = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    let before = text[..found.start()].iter().rev().take_while(is_bare).count();
    let after = text[found.start()..].iter().take_while(is_bare).count();
    let bare = found.start() - before..found.start() + after;
    if found.end() <= bare.end { (bare, &mask.json) } else { (found.range(), mask.within_string()) }
}

/// Tells whether a place in JSON text is within a string; asked for places in order.
struct Quotes<'a> {
    text: &'a [u8],
    at: usize,
    within: bool,
}

impl Quotes<'_> {
    fn around(&mut self, place: usize) -> bool {
        while self.at < place {
            match self.text[self.at] {
                b'"' => self.within = !self.within,
                // What is escaped ends no string. If that passes the place, the place lies in the escape.
                b'\\' => self.at += 1,
                _ => {}
            }
            self.at += 1;
        }
        self.within
    }
}
