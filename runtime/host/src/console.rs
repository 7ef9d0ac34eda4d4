//! Standard output. Whoever stops reading it, as `… | head` does, has enough: the program then ends, quietly and well.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use sluicegate_core::{Error, ErrorKind as Consequence};

/// Prints a line as `println!` does, with colours on a terminal alone; but ends the program where that would panic.
macro_rules! say {
    ($($words:tt)*) => { $crate::console::line(format_args!($($words)*)) };
}
pub(crate) use say;

/// Prints a line: see [`say`].
pub(crate) fn line(words: fmt::Arguments<'_>) {
    if let Err(error) = settled(writeln!(anstream::stdout(), "{words}")) {
        complain(format_args!("error: {error}"));
        std::process::exit(1);
    }
}

/// Prints a line to standard error. If that takes no more, nobody can be told, and the exit code still can.
pub(crate) fn complain(words: fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr(), "{words}");
}

/// Writes to standard output, bytes as they are.
///
/// # Errors
/// It takes no more, as a full disk does.
pub(crate) fn write_out(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    settled(write(&mut io::stdout().lock()))
}

/// What came of writing to standard output.
///
/// # Errors
/// All but that nobody reads it any more, which ends the program.
pub(crate) fn settled(written: io::Result<()>) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Error::new(Consequence::Stopped, format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
