mod kafka;
mod schema;

use std::io;
use std::path::Path;

use sluicegate_core::{Action, FailureKind};

use super::*;

/// The page of the design that shows a pipeline, whole.
const EXAMPLE: &str = r#"name: trades
source:
  kafka:
    brokers: localhost:9092
    topics: [trades]              # or a regex: ^trades\..*
    group: trades-clean           # default: the pipeline's name
    start: earliest               # earliest | latest | a timestamp; only where the group has no offset
    properties: {}                # any librdkafka property, except those that would break the promise
stages:
  - name: redact
    plugin: plugins/redact.wasm
    config: { fields: [account] } # validated against the plugin's own schema
    limits: { memory: 64MiB, deadline: 100ms, outputs-per-record: 1000, output-bytes-per-record: 4MiB }
    allow: []                     # host capabilities beyond log and metrics; nothing by default
    on-failure: { retries: 2, backoff: 100ms, then: dead-letter }
sink:
  kafka:
    topic: trades.clean           # the default output
    partition: by-key             # by-key (murmur2, as Java clients) | same (the input's number)
    outputs: { large: trades.large, audit: trades.audit }
    properties: {}
dead-letter: { topic: trades.dead }
delivery: exactly-once
commit: { interval: 100ms, records: 10000, bytes: 8MiB }   # whichever comes first
batch: { records: 512, bytes: 1MiB }
workers: 2                         # default: one a core
budget: 64MiB                      # bytes in flight, per worker; a source is paused beyond it
admin: { listen: 127.0.0.1:9644 }
"#;

const SMALL: &str = "name: p
source: { local: { path: data, topics: in } }
stages: [{ plugin: plugins/redact.wasm }]
sink: { local: { path: data, topic: out } }
";

struct Fake;

impl Surroundings for Fake {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "WORKERS" => Some("3".into()),
            "PASSWORD" => Some("hunter2".into()),
            "PIN" => Some("0042".into()),
            _ => None,
        }
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        match path == Path::new("conf/secret.txt") {
            true => Ok("swordfish\n".into()),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
        }
    }
}

fn read(text: &str) -> Result<Pipeline, ConfigError> {
    parse(text, Path::new("conf/pipeline.yaml"), &Fake)
}

fn good(text: &str) -> Pipeline {
    read(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The message for EXAMPLE with `from` replaced by `to`, without the file's name.
fn complaint(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "{from}");
    let error = read(&EXAMPLE.replacen(from, to, 1)).expect_err(to);
    error.to_string().replace("conf/pipeline.yaml:", "")
}

#[test]
fn the_example_of_the_design_is_read() {
    let pipeline = good(EXAMPLE);
    let Source::Kafka(source) = &pipeline.source else { panic!("{pipeline:?}") };
    assert_eq!((source.brokers.as_str(), source.topics.as_slice()), ("localhost:9092", &["trades".to_owned()][..]));
    assert_eq!((source.group.as_str(), source.start), ("trades-clean", Start::Earliest));
    let stage = &pipeline.stages[0];
    assert_eq!(stage.plugin.file(), Some(Path::new("conf/plugins/redact.wasm")));
    assert_eq!(stage.config.to_json(), r#"{"fields":["account"]}"#);
    assert_eq!(stage.limits, Limits::default());
    let Sink::Kafka(sink) = &pipeline.sink else { panic!("{pipeline:?}") };
    assert_eq!(sink.brokers, "localhost:9092");
    assert_eq!(sink.outputs.iter().collect::<Vec<_>>(), [("large", "trades.large"), ("audit", "trades.audit")]);
    assert_eq!((pipeline.workers, pipeline.budget, pipeline.delivery), (2, Size::mib(64), Delivery::ExactlyOnce));
    assert_eq!(pipeline.commit, Commit { interval: Time::ms(100), records: Some(10_000), bytes: Some(Size::mib(8)) });
}

#[test]
fn little_is_needed() {
    let pipeline = good(SMALL);
    assert_eq!((pipeline.source.group(), pipeline.stages[0].name.as_str()), ("p", "redact"));
    assert!(pipeline.workers >= 1);
    assert_eq!(pipeline.stages[0].on_failure.policy(false).action(FailureKind::Trap), Action::Stop);
    assert_eq!(pipeline.stages[0].on_failure.policy(true).action(FailureKind::Trap), Action::DeadLetter);
    good(
        &SMALL
            .replace("topics: in", "topics: [in, also]")
            .replace("stages: [{ plugin: plugins/redact.wasm }]", "stages:"),
    );
}

#[test]
fn kinds_of_failure_can_be_excepted() {
    let text =
        "on-failure: { retries: 2, then: dead-letter, kinds: { rejected: { then: skip }, trap: { retries: 0 } } }";
    let from = "on-failure: { retries: 2, backoff: 100ms, then: dead-letter }";
    let policy = good(&EXAMPLE.replace(from, text)).stages[0].on_failure.policy(true);
    assert_eq!(policy.action(FailureKind::Rejected), Action::Skip);
    assert_eq!((policy.action(FailureKind::Trap), policy.retry(FailureKind::Trap, 0)), (Action::DeadLetter, None));
    assert_eq!(policy.retry(FailureKind::Deadline, 1), Some(std::time::Duration::from_millis(200)));
}

#[test]
fn variables_and_files_are_put_in_and_stay_out_of_sight() {
    let text = EXAMPLE.replacen("workers: 2", "workers: ${WORKERS}", 1).replacen(
        "properties: {}",
        "properties: { sasl.password: \"${PASSWORD}\", ssl.ca.pem: '${file:secret.txt}', client.id: plain, client.rack: a$$b }",
        1,
    );
    let text = text.replacen("{ fields: [account] }", "{ pin: \"${PIN}\", regex: ^a$, literal: '$${PIN}' }", 1);
    let pipeline = good(&text);
    assert_eq!(pipeline.workers, 3);
    let Source::Kafka(source) = &pipeline.source else { panic!("{pipeline:?}") };
    let property = |name| source.properties.get(name).unwrap_or("none");
    assert_eq!((property("sasl.password"), property("ssl.ca.pem")), ("hunter2", "swordfish"));
    assert_eq!((property("client.id"), property("client.rack")), ("plain", "a$b"));
    assert_eq!(pipeline.stages[0].config.to_json(), r#"{"literal":"${PIN}","pin":"0042","regex":"^a$"}"#);
    let shown = format!("{pipeline:?}");
    for secret in ["hunter2", "swordfish", "0042"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("\"client.id\": \"plain\""), "{shown}");
}

#[test]
fn secrets_show_in_no_error() {
    let error = complaint("workers: 2 ", "workers: ${PASSWORD}");
    assert_eq!(error.lines().next(), Some("26:10: expected a whole number, found '${PASSWORD}'"));
    let error = complaint("plugin: plugins/redact.wasm", "plugin: oci://${PASSWORD}");
    assert_eq!(
        error.lines().next(),
        Some("11:13: expected a path, https://… or oci://registry/repository:tag, found 'oci://${PASSWORD}'")
    );
    let error = complaint("workers: 2 ", "trust: { keys: [{ key: '${PASSWORD}' }] }\nworkers: 2 ");
    assert!(error.contains("expected a public key") && error.contains("found '${PASSWORD}'"), "{error}");
    let error = complaint("    properties: {}  ", "    properties: { sasl.password: hunter2, group.id: x }  ");
    assert_eq!(error, "8:43: property 'group.id' cannot be set: write `group` instead");
}

/// Replacements in the example and what is said of them, in the order in which a newcomer might make the mistakes.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("commit: {", "comit: {", "24:1: unknown key 'comit' — did you mean 'commit'?"),
    ("dead-letter: {", "dead_letter: {", "22:1: unknown key 'dead_letter' — did you mean 'dead-letter'?"),
    ("    topic: trades.clean  ", "    tpoic: trades.clean  ", "18:5: unknown key 'tpoic' — did you mean 'topic'?"),
    ("  kafka:\n    brokers", "  kafak:\n    brokers", "3:3: unknown key 'kafak' — did you mean 'kafka'?"),
    ("  kafka:\n    brokers", "  pulsar:\n    brokers", "3:3: unknown key 'pulsar' — known here: kafka, local"),
    (
        "  kafka:\n    brokers",
        "  local: { path: x, topics: y }\n  kafka:\n    brokers",
        "3:3: there can be only one of kafka, local here",
    ),
    ("    topics: [trades]  ", "    topics: [trades   ", "6:10: illegal placement of ':' indicator"),
    ("    brokers: localhost:9092\n", "", "3:3: 'kafka' needs the key 'brokers'"),
    ("name: trades\n", "", "1:1: the key 'name' is missing"),
    ("name: trades\n", "name: trades\nname: again\n", "2:1: duplicate key 'name'"),
    ("workers: 2 ", "workers: two ", "26:10: expected a whole number, found 'two'"),
    ("workers: 2 ", "workers: -1 ", "26:10: expected a whole number, found '-1'"),
    ("workers: 2 ", "workers: 1000 ", "26:1: workers is 1000; the most is 256"),
    ("workers: 2 ", "workers: 0 ", "26:1: workers is 0; the least is 1"),
    ("memory: 64MiB", "memory: lots", "13:23: expected a size such as 64MiB, '1 MB' or 65536, found 'lots'"),
    ("memory: 64MiB", "memory: 1KiB", "13:15: memory is 1KiB; the least is 1MiB"),
    (
        "deadline: 100ms",
        "deadline: 100",
        "13:40: expected a time with its unit, such as 100ms, 5s or '1m 30s', found '100'",
    ),
    ("deadline: 100ms", "deadline: 2m", "13:30: deadline is 2m; the most is 1m"),
    (
        "start: earliest  ",
        "start: oldest  ",
        "7:12: expected earliest, latest, or a time such as 2026-01-31T12:00:00Z or 1769860800000 (ms), found 'oldest'",
    ),
    ("topics: [trades]", "topics: { a: b }", "5:13: expected a name or a list of names, found a mapping"),
    ("topics: [trades]", "topics: []", "5:5: a source needs at least one topic"),
    ("topics: [trades]", "topics: ['^(']", "5:14: '^(' is no regular expression: unclosed group"),
    (
        "topics: [trades]",
        "topics: [a b]",
        "5:14: 'a b' is no topic: 1 to 249 characters of a-z, A-Z, 0-9, '-', '_' and '.'",
    ),
    (
        "topics: [trades]",
        "topics: '^trades\\..*'",
        "18:5: the sink's topic 'trades.clean' matches the source's topics ^trades\\..*: the pipeline would read what it writes",
    ),
    (
        "topic: trades.clean",
        "topic: trades",
        "18:5: the sink's topic 'trades' is a topic of the source: the pipeline would read what it writes",
    ),
    (
        "topic: trades.dead",
        "topic: trades",
        "22:16: the dead-letter topic 'trades' is a topic of the source: the pipeline would read what it writes",
    ),
    ("then: dead-letter", "breaker: 0", "15:47: breaker is 0; the least is 1"),
    ("{ topic: trades.dead }", "trades.dead", "22:14: expected a mapping of keys to values, found 'trades.dead'"),
    ("dead-letter: { topic: trades.dead }\n", "", "15:47: 'then: dead-letter' needs a dead-letter topic"),
    ("then: dead-letter", "then: dlq", "15:53: unknown value 'dlq' — known here: dead-letter, skip, stop"),
    (
        "then: dead-letter",
        "kinds: { panic: {} }",
        "15:56: unknown key 'panic' — known here: rejected, trap, deadline, memory, malformed, too-much-output",
    ),
    (
        "then: dead-letter",
        "kinds: { rejected: { retries: 1 } }",
        "15:68: a rejection is the plugin's own answer and is never tried again; leave 'retries' out",
    ),
    (
        "delivery: exactly-once",
        "delivery: exactly_once",
        "23:11: unknown value 'exactly_once' — did you mean 'exactly-once'?",
    ),
    (
        "large: trades.large",
        "default: trades.large",
        "20:16: an output cannot be called 'default': every pipeline has one of that name",
    ),
    ("allow: []", "allow: [http]", "14:13: unknown capability 'http' — known here: clock, random"),
    ("allow: []", "allow: [clock, randum]", "14:20: unknown capability 'randum' — did you mean 'random'?"),
    ("allow: []", "allow: [log]", "14:13: 'log' needs no permission; leave it out"),
    (
        "plugins/redact.wasm\n",
        "oci://host/redact\n",
        "11:13: oci://host/redact has neither tag nor digest: add :tag or @sha256:…",
    ),
    (
        "plugins/redact.wasm\n",
        "redact.wasm\n    digest: sha256:123\n",
        "12:13: expected sha256: and 64 hexadecimal digits, found 'sha256:123'",
    ),
    (
        "plugins/redact.wasm\n",
        "a.wasm\n  - name: redact\n    plugin: b.wasm\n",
        "12:5: two stages are called 'redact'; give one of them another 'name'",
    ),
    (
        "name: redact",
        "name: Redact",
        "10:5: the stage's name 'Redact' is no name: 1 to 100 characters of a-z, 0-9, '-', '_' and '.', of which '.' is not the \
         first",
    ),
    ("interval: 100ms", "interval: 1m", "24:11: interval is 1m; the most is 30s"),
    ("bytes: 1MiB", "bytes: 128MiB", "25:24: a batch of 128MiB does not fit the budget of 64MiB"),
    ("127.0.0.1:9644", "9644", "28:18: expected an IP address and port such as 127.0.0.1:9644, found '9644'"),
    ("{ fields: [account] }", "[account]", "12:13: expected a mapping of keys to values, found a list"),
    ("{ fields: [account] }", "{ a: '${NOPE}' }", "12:18: the environment variable NOPE is not set"),
    ("{ fields: [account] }", "{ a: '${file:nope}' }", "12:18: cannot read 'conf/nope': no such file"),
    ("{ fields: [account] }", "{ a: '${PIN' }", "12:18: '${' without '}' — a dollar sign itself is written '$$'"),
];

#[test]
fn mistakes_are_explained() {
    let explained = |from: &str, to: &str| complaint(from, to).lines().next().unwrap_or_default().to_owned();
    let found = MISTAKES.iter().map(|(from, to, expected)| (*to, explained(from, to), *expected));
    let wrong: Vec<_> = found.filter(|(_, found, expected)| found != expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_kind_of_source_alone_is_not_enough() {
    let error = read(&SMALL.replace("{ local: { path: data, topics: in } }", "local")).unwrap_err();
    assert_eq!(error.message, "'local' alone is not enough: what it needs stands below 'local:'");
}

#[test]
fn the_line_at_fault_is_shown() {
    let shown = complaint("    topic: trades.clean           # the default output", "    tpoic: trades.clean");
    let expected = "18:5: unknown key 'tpoic' — did you mean 'topic'?\n18 |     tpoic: trades.clean\n   |     ^^^^^";
    assert_eq!(shown, expected);
}

#[test]
fn outputs_have_ids_where_they_may_repeat() {
    let id = |text: &str| good(text).sink.id_header().map(str::to_owned);
    let named = |header: &str| SMALL.replace("topic: out", &format!("topic: out, id-header: {header}"));
    let at_least_once = |text: &str| format!("{text}delivery: at-least-once\n");
    assert_eq!(id(SMALL), None);
    assert_eq!(id(&at_least_once(SMALL)).as_deref(), Some("sluicegate-id"));
    assert_eq!(id(&at_least_once(&named("false"))), None);
    assert_eq!(id(&named("true")).as_deref(), Some("sluicegate-id"));
    assert_eq!(id(&named("x-id")).as_deref(), Some("x-id"));
    for none in ["none", "\"\"", "'false'", "Off"] {
        let error = read(&named(none)).unwrap_err().to_string();
        assert!(error.contains("id-header: false"), "{error}");
    }
    assert!(read(&named("42")).unwrap_err().message.contains("true, false or the name of a header"));
    let names_plugins = |text: &str| good(text).sink.plugin_header();
    assert!(!names_plugins(SMALL) && names_plugins(&named("true, plugin-header: true")));
}

#[test]
fn exactly_once_needs_one_system() {
    let shown = complaint("    topic: trades.clean ", "    brokers: [b:1, a:1]\n    topic: trades.clean ");
    let expected = "24:1: exactly-once needs source and sink in one system; the source is Kafka at localhost:9092, the sink Kafka at b:1,a:1\n\
                    24 | delivery: exactly-once\n   | ^^^^^^^^\n\
                    hint: set 'delivery: at-least-once'; each output then carries a stable id by which consumers can tell \
                    repeats, in the header that 'sink.kafka.id-header' names";
    assert_eq!(shown, expected);
    good(
        &EXAMPLE
            .replace("localhost:9092", "[a:1, b:1]")
            .replace("    topic: trades.clean ", "    brokers: B:1, a:1\n    topic: trades.clean "),
    );
    let other = SMALL.replace("{ path: data, topic: out }", "{ path: ./x/../other, topic: in }");
    assert!(read(&other).unwrap_err().message.starts_with("exactly-once needs"));
    good(&format!("{other}delivery: at-least-once\n"));
    good(&SMALL.replace("{ path: data, topic: out }", "{ path: ./x/../data, topic: out }"));
}

#[test]
fn what_is_no_yaml_is_refused_with_its_place() {
    let message = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(message(""), "conf/pipeline.yaml: the file is empty");
    assert_eq!(message("# nothing\n\n"), "conf/pipeline.yaml: the file is empty");
    assert!(
        message("name: [a\nsource: x\n").starts_with("conf/pipeline.yaml:2:"),
        "{}",
        message("name: [a\nsource: x\n")
    );
    assert!(message("name: a\n---\nname: b\n").contains("one file holds one document"));
    let unquoted = message("name: p\nsource: { kafka: { brokers: ${B} } }\n");
    assert!(unquoted.contains("needs quotes: \"${NAME}\""), "{unquoted}");
}

#[test]
fn files_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    let message = || load(&path).unwrap_err().to_string();
    let shown = path.display();
    assert_eq!(message(), format!("{shown}: no such file (looked in {})", folder.path().display()));
    std::fs::write(&path, b"name: a\nx: \xff\n").unwrap();
    assert_eq!(message(), format!("{shown}: line 2 is not UTF-8 text; save the file as UTF-8"));
    std::fs::write(&path, vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
    assert_eq!(message(), format!("{shown}: cannot read it: it is longer than 1MiB"));
    std::fs::write(&path, SMALL).unwrap();
    load(&path).unwrap();
}

#[test]
fn starts_are_read() {
    let start = |text: &str| match good(&SMALL.replace("topics: in", &format!("topics: in, start: {text}"))).source {
        Source::Local(local) => local.start,
        Source::Kafka(kafka) => kafka.start,
    };
    assert_eq!(start("latest"), Start::Latest);
    assert_eq!(start("1769860800000"), Start::At(1_769_860_800_000));
    assert_eq!(start("2026-01-31T12:00:00Z"), Start::At(1_769_860_800_000));
}

#[test]
fn a_missing_offset_stops_unless_told_otherwise() {
    let of = |text: &str| match good(text).source {
        Source::Kafka(kafka) => kafka.on_missing_offset,
        Source::Local(local) => local.on_missing_offset,
    };
    assert_eq!([of(EXAMPLE), of(SMALL)], [OnMissingOffset::Stop; 2]);
    for (word, expected) in
        [("stop", OnMissingOffset::Stop), ("earliest", OnMissingOffset::Earliest), ("latest", OnMissingOffset::Latest)]
    {
        let key = format!("on-missing-offset: {word}");
        let kafka = EXAMPLE.replacen("    properties: {}", &format!("    {key}\n    properties: {{}}"), 1);
        let local = SMALL.replace("topics: in", &format!("topics: in, {key}"));
        assert_eq!([of(&kafka), of(&local)], [expected; 2], "{word}");
    }
}

#[test]
fn anchors_are_followed() {
    let text = SMALL.replace("local: { path: data, topics: in }", "local: { path: &folder data, topics: in }");
    good(&text.replace("{ path: data, topic: out }", "{ path: *folder, topic: out }"));
}
