use std::fmt;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The most columns of a row.
pub(crate) const COLUMNS_MAX: usize = 4096;

/// Reads rows of CSV, one text after the other, into memory that it keeps.
pub(crate) struct Rows {
    reader: Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

/// A row: its fields without quotes.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    fields: &'a [u8],
    ends: &'a [usize],
}

/// A text is not the CSV that was expected: in which row, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Malformed {
    row: usize,
    what: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}{}", self.row, self.what)
    }
}

impl Rows {
    pub(crate) fn new(delimiter: u8, quote: u8) -> Self {
        Rows {
            reader: ReaderBuilder::new().delimiter(delimiter).quote(quote).build(),
            fields: Vec::new(),
            ends: vec![0; COLUMNS_MAX + 1],
        }
    }

    /// Calls `each` with every row of the text, and gives their number. Lines without anything are none.
    ///
    /// # Errors
    /// What `each` says against a row; or a quote that is not closed, or a row of too many columns.
    pub(crate) fn read(
        &mut self,
        text: &[u8],
        mut each: impl FnMut(Row<'_>) -> Result<(), String>,
    ) -> Result<usize, Malformed> {
        // Fields are never longer than the text, and the last newline.
        self.fields.resize(text.len() + 1, 0);
        self.reader.reset();
        let (mut rows, mut bytes, mut columns) = (0, 0, 0);
        // A newline ends the last row, unless a quote is open.
        for mut rest in [text, b"\n"] {
            while !rest.is_empty() {
                let (result, read, written, ended) =
                    self.reader.read_record(rest, &mut self.fields[bytes..], &mut self.ends[columns..]);
                (rest, bytes, columns) = (&rest[read..], bytes + written, columns + ended);
                if result == ReadRecordResult::OutputEndsFull || columns > COLUMNS_MAX {
                    return Err(Malformed { row: rows + 1, what: format!(" has more than {COLUMNS_MAX} columns") });
                }
                if result == ReadRecordResult::Record {
                    rows += 1;
                    let row = Row { fields: &self.fields[..bytes], ends: &self.ends[..columns] };
                    each(row).map_err(|what| Malformed { row: rows, what })?;
                    (bytes, columns) = (0, 0);
                }
            }
        }
        match (bytes, columns) {
            (0, 0) => Ok(rows),
            _ => Err(Malformed { row: rows + 1, what: format!(", column {}: a quote is not closed", columns + 1) }),
        }
    }
}

impl<'a> Row<'a> {
    /// How many columns it has.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The fields, in order.
    pub(crate) fn fields(self) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends).map(move |(start, end)| &self.fields[start..*end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<String>>, String> {
        let mut all = Vec::new();
        let read = Rows::new(b',', b'"').read(text.as_bytes(), |row| {
            all.push(row.fields().map(|field| String::from_utf8(field.to_vec()).unwrap()).collect());
            Ok(())
        });
        read.map(|rows| assert_eq!(rows, all.len())).map(|()| all).map_err(|malformed| malformed.to_string())
    }

    #[test]
    fn rows_end_with_lines_and_with_the_text() {
        assert_eq!(read("a,b\r\nc,d\n").unwrap(), [["a", "b"], ["c", "d"]]);
        assert_eq!(read("\n\na,b\n\nc,").unwrap(), [["a", "b"], ["c", ""]]);
        assert_eq!(read("\u{feff}a,b").unwrap(), [["a", "b"]]);
        assert!(read("").unwrap().is_empty() && read("\n\r\n").unwrap().is_empty());
    }

    #[test]
    fn quotes_hold_delimiters_newlines_and_quotes() {
        assert_eq!(read("\"a,\n\"\"b\"\"\",\"\"\nc,d").unwrap(), [["a,\n\"b\"", ""], ["c", "d"]]);
        assert_eq!(read("\"\"").unwrap(), [[""]]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_named() {
        assert_eq!(read("a,\"b").unwrap_err(), "row 1, column 2: a quote is not closed");
        assert_eq!(read("a,b\n\"").unwrap_err(), "row 2, column 1: a quote is not closed");
    }

    #[test]
    fn columns_are_bounded() {
        assert_eq!(read(&",".repeat(COLUMNS_MAX - 1)).unwrap()[0].len(), COLUMNS_MAX);
        assert_eq!(read(&",".repeat(COLUMNS_MAX)).unwrap_err(), "row 1 has more than 4096 columns");
    }
}
