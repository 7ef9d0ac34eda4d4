//! Topics: their names, and that no pipeline reads what it writes.

use regex::Regex;

use super::check::{Checked, one_system};
use super::error::ConfigError;
use super::pipeline::Pipeline;
use super::tree::Path;

/// Kafka's own rule.
const TOPIC_LENGTH_MAX: usize = 249;

pub(super) fn check(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    let (source, sink) = (pipeline.source.kind(), pipeline.sink.kind());
    let patterns = source_patterns(pipeline, &["source", source, "topics"], file)?;

    let mut written: Vec<(Vec<&str>, &str, &str)> =
        vec![(vec!["sink", sink, "topic"], "the sink's topic", pipeline.sink.topic())];
    let outputs = pipeline.sink.outputs();
    written
        .extend(outputs.iter().map(|(name, topic)| (vec!["sink", sink, "outputs", name], "the output's topic", topic)));
    let dead_letter = pipeline.dead_letter.as_ref();
    written.extend(dead_letter.map(|to| (vec!["dead-letter", "topic"], "the dead-letter topic", to.topic.as_str())));

    // The same name in another system is another topic.
    let may_loop = one_system(&pipeline.source, &pipeline.sink);
    for (path, what, topic) in written {
        check_name(topic, &path, file)?;
        if let Some(pattern) = patterns.iter().find(|pattern| may_loop && pattern.matches(topic)) {
            let which = match pattern {
                Pattern::Topic(_) => "is a topic of the source".to_owned(),
                Pattern::Regex(regex) => format!("matches the source's topics {regex}"),
            };
            return Err(file.error(&path, format!("{what} '{topic}' {which}: the pipeline would read what it writes")));
        }
    }
    Ok(())
}

enum Pattern<'a> {
    Topic(&'a str),
    Regex(Regex),
}

impl Pattern<'_> {
    fn matches(&self, topic: &str) -> bool {
        match self {
            Pattern::Topic(name) => *name == topic,
            Pattern::Regex(regex) => regex.is_match(topic),
        }
    }
}

fn source_patterns<'a>(
    pipeline: &'a Pipeline,
    path: Path<'_>,
    file: &Checked<'_>,
) -> Result<Vec<Pattern<'a>>, ConfigError> {
    let topics = pipeline.source.topics();
    if topics.is_empty() {
        return Err(file.error(path, "a source needs at least one topic"));
    }
    let mut patterns = Vec::with_capacity(topics.len());
    for (index, topic) in topics.iter().enumerate() {
        let index_text = index.to_string();
        let item = [path, &[index_text.as_str()]].concat();
        if topics[..index].contains(topic) {
            return Err(file.error(&item, format!("the topic '{topic}' is named twice")));
        }
        patterns.push(match topic.starts_with('^') {
            false => {
                check_name(topic, &item, file)?;
                Pattern::Topic(topic)
            }
            true if pipeline.source.kind() != "kafka" => {
                let message = format!("'{topic}': only a Kafka source takes regular expressions; name the topics");
                return Err(file.error(&item, message));
            }
            true => Pattern::Regex(regex(topic).map_err(|reason| file.error(&item, reason))?),
        });
    }
    Ok(patterns)
}

fn regex(topic: &str) -> Result<Regex, String> {
    // Its messages take several lines; the last one says what is wrong.
    Regex::new(topic).map_err(|error| {
        let message = error.to_string();
        let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("'{topic}' is no regular expression: {reason}")
    })
}

fn check_name(topic: &str, path: Path<'_>, file: &Checked<'_>) -> Result<(), ConfigError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if topic.is_empty() || topic.len() > TOPIC_LENGTH_MAX || !topic.chars().all(legal) || [".", ".."].contains(&topic) {
        let rule = format!("1 to {TOPIC_LENGTH_MAX} characters of a-z, A-Z, 0-9, '-', '_' and '.'");
        return Err(file.error(path, format!("'{topic}' is no topic: {rule}")));
    }
    Ok(())
}
