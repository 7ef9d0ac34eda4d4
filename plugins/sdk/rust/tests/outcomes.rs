//! What a plugin says of a record is what comes out of the columns, whatever the records beside it do.

use serde::Deserialize;
use sluicegate_plugin::schemars::{self, JsonSchema};
use sluicegate_plugin::testing::{Header, Input, Outcome, Output, run};
use sluicegate_plugin::{Destination, Error, Outcome as Said, Outputs, Plugin, Record};

/// Does to each record what its key says, so that one batch can hold every combination.
struct Obeys {
    large: Destination,
    audit: Destination,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {}

impl Plugin for Obeys {
    type Config = Config;

    fn configure(_: Config, outputs: &Outputs) -> Result<Self, Error> {
        Ok(Obeys { large: outputs.named("large")?, audit: outputs.named("audit")? })
    }

    fn process(&mut self, record: Record<'_>) -> Said {
        let command = record.key().unwrap_or(b"pass");
        match command {
            b"drop" => Said::Drop,
            b"reject" => Said::reject(format_args!("offset {} is refused", record.offset())),
            b"copy" => record.emit().done(),
            b"value" => record.emit().value(b"new").done(),
            b"tombstone" => record.emit().tombstone().done(),
            b"empty" => {
                let mut output = record.emit();
                output.write_value();
                output.done()
            }
            b"key" => record.emit().key(Some(b"k2")).done(),
            b"no-key" => record.emit().key(None).done(),
            b"timestamp" => record.emit().timestamp(Some(99)).done(),
            b"no-timestamp" => record.emit().timestamp(None).done(),
            b"large" => record.emit().to(self.large).done(),
            b"header" => record.emit().header("added", Some(b"yes")).header("added", None).done(),
            b"no-headers" => record.emit().clear_headers().done(),
            b"one-header" => record.emit().header("x", None).clear_headers().header("only", Some(b"")).done(),
            b"twice" => {
                let mut output = record.emit();
                output.value(b"first, and longer").key(Some(b"first")).to(self.large).timestamp(Some(1));
                output.header("first", None);
                output.value(b"last").key(Some(b"last")).to(self.audit).timestamp(Some(2));
                output.done()
            }
            b"split" => self.split(record),
            b"split-none" => record.split().done(),
            b"taken-back" => {
                let mut output = record.emit();
                output.value(b"gone").key(None).to(self.audit).timestamp(Some(3)).header("gone", Some(b"gone"));
                Said::Pass
            }
            _ => Said::Pass,
        }
    }
}

impl Obeys {
    fn split(&self, record: Record<'_>) -> Said {
        let value = record.value().unwrap_or_default();
        let mut split = record.split();
        for (index, part) in value.split(|byte| *byte == b',').enumerate() {
            let mut output = split.add();
            output.value(part);
            match index {
                1 => drop(output.to(self.audit)),
                2 => drop(output.timestamp(Some(7))),
                3 => drop(output.header("part", Some(b"3"))),
                _ => {}
            }
        }
        split.done()
    }
}

fn header(key: &str, value: Option<&str>) -> Header {
    (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))
}

/// An input with every kind of header, unlike its neighbours.
fn input(command: &str, number: i64) -> Input {
    let input = Input::new().key(command).value(format!("{number},b,c,d")).timestamp(1000 + number);
    input.header("n", Some(&number.to_string())).header("n", None).header("", Some(""))
}

/// The input as an output that inherits everything.
fn inherited(command: &str, number: i64) -> Output {
    Output {
        to: None,
        timestamp: Some(1000 + number),
        key: Some(command.into()),
        value: Some(format!("{number},b,c,d").into_bytes()),
        headers: vec![header("n", Some(&number.to_string())), header("n", None), header("", Some(""))],
    }
}

/// What is expected of a command, written down without the SDK.
fn expected(command: &str, number: i64) -> Outcome {
    let mut output = inherited(command, number);
    match command {
        "drop" | "split-none" => return Outcome::Drop,
        "reject" => return Outcome::Reject(format!("offset {number} is refused")),
        "copy" => {}
        "value" => output.value = Some(b"new".to_vec()),
        "tombstone" => output.value = None,
        "empty" => output.value = Some(Vec::new()),
        "key" => output.key = Some(b"k2".to_vec()),
        "no-key" => output.key = None,
        "timestamp" => output.timestamp = Some(99),
        "no-timestamp" => output.timestamp = None,
        "large" => output.to = Some("large".into()),
        "header" => output.headers.extend([header("added", Some("yes")), header("added", None)]),
        "no-headers" => output.headers.clear(),
        "one-header" => output.headers = vec![header("only", Some(""))],
        "twice" => {
            output = Output { to: Some("audit".into()), timestamp: Some(2), ..output };
            (output.key, output.value) = (Some(b"last".to_vec()), Some(b"last".to_vec()));
            output.headers.push(header("first", None));
        }
        "split" => {
            let value = |value: &str| Output { value: Some(value.into()), ..inherited(command, number) };
            let mut outputs = vec![value(&number.to_string()), value("b"), value("c"), value("d")];
            outputs[1].to = Some("audit".into());
            outputs[2].timestamp = Some(7);
            outputs[3].headers.push(header("part", Some("3")));
            return Outcome::Emit(outputs);
        }
        _ => return Outcome::Pass,
    }
    Outcome::Emit(vec![output])
}

const COMMANDS: [&str; 20] = [
    "drop",
    "split-none",
    "reject",
    "pass",
    "copy",
    "value",
    "tombstone",
    "empty",
    "key",
    "no-key",
    "timestamp",
    "no-timestamp",
    "large",
    "header",
    "no-headers",
    "one-header",
    "twice",
    "split",
    "taken-back",
    "unknown",
];

fn check(commands: &[&str]) {
    let inputs = commands.iter().zip(0..).map(|(command, number)| input(command, number));
    let outcomes = run::<Obeys>("{}", &["large", "audit"], inputs).unwrap();
    assert_eq!(outcomes.len(), commands.len());
    for ((command, number), outcome) in commands.iter().zip(0..).zip(outcomes) {
        assert_eq!(outcome, expected(command, number), "{command} in {commands:?}");
    }
}

#[test]
fn every_command_alone() {
    for command in COMMANDS {
        check(&[command]);
    }
}

#[test]
fn every_command_after_every_other() {
    for before in COMMANDS {
        for after in COMMANDS {
            check(&[before, after]);
            check(&["pass", before, "copy", after, "value"]);
            check(&["split", before, after, "split", before]);
        }
    }
}

#[test]
fn nothing_at_all_is_told_from_empty() {
    let inputs = [
        Input::new(),
        Input::new().key("").value(""),
        Input::new().key("copy"),
        Input::new().key("copy").value("").timestamp(0).header("h", Some("")).header("h", None),
    ];
    let outcomes = run::<Obeys>("{}", &["large", "audit"], inputs).unwrap();
    let copy = |value: Option<&str>, timestamp, headers| {
        let (key, value) = (Some(b"copy".to_vec()), value.map(|value| value.as_bytes().to_vec()));
        Outcome::Emit(vec![Output { to: None, timestamp, key, value, headers }])
    };
    assert_eq!(outcomes[..2], [Outcome::Pass, Outcome::Pass]);
    assert_eq!(outcomes[2], copy(None, None, vec![]));
    assert_eq!(outcomes[3], copy(Some(""), Some(0), vec![header("h", Some("")), header("h", None)]));
}

#[test]
fn no_records_give_no_outcomes() {
    assert_eq!(run::<Obeys>("{}", &["large", "audit"], []).unwrap(), []);
}

#[test]
fn a_name_that_the_pipeline_does_not_have_is_refused() {
    let refusal = |outputs: &[&str]| run::<Obeys>("{}", outputs, []).unwrap_err();
    assert_eq!(refusal(&["large", "other"]), "no output is named `audit`: the pipeline has `large`, `other`");
    assert_eq!(refusal(&[]), "no output is named `large`: the pipeline names no outputs");
}
