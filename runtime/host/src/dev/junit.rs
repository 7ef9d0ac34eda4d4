//! A report as JUnit's XML, which build servers read.

use super::cases::{CaseReport, FileReport, Report};
use crate::record::Difference;

/// The report as an XML document: a suite a file, a test a case.
pub fn of(report: &Report) -> String {
    let suites: String = report.files.iter().map(suite).collect();
    let tests = report.passed + report.updated + report.failed;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"sluicegate test\" tests=\"{tests}\" failures=\"{}\">\n\
         {suites}</testsuites>\n",
        report.failed
    )
}

fn suite(file: &FileReport) -> String {
    let name = file.file.display().to_string();
    let mut tests: Vec<Test> = file.cases.iter().map(Test::of_case).collect();
    let error = file.error.as_ref();
    tests.extend(error.map(|error| Test { name: "all of the file", failure: Some(("an error", error.clone())) }));
    tests.extend(file.repeat.iter().map(|repeat| Test {
        name: "repeatable",
        failure: repeat.differs.as_ref().map(|differs| {
            let words = format!("{}\n{}\n{}", differs.case, differs.legend(), both(&differs.difference));
            ("something else is made of a record that comes again", format!("{words}{}", differs.hint))
        }),
    }));
    let failures = tests.iter().filter(|test| test.failure.is_some()).count();
    let written: String = tests.iter().map(|test| test.write(&name)).collect();
    let (name, tests) = (escaped(&name), tests.len());
    format!("  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">\n{written}  </testsuite>\n")
}

struct Test<'a> {
    name: &'a str,
    /// In a few words, and in all.
    failure: Option<(&'a str, String)>,
}

impl<'a> Test<'a> {
    fn of_case(case: &'a CaseReport) -> Self {
        let differs = case.difference.as_ref().filter(|_| !case.updated);
        Test {
            name: &case.name,
            failure: differs.map(|difference| ("another outcome than expected", both(difference))),
        }
    }

    fn write(&self, suite: &str) -> String {
        let (name, suite) = (escaped(self.name), escaped(suite));
        match &self.failure {
            None => format!("    <testcase name=\"{name}\" classname=\"{suite}\"/>\n"),
            Some((message, text)) => format!(
                "    <testcase name=\"{name}\" classname=\"{suite}\">\n      <failure message=\"{}\">{}</failure>\n    \
                 </testcase>\n",
                escaped(message),
                escaped(text)
            ),
        }
    }
}

fn both(difference: &Difference) -> String {
    format!("expected:\n{}found:\n{}", difference.expected, difference.found)
}

/// For text and attributes. What XML cannot hold, not even escaped, becomes the sign for that.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' | '\r' => escaped.push_str(&format!("&#{};", character as u32)),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Found;

    #[test]
    fn a_parser_reads_what_was_meant() {
        let name = "a \"case\" <of> & 'Ünï'\n\t\u{1b}[0m";
        let difference = Difference { expected: "pass ]]>\n".into(), found: "drop\r\n\0".into() };
        let case = |passed, difference| CaseReport {
            name: name.into(),
            passed,
            updated: false,
            found: Found::Drop,
            difference,
        };
        let cases = vec![case(true, None), case(false, Some(difference))];
        let error = Some("no such <plugin>".to_owned());
        let file = FileReport { file: "cases/a&b.yaml".into(), error, cases, repeat: None };
        let report = Report { passed: 1, failed: 2, updated: 0, files: vec![file] };
        let xml = of(&report);
        let document = roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        assert_eq!(suite.attribute("name"), Some("cases/a&b.yaml"));
        assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("3"), Some("2")));
        let tests: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
        let shown = name.replace('\u{1b}', "\u{fffd}");
        assert_eq!(tests[0].attribute("name"), Some(shown.as_str()));
        assert!(tests[0].first_element_child().is_none());
        let failure = |index: usize| tests[index].first_element_child().and_then(|failure| failure.text()).unwrap();
        assert_eq!(failure(1), "expected:\npass ]]>\nfound:\ndrop\r\n\u{fffd}");
        assert_eq!(failure(2), "no such <plugin>");
        let all = document.root_element();
        assert_eq!((all.attribute("tests"), all.attribute("failures")), (Some("3"), Some("2")));
    }
}
