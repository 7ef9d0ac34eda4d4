//! Does what each record asks for; `../README.md` says how it asks.

use std::io::Write as _;

use sluicegate_plugin::prelude::*;
use sluicegate_plugin::{Output, Split, schemars, serde};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "sluicegate_plugin::serde", deny_unknown_fields)]
#[schemars(crate = "sluicegate_plugin::schemars")]
struct Config {
    /// What `greet` says.
    #[serde(default = "hello")]
    greeting: String,
    /// Refuse the configuration with these words.
    refuse: Option<String>,
    /// Panic with these words.
    panic: Option<String>,
}

fn hello() -> String {
    "hello".to_owned()
}

struct Conformance {
    greeting: String,
    outputs: Outputs,
}

impl Plugin for Conformance {
    type Config = Config;

    fn configure(config: Config, outputs: &Outputs) -> Result<Self, Error> {
        if let Some(words) = config.panic {
            panic!("{words}");
        }
        match config.refuse {
            Some(words) => Err(Error::new(words)),
            None => Ok(Conformance { greeting: config.greeting, outputs: outputs.clone() }),
        }
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        let header = record.header("do").and_then(|header| header.value);
        let Some(program) = header.or(record.value()) else { return Outcome::Pass };
        let seen = Seen::of(&record);
        let mut lines = program.split(|byte| *byte == b'\n').peekable();
        let mut split = record.split();
        let mut emitted = false;
        while let Some(line) = lines.next() {
            let (word, argument) = parse(line);
            match word {
                "" => {}
                "pass" => return Outcome::Pass,
                "drop" => return Outcome::Drop,
                "reject" => return Outcome::reject(text(argument)),
                "panic" => panic!("{}", text(argument)),
                "log" => write_log(argument),
                "count" => write_count(argument),
                "split" => {
                    emitted = true;
                    emit_numbers(&mut split, number(argument));
                }
                "emit" => {
                    emitted = true;
                    let mut output = split.add();
                    while let Some(line) = lines.next_if(|line| !ENDS.contains(&parse(line).0)) {
                        if let Err(why) = self.set(&mut output, &seen, line) {
                            return Outcome::reject(why);
                        }
                    }
                }
                _ => return Outcome::reject(unknown(line)),
            }
        }
        if emitted { split.done() } else { Outcome::Pass }
    }
}

/// The instructions that do not speak of the output at hand.
const ENDS: [&str; 8] = ["pass", "drop", "reject", "panic", "log", "count", "split", "emit"];

/// What there is to copy of a record.
struct Seen<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    topic: &'a str,
    place: String,
    headers: Vec<sluicegate_plugin::Header<'a>>,
    now: i64,
    random: u64,
}

impl<'a> Seen<'a> {
    fn of(record: &Record<'a>) -> Self {
        let timestamp = record.timestamp().map_or("-".to_owned(), |timestamp| timestamp.to_string());
        Seen {
            key: record.key(),
            value: record.value(),
            topic: record.topic(),
            place: format!("{}/{}/{timestamp}", record.partition(), record.offset()),
            headers: record.headers().collect(),
            now: record.now(),
            random: record.random().next_u64(),
        }
    }
}

impl Conformance {
    fn set(&self, output: &mut Output<'_>, seen: &Seen<'_>, line: &[u8]) -> Result<(), String> {
        let (word, argument) = parse(line);
        match (word, argument) {
            ("key", key) => drop(output.key(Some(key))),
            ("value", value) => drop(output.value(value)),
            ("null", b"key") => drop(output.key(None)),
            ("null", b"value") => drop(output.tombstone()),
            ("null", b"timestamp") => drop(output.timestamp(None)),
            ("timestamp", at) => drop(output.timestamp(Some(text(at).parse().unwrap_or_default()))),
            ("header", header) => match header.iter().position(|byte| *byte == b'=') {
                Some(at) => drop(output.header(&text(&header[..at]), Some(&header[at + 1..]))),
                None => drop(output.header(&text(header), None)),
            },
            ("clear", _) => drop(output.clear_headers()),
            ("to", name) => {
                let to = self.outputs.named(&text(name)).map_err(|error| error.to_string())?;
                output.to(to);
            }
            ("copy", what) => self.copy(output, seen, what),
            ("fill", length) => output.write_value().extend((0..number(length)).map(|_| b'x')),
            ("greet", name) => drop(output.value(&[self.greeting.as_bytes(), b", ", name].concat())),
            _ => return Err(unknown(line)),
        }
        Ok(())
    }

    fn copy(&self, output: &mut Output<'_>, seen: &Seen<'_>, what: &[u8]) {
        let outputs = || self.outputs.names().iter().fold(String::new(), |all, name| all + name + ",");
        match what {
            b"topic" => drop(output.value(seen.topic.as_bytes())),
            b"place" => drop(output.value(seen.place.as_bytes())),
            b"outputs" => drop(output.value(outputs().as_bytes())),
            b"now" => drop(output.value(seen.now.to_string().as_bytes())),
            b"random" => drop(output.value(seen.random.to_string().as_bytes())),
            b"headers" => {
                let mut all = output.write_value();
                for header in &seen.headers {
                    all.extend_from_slice(header.key);
                    if let Some(value) = header.value {
                        let _ = all.write(b"=").and_then(|_| all.write(value));
                    }
                    all.push(b';');
                }
            }
            b"key" => set_value(output, seen.key),
            b"value" => set_value(output, seen.value),
            _ => {
                let name = what.strip_prefix(b"header ").unwrap_or_default();
                let header = seen.headers.iter().rfind(|header| header.key == name);
                set_value(output, header.and_then(|header| header.value));
            }
        }
    }
}

fn set_value(output: &mut Output<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => output.value(value),
        None => output.tombstone(),
    };
}

fn emit_numbers(split: &mut Split<'_>, count: usize) {
    for number in 0..count {
        split.add().value(number.to_string().as_bytes());
    }
}

fn write_log(argument: &[u8]) {
    let (level, words) = parse(argument);
    let level = match level {
        "trace" => log::Level::Trace,
        "debug" => log::Level::Debug,
        "warn" => log::Level::Warn,
        "error" => log::Level::Error,
        _ => log::Level::Info,
    };
    log::log(level, format_args!("{}", text(words)));
}

fn write_count(argument: &[u8]) {
    let (name, by) = parse(argument);
    // The names of counters are fixed in a real plugin.
    let name = if name == "seen" { "seen" } else { "other" };
    count(name, number(by) as u64);
}

/// A line's word, and the rest of it.
fn parse(line: &[u8]) -> (&str, &[u8]) {
    let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(at);
    (std::str::from_utf8(word).unwrap_or("?"), rest.get(1..).unwrap_or_default())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(bytes: &[u8]) -> usize {
    text(bytes).parse().unwrap_or_default()
}

fn unknown(line: &[u8]) -> String {
    format!("unknown instruction `{}`", text(line))
}

sluicegate_plugin::export!(Conformance);
