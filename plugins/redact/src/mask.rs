use std::fmt;
use std::ops::Range;

use regex::bytes::Regex;
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

/// Regular expressions. Each has its own matches: in one expression of them all, a short match would hide a longer one
/// that begins at the same place.
pub(crate) struct Patterns(Vec<Regex>);

impl Patterns {
    /// None if there is none.
    pub(crate) fn new(patterns: &[String]) -> Result<Option<Self>, Error> {
        if patterns.is_empty() {
            return Ok(None);
        }
        Ok(Some(Patterns(patterns.iter().map(|pattern| Regex::new(pattern)).collect::<Result<_, _>>()?)))
    }

    /// Whether there is anything to mask. A match of nothing counts too: this is a first look, and a cheap one.
    pub(crate) fn match_any(&self, text: &[u8]) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(text))
    }

    /// Appends `text` to `into`, with what matches masked, and gives the number of masks. `spans` is room for matches.
    ///
    /// In JSON, a number, true, false or null that matches in part is masked as a whole, by a string: what was JSON
    /// stays JSON, or is refused.
    pub(crate) fn mask(
        &self,
        text: &[u8],
        mask: &Mask,
        known_json: bool,
        spans: &mut Vec<Range<usize>>,
        into: &mut Buffer<'_>,
    ) -> Result<u64, Broken> {
        self.find(text, spans);
        let json = known_json || is_json(text);
        let (mut copied, mut masks) = (0, 0);
        let mut quotes = Quotes { text, at: 0, within: false };
        for span in spans {
            // Without what lies in a number that is masked already.
            let found = span.start.max(copied)..span.end;
            if found.is_empty() {
                continue;
            }
            let (span, with) = if json { json_span(text, found, &mut quotes, mask) } else { (found, &*mask.plain) };
            into.extend_from_slice(&text[copied..span.start]);
            into.extend_from_slice(with);
            copied = span.end;
            masks += 1;
        }
        into.extend_from_slice(&text[copied..]);
        if json && masks > 0 && !is_json(into) { Err(Broken) } else { Ok(masks) }
    }

    /// What any of them matches, in order; matches that overlap are one.
    fn find(&self, text: &[u8], spans: &mut Vec<Range<usize>>) {
        spans.clear();
        let found = self.0.iter().flat_map(|pattern| pattern.find_iter(text));
        spans.extend(found.map(|found| found.range()).filter(|span| !span.is_empty()));
        spans.sort_unstable_by_key(|span| span.start);
        spans.dedup_by(|next, span| {
            let overlaps = next.start < span.end;
            if overlaps {
                span.end = span.end.max(next.end);
            }
            overlaps
        });
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// What to replace for a match in JSON text, and by what.
fn json_span<'m>(
    text: &[u8],
    found: Range<usize>,
    quotes: &mut Quotes<'_>,
    mask: &'m Mask,
) -> (Range<usize>, &'m [u8]) {
    if quotes.around(found.start) {
        return (found, mask.within_string());
    }
    let is_bare = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    let before = text[..found.start].iter().rev().take_while(is_bare).count();
    let after = text[found.start..].iter().take_while(is_bare).count();
    let bare = found.start - before..found.start + after;
    if found.end <= bare.end { (bare, &mask.json) } else { (found, mask.within_string()) }
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
