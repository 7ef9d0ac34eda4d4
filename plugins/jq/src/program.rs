use std::fmt::{Display, Write as _};

use jaq_core::compile::{self, Undefined};
use jaq_core::load::{self, Arena, File, Loader, span};
use jaq_core::{Compiler, Ctx, Exn, Filter, Vars};
use jaq_json::{Map, Val};
use sluicegate_plugin::{Error, Record};

use crate::language::{Json, Surroundings, definitions, functions};

/// A variable's name, and how it is made of a record.
type Variable = (&'static str, fn(&Record<'_>) -> Val);

/// What a program may ask of the record, beside the value.
const VARIABLES: [Variable; 6] = [
    ("$key", |record| record.key().map_or(Val::Null, text)),
    ("$headers", headers),
    ("$topic", |record| text(record.topic().as_bytes())),
    ("$partition", |record| number(record.partition().into())),
    ("$offset", |record| number(record.offset().into())),
    ("$timestamp", |record| record.timestamp().map_or(Val::Null, |timestamp| number(timestamp.into()))),
];

/// How much of an error becomes the reason of a refusal: jq shows whole values in its errors.
const REASON_BYTES: usize = 300;

/// A jq program, compiled.
pub(crate) struct Program {
    /// Its key in the configuration.
    name: &'static str,
    filter: Filter<Json>,
    /// Which variables it speaks of: the others are not made.
    uses: [bool; VARIABLES.len()],
}

/// What a program sees of a record beside the value.
#[derive(Clone)]
pub(crate) struct About {
    variables: Vars<Val>,
    now: f64,
}

impl Program {
    /// Compiles a program; `name` is its key in the configuration.
    ///
    /// # Errors
    /// It does not read, or names what is not there: by line and column.
    pub(crate) fn new(name: &'static str, code: &str) -> Result<Self, Error> {
        let arena = Arena::default();
        let at = |what: &str| place(name, code, what);
        let modules = Loader::new(definitions()).load(&arena, File { code, path: () });
        let modules = modules.map_err(|errors| first(errors.iter().map(|(_, error)| unreadable(error, at))))?;
        let compiler = Compiler::default().with_funs(functions());
        let filter = compiler.with_global_vars(VARIABLES.map(|(name, _)| name)).compile(modules);
        let filter = filter
            .map_err(|errors| first(errors.iter().flat_map(|(_, errors)| errors).map(|error| undefined(error, at))))?;
        Ok(Program { name, filter, uses: VARIABLES.map(|(name, _)| code.contains(name)) })
    }

    /// What the program is to see of the record.
    pub(crate) fn about(&self, record: &Record<'_>) -> About {
        let made = VARIABLES.iter().zip(self.uses).map(|((_, make), uses)| if uses { make(record) } else { Val::Null });
        About { variables: Vars::new(made), now: record.now() as f64 / 1000.0 }
    }

    /// Runs the program, and calls `each` with every output, until either has an error.
    ///
    /// # Errors
    /// The reason, in words for whoever reads the dead letter.
    pub(crate) fn run(
        &self,
        about: About,
        input: Val,
        mut each: impl FnMut(Val) -> Result<(), String>,
    ) -> Result<(), String> {
        let surroundings = Surroundings { program: &self.filter.lut, now: about.now };
        for output in self.filter.id.run((Ctx::<Json>::new(surroundings, about.variables), input)) {
            match output {
                Ok(value) => each(value)?,
                Err(ended) => return end(ended),
            }
        }
        Ok(())
    }

    /// The program's one output, as a key has it: a string's own text, or else JSON; null is none.
    ///
    /// # Errors
    /// It fails, or has none or several outputs.
    pub(crate) fn one(&self, about: About, input: Val) -> Result<Option<Vec<u8>>, String> {
        let mut outputs = Vec::new();
        self.run(about, input, |output| {
            outputs.push(output);
            if outputs.len() > 1 { Err(format!("`{}` has more than one output", self.name)) } else { Ok(()) }
        })?;
        match outputs.pop() {
            None => Err(format!("`{}` has no output", self.name)),
            Some(Val::Null) => Ok(None),
            Some(Val::TStr(text)) => Ok(Some(text.to_vec())),
            Some(value) => Ok(Some(value.to_string().into_bytes())),
        }
    }
}

/// What an exception means: an error, or `halt`, which ends the program before its end, and is an error unless it says 0.
fn end(exception: Exn<'_, Val>) -> Result<(), String> {
    match exception.get_err() {
        Ok(error) => Err(shortened(&error)),
        Err(exception) => match exception.get_halt() {
            Ok(0) => Ok(()),
            Ok(code) => Err(format!("the program halted with {code}")),
            Err(_) => Err("the program left a label that it is not in".to_owned()),
        },
    }
}

/// As much of it as a reason may have.
fn shortened(error: &impl Display) -> String {
    let mut text = error.to_string();
    if text.len() > REASON_BYTES {
        let end = (0..=REASON_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn text(bytes: &[u8]) -> Val {
    Val::from(String::from_utf8_lossy(bytes).into_owned())
}

fn number(number: i128) -> Val {
    Val::Num(jaq_json::Num::from_integral(number))
}

/// An object; the last header counts where there are several of a name.
fn headers(record: &Record<'_>) -> Val {
    let members = record.headers().map(|header| (text(header.key), header.value.map_or(Val::Null, text)));
    Val::Obj(members.collect::<Map>().into())
}

/// The first of them: one thing at a time is to be mended.
fn first(mut errors: impl Iterator<Item = String>) -> Error {
    Error::new(errors.next().unwrap_or_default())
}

fn unreadable(error: &load::Error<&str>, at: impl Fn(&str) -> String) -> String {
    let (place, expected, found) = match error {
        load::Error::Io(errors) => {
            return errors.first().map_or_else(String::new, |(path, what)| format!("{}: {what}", at(path)));
        }
        load::Error::Lex(errors) => match errors.first() {
            Some((expected, found)) => (at(found), expected.as_str(), found.chars().next().map(String::from)),
            None => return String::new(),
        },
        load::Error::Parse(errors) => match errors.first() {
            Some((expected, found)) => (at(found), expected.as_str(), Some((*found).to_owned())),
            None => return String::new(),
        },
    };
    let mut words = format!("{place}: expected {expected}, found ");
    match found.filter(|found| !found.is_empty()) {
        Some(found) => write!(words, "`{}`", shortened(&found)).expect("a string takes it"),
        None => words.push_str("the end"),
    }
    words
}

fn undefined((name, what): &compile::Error<&str>, at: impl Fn(&str) -> String) -> String {
    let arity = if let Undefined::Filter(arity) = what { format!("/{arity}") } else { String::new() };
    format!("{}: there is no {} `{name}{arity}`", at(name), what.as_str())
}

/// The line and column, in characters, at which `part` begins in `code`, of which it is a slice.
fn place(name: &str, code: &str, part: &str) -> String {
    let before = &code[..span(code, part).start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{name}, line {line}, column {column}")
}
