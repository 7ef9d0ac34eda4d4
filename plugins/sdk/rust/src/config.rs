use std::fmt;

use crate::schemars::JsonSchema;
use serde::Deserialize;

/// The configuration of a plugin that has none: an empty object, and any key in it is an error.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// The names a result may be sent to, as the pipeline gives them under the sink's `outputs:`.
#[derive(Clone, Debug)]
pub struct Outputs {
    names: Vec<String>,
}

impl Outputs {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Outputs { names }
    }

    /// The destination of this name, to be kept and given to [`Output::to`](crate::Output::to).
    ///
    /// # Errors
    /// Where the pipeline has no output of that name; says which it has.
    pub fn named(&self, name: &str) -> Result<Destination, Error> {
        let index = self.names.iter().position(|known| known == name).and_then(|index| i32::try_from(index).ok());
        index.map(Destination).ok_or_else(|| {
            let known = match self.names.as_slice() {
                [] => "the pipeline names no outputs".to_owned(),
                names => format!("the pipeline has `{}`", names.join("`, `")),
            };
            Error::new(format_args!("no output is named `{name}`: {known}"))
        })
    }

    /// All names, in the pipeline's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// Where an output goes: the pipeline's default output, or one that [`Outputs::named`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination(pub(crate) i32);

impl Destination {
    /// The pipeline's default output.
    pub const DEFAULT: Destination = Destination(-1);
}

/// Why a plugin does not start with this configuration. Every error type turns into one by `?`.
pub struct Error(String);

impl Error {
    /// An error of these words.
    pub fn new(what: impl fmt::Display) -> Self {
        Error(what.to_string())
    }
}

// `Error` itself does not implement `std::error::Error`: that is what allows the conversion from all that do.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Error::new(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
