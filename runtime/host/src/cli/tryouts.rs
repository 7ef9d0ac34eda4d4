//! The commands that try a plugin out beside one that runs.

use clap::{Args, ValueEnum};
use serde_json::Value;
use ureq::http::Method;

use super::control::{Endpoint, Words, behind, digest, read, text};
use crate::change::parse_share;
use crate::config::{Digest, Time};
use crate::console::say;
use crate::exit::Exit;
use crate::record::Difference;
use crate::registry::PluginRef;

/// Which stage, and with what.
#[derive(Args)]
struct Place {
    /// The pipeline's name.
    pipeline: String,
    /// The stage's name.
    stage: String,
    /// The plugin: a .wasm file on this machine, oci://…, or https://… with --digest. Without it, what was found out is
    /// shown.
    plugin: Option<PluginRef>,
    /// End it: the stage's own plugin goes on alone.
    #[arg(long, conflicts_with = "plugin")]
    stop: bool,
    /// Refuse the plugin unless it has this digest, sha256:….
    #[arg(long, conflicts_with = "stop", value_parser = digest)]
    digest: Option<Digest>,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Args)]
pub(super) struct Shadow {
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
pub(super) struct Canary {
    #[command(flatten)]
    place: Place,
    /// Its share, from 0.01% to 100%.
    #[arg(long, value_name = "PERCENT", value_parser = |text: &str| parse_share(text).map(|_| text.to_owned()))]
    share: Option<String>,
    /// What the share is counted in: keys or partitions.
    #[arg(long, value_enum, default_value_t = Of::Keys)]
    of: Of,
    /// How long it runs before it is judged and, if it has done well, promoted.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = |text: &str| text.parse::<Time>())]
    time: Time,
}

#[derive(Clone, Copy, ValueEnum)]
enum Of {
    Keys,
    Partitions,
}

/// Begins, ends or shows a shadow.
pub(super) fn shadow(options: &Shadow) -> Result<(), Exit> {
    options.place.carry_out("shadow", Vec::new())
}

/// Begins, ends or shows a canary.
pub(super) fn canary(options: &Canary) -> Result<(), Exit> {
    let of = match options.of {
        Of::Keys => "keys",
        Of::Partitions => "partitions",
    };
    if options.place.plugin.is_some() && options.share.is_none() {
        return Err(Exit::usage("a canary needs its share: --share 10%"));
    }
    let share = options.share.clone().unwrap_or_default();
    let plan = vec![("share", share), ("of", of.to_owned()), ("for", options.time.to_string())];
    options.place.carry_out("canary", plan)
}

impl Place {
    fn carry_out(&self, role: &str, plan: Vec<(&'static str, String)>) -> Result<(), Exit> {
        let Place { pipeline, stage, endpoint, words, .. } = self;
        let path = ["pipelines", pipeline, "stages", stage, "candidate"];
        if self.stop {
            let changed = endpoint.ask(Method::DELETE, &path, &words.query(None), Vec::new())?;
            return self.tell(&changed, &format!("the {role} has ended"), "there was none");
        }
        let Some(plugin) = &self.plugin else {
            return self.show_report(&path);
        };
        let (bytes, digest) = read(plugin, self.digest.as_ref())?;
        let mut query = words.query(Some(digest));
        query.push(("role", role.to_owned()));
        query.extend(plan);
        let changed = endpoint.ask(Method::PUT, &path, &query, bytes)?;
        let begun = format!(
            "{} runs as {role}; 'sluicegate {role} {pipeline} {stage}' shows how it does",
            text(&changed["digest"])
        );
        self.tell(&changed, &begun, "it does already")
    }

    fn tell(&self, changed: &Value, done: &str, already: &str) -> Result<(), Exit> {
        if self.endpoint.json {
            return super::print_json(changed);
        }
        let said = if changed["changed"] == true { done } else { already };
        say!("{} {}: {said}{}", self.pipeline, self.stage, behind(changed));
        if let Some(note) = changed["note"].as_str() {
            say!("note: {note}");
        }
        Ok(())
    }

    fn show_report(&self, path: &[&str]) -> Result<(), Exit> {
        let report = self.endpoint.look(path)?;
        if self.endpoint.json {
            return super::print_json(&report);
        }
        show(&report, "");
        for sample in report["samples"].as_array().into_iter().flatten() {
            let (topic, key) = (text(&sample["topic"]), text(&sample["key"]));
            say!("{topic}[{}] offset {}, key {key}", sample["partition"], sample["offset"]);
            let own = |side: &str| text(&sample[side]).to_owned();
            let difference = Difference { expected: own("live"), found: own("candidate") };
            difference.write(&mut anstream::stdout(), "  ", "- what runs, + the shadow")?;
            if sample["cut"] == true {
                say!("  (cut: too long to be kept as a whole)");
            }
        }
        Ok(())
    }
}

/// Shows a candidate and how it does, each line after `indent`.
pub(super) fn show(candidate: &Value, indent: &str) {
    let (role, name) = (text(&candidate["role"]), text(&candidate["plugin"]));
    say!("{indent}{role} {name} {} {}", text(&candidate["version"]), text(&candidate["digest"]));
    let until = candidate["until"].as_str().map(|until| format!(" until {until}")).unwrap_or_default();
    let share = candidate["share"].as_str().map(|share| format!(", {share}{until}")).unwrap_or_default();
    say!("{indent}  since {}{share}", text(&candidate["since"]));
    if let Some(differing) = candidate["differing"].as_u64() {
        say!("{indent}  {} records compared, {differing} differing", candidate["candidate"]["records"]);
    }
    for (who, conduct) in [("what runs", &candidate["live"]), (role, &candidate["candidate"])] {
        say!("{indent}  {who}: {}", conduct_words(conduct));
    }
    if let Some(ended) = candidate["ended"].as_str() {
        say!("{indent}  ended: {ended}");
    }
}

fn conduct_words(conduct: &Value) -> String {
    let failures = conduct["failures"].as_object().into_iter().flatten();
    let mut words: Vec<String> = failures.map(|(kind, count)| format!("{count} {kind}")).collect();
    if words.is_empty() {
        words.push("no failures".into());
    }
    words.push(format!("{} calls over the deadline", conduct["overruns"]));
    words.extend(conduct["ns_per_record"].as_u64().map(|time| format!("{time} ns a record")));
    format!("{} records, {}", conduct["records"], words.join(", "))
}
