//! What a plugin, or a tool that works on it, says: fit for a person's terminal and for a log.

use std::fmt::Write;

/// A line that others wrote, made harmless: nothing in it can pass for another line, move a cursor or turn text around.
/// It is cut after `bytes_max` bytes or a few more.
pub fn clean(line: &str, bytes_max: usize) -> String {
    let mut clean = String::with_capacity(line.len().min(bytes_max));
    for (at, char) in line.char_indices() {
        if clean.len() >= bytes_max {
            let _ = write!(clean, "… ({} bytes more)", line.len() - at);
            break;
        }
        let turns =
            matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || turns {
            clean.extend(char.escape_default());
        } else {
            clean.push(char);
        }
    }
    clean
}

/// Several lines on one, made harmless as by [`clean`].
pub(crate) fn one_line(text: &str, bytes_max: usize) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    clean(&lines.collect::<Vec<_>>().join(" "), bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_harmless_line() {
        assert_eq!(clean("a\nERROR b\u{1b}[2J\u{202e}c\u{61c}", 99), "a\\nERROR b\\u{1b}[2J\\u{202e}c\\u{61c}");
        assert_eq!(clean(&"ä".repeat(9), 4), "ää… (14 bytes more)");
    }

    #[test]
    fn lines_become_one() {
        assert_eq!(one_line("\nwhy\n\n  because\r\n of \u{9b}2J\n", 99), "why because of \\u{9b}2J");
    }
}
