use std::path::Path;

use sluicegate_core::{
    Batch, Error, ErrorKind, Failure, FailureKind, Headers, INHERIT, Identity, NULL, Outcomes, PASS, REJECT, Transform,
};

use super::case_file::{CaseFile, find};
use super::cases::{Report, run_cases};
use crate::config;

/// Does what the record's key says.
#[derive(Default)]
struct Obedient {
    identity: Identity,
    dead: bool,
    renewals: usize,
}

impl Transform for Obedient {
    fn process(&mut self, batch: &Batch, outcomes: &mut Outcomes) -> Result<(), Failure> {
        assert!(!self.dead, "a dead instance is renewed before it is called again");
        let key = batch.rows().next().and_then(|row| row.key).unwrap_or(b"pass");
        match key {
            b"pass" => outcomes.outcomes.push(PASS),
            b"drop" => outcomes.outcomes.push(0),
            b"reject" => {
                outcomes.outcomes.push(REJECT);
                outcomes.reasons.push("the account is missing".into());
            }
            b"trap" => {
                self.dead = true;
                return Err(Failure::new(FailureKind::Trap, "unreachable"));
            }
            b"malformed" => {}
            b"twice" => {
                outcomes.outcomes.push(2);
                outcomes.to = vec![-1, 1];
                outcomes.timestamps = vec![7, i64::MIN];
                outcomes.keys.lengths = vec![INHERIT, NULL];
                outcomes.values.push(Some(br#"{"b":1,  "a":[true]}"#));
                outcomes.values.push(Some(b"\xff"));
                outcomes.headers = Headers { counts: vec![INHERIT, 1], ..Headers::default() };
                outcomes.headers.keys.push(Some(b"only"));
                outcomes.headers.values.push(None);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn rows_max(&self) -> usize {
        usize::MAX
    }

    fn renew(&mut self) -> Result<(), Error> {
        self.dead = false;
        self.renewals += 1;
        match self.renewals {
            1..3 => Ok(()),
            _ => Err(Error::new(ErrorKind::Stopped, "no more")),
        }
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn retire(self: Box<Self>) {}
}

fn read(text: &str, file: &str) -> CaseFile {
    let mut cases: CaseFile = config::parse_other(text, Path::new(file)).unwrap_or_else(|error| panic!("{error}"));
    cases.file = file.into();
    cases
}

fn run(cases: &str) -> Report {
    let text = format!("outputs: [large, audit]\ncases:\n{cases}");
    let file = read(&text, "cases/x.yaml");
    run_cases(&[file], &mut |_| Ok(Box::<Obedient>::default()))
}

fn shown(report: &Report) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    report.write(&mut out).unwrap();
    String::from_utf8(out.into_inner()).unwrap()
}

#[test]
fn cases_that_agree_pass() {
    let report = run(r#"
  - expect: pass
  - { record: { key: drop }, expect: drop }
  - { record: { key: drop }, expect: { emit: [] } }
  - { record: { key: reject }, expect: { reject: account is } }
  - { record: { key: trap }, expect: { fail: trap } }
  - { record: { key: malformed }, expect: { fail: malformed } }
  - record: { key: twice, value: x, headers: [[trace, abc], [trace, null]], timestamp: 3 }
    expect:
      emit:
        - { value: { a: [true], b: 1 }, timestamp: 7 }
        - { to: audit, key: null, value: { base64: /w== }, headers: [[only, null]], timestamp: null }
"#);
    assert_eq!((report.passed, report.failed, report.exit_code()), (7, 0, 0), "{}", shown(&report));
    assert!(shown(&report).ends_with("7 passed, 0 failed\n"));
}

#[test]
fn differences_are_shown_line_by_line() {
    let report = run(r#"
  - name: makes two
    record: { key: twice, value: x, timestamp: 3 }
    expect: { emit: [{ value: { a: [false], b: 1 }, timestamp: 7 }] }
  - { record: { key: drop }, expect: pass }
"#);
    let expected = r#"cases/x.yaml
  FAILED  makes two
          - expected, + found
            output 1 to the default output
              key: "twice"
              value: {
                "a": [
          -       false
          +       true
                ],
                "b": 1
              }
              timestamp: 7
          + output 2 to audit
          +   key: null
          +   value: { base64: /w== }
          +   header "only": null
          +   timestamp: none
  FAILED  case 2
          - expected, + found
          - pass
          + drop
0 passed, 2 failed
"#;
    assert_eq!(shown(&report), expected);
    assert_eq!(report.exit_code(), 1);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["files"][0]["cases"][1]["found"], "drop\n");
}

#[test]
fn every_slip_fails_its_case() {
    for (key, expect) in [
        ("pass", "drop"),
        ("drop", "pass"),
        ("reject", "{ reject: something else }"),
        ("trap", "{ fail: deadline }"),
        ("trap", "{ reject: unreachable }"),
        ("twice", "{ emit: [{ value: { a: [true], b: 1 }, timestamp: 7 }] }"),
        (
            "twice",
            "{ emit: [{ value: { a: [true], b: 1 }, timestamp: 7 }, { to: large, key: null, value: { base64: /w== }, headers: [[only, null]] }] }",
        ),
        (
            "twice",
            "{ emit: [{ value: { a: [true], b: 1 }, timestamp: 7 }, { to: audit, value: { base64: /w== }, headers: [[only, null]] }] }",
        ),
        (
            "twice",
            "{ emit: [{ value: { a: [true], b: 1 }, timestamp: 7 }, { to: audit, key: null, value: { base64: /w== }, headers: [[only, ~]], timestamp: 1 }] }",
        ),
        (
            "twice",
            "{ emit: [{ value: { a: [true], b: 1 }, timestamp: 7 }, { to: audit, key: null, value: { base64: /w== }, headers: [[only, '']] }] }",
        ),
    ] {
        let report = run(&format!("  - {{ record: {{ key: {key} }}, expect: {expect} }}\n"));
        assert_eq!((report.passed, report.failed), (0, 1), "{key}: {expect}");
    }
    let good = "{ emit: [{ value: { a: [true], b: 1 }, timestamp: 7 }, { to: audit, key: null, value: { base64: /w== }, headers: [[only, ~]] }] }";
    assert_eq!(run(&format!("  - {{ record: {{ key: twice }}, expect: {good} }}\n")).passed, 1);
}

#[test]
fn a_plugin_that_does_not_start_is_a_failure() {
    let file = read("cases: [{ expect: pass }]\n", "x.yaml");
    let report = run_cases(&[file], &mut |_| anyhow::bail!("no such plugin"));
    assert_eq!((report.passed, report.failed), (0, 1));
    assert_eq!(shown(&report), "x.yaml\n  FAILED  no such plugin\n0 passed, 1 failed\n");
    let trap = "  - { record: { key: trap }, expect: { fail: trap } }\n";
    let report = run(&trap.repeat(4));
    assert_eq!((report.passed, report.failed), (3, 1));
    assert!(shown(&report).contains("the plugin does not start again: no more"));
}

#[test]
fn slips_in_case_files_are_explained() {
    let complaint = |text: &str| {
        let result: Result<CaseFile, _> = config::parse_other(text, Path::new("c.yaml"));
        result.unwrap_err().to_string().lines().next().unwrap_or_default().to_owned()
    };
    for (text, expected) in [
        ("cases: [{ expect: pas }]\n", "c.yaml:1:19: unknown value 'pas' — did you mean 'pass'?"),
        (
            "cases: [{ record: { vlaue: x }, expect: pass }]\n",
            "c.yaml:1:21: unknown key 'vlaue' — did you mean 'value'?",
        ),
        ("cases:\n  - name: x\n", "c.yaml:2:5: the key 'expect' is missing"),
        ("cases: [{ expect: { emmit: [] } }]\n", "c.yaml:1:21: unknown key 'emmit' — did you mean 'emit'?"),
        (
            "cases: [{ expect: { fail: oom } }]\n",
            "c.yaml:1:27: unknown value 'oom' — known here: trap, deadline, memory, malformed, too-much-output",
        ),
        ("cases: [{ expect: emit }]\n", "c.yaml:1:19: 'emit' alone is not enough: what it needs stands below 'emit:'"),
        ("cases: [{ record: { headers: [[a]] }, expect: pass }]\n", "c.yaml:1:31: expected a list of 2, found a list"),
        (
            "cases: [{ record: { headers: [[a, b, c]] }, expect: pass }]\n",
            "c.yaml:1:31: expected a list of 2, found a list",
        ),
        (
            "cases: [{ record: { value: { base64: '!' } }, expect: pass }]\n",
            "c.yaml:1:28: expected { base64: … } with legal base64",
        ),
        ("outputs: []\n", "c.yaml:1:1: the key 'cases' is missing"),
        ("cases: []\n", "c.yaml:1:8: there are no cases: nothing would be tested"),
    ] {
        assert_eq!(complaint(text), expected, "{text}");
    }
}

#[test]
fn files_and_plugins_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path();
    assert!(find(project).is_err() && find(&project.join("nope")).is_err());
    std::fs::create_dir(project.join("cases")).unwrap();
    let file = project.join("cases/a.yaml");
    std::fs::write(&file, "cases: [{ expect: pass }]\n").unwrap();
    assert_eq!(find(project).unwrap(), std::slice::from_ref(&file));
    assert_eq!(find(&project.join("cases")).unwrap(), std::slice::from_ref(&file));
    assert_eq!(find(&file).unwrap(), std::slice::from_ref(&file));

    let cases = CaseFile::load(&file).unwrap();
    assert!(cases.plugin(None).unwrap_err().to_string().contains("run 'sluicegate build' first"));
    std::fs::write(project.join("p.wasm"), "").unwrap();
    assert_eq!(cases.plugin(None).unwrap(), project.join("p.wasm"));
    assert_eq!(cases.plugin(Some(Path::new("x.wasm"))).unwrap(), Path::new("x.wasm"));
    std::fs::write(project.join("q.wasm"), "").unwrap();
    assert!(cases.plugin(None).unwrap_err().to_string().contains("several plugins"));
    std::fs::write(&file, "plugin: ../q.wasm\ncases: [{ expect: pass }]\n").unwrap();
    assert_eq!(CaseFile::load(&file).unwrap().plugin(None).unwrap(), project.join("cases/../q.wasm"));
}
