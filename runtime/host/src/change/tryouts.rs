//! Trying a plugin out beside the one that runs: how that begins, who watches it, and how it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::{Role, Share, is_worse};

use super::{Asker, Changed, Refusal, check_expected, forgotten};
use crate::app::{App, LoadedPipeline, Tryout};
use crate::config::{Digest, Time};
use crate::journal::{Action, Entry, KeptCandidate, Turn};

/// How often a canary is judged while it runs.
const JUDGED_EVERY: Duration = Duration::from_secs(1);
/// A shadow has no end of its own: its watcher waits in pieces of this.
const FOREVER: Duration = Duration::from_secs(24 * 3600);
/// Nobody remembers a canary that runs longer.
const CANARY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    pub(crate) role: Role,
    /// For how long a canary is to run.
    pub(crate) time: Option<Duration>,
}

/// Reads a share, such as `10%` or `0.5%`, in hundredths of a percent.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_share(text: &str) -> Result<u16, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let points = percent.map(|percent| (percent * 100.0).round()).filter(|points| (1.0..=10_000.0).contains(points));
    points.map(|points| points as u16).ok_or_else(|| "expected a share such as 10%, from 0.01% to 100%".into())
}

/// Puts a plugin beside that of a stage, and watches it to its end.
pub(crate) fn try_plugin(
    pipeline: &Arc<LoadedPipeline>,
    app: &App,
    stage: &str,
    bytes: Vec<u8>,
    expected: Option<&Digest>,
    begin: Begin,
    asker: &Asker,
) -> Result<Changed, Refusal> {
    let index = pipeline.stage_index(stage)?;
    let digest = Digest::of(&bytes);
    let action = if begin.role == Role::Shadow { Action::Shadow } else { Action::Canary };
    let asker = Asker { why: Some(begin.words(asker.why.as_deref())), ..asker.clone() };
    pipeline.noted(action, index, Some(&digest), &asker, || {
        check_expected(&digest, expected)?;
        let begun = pipeline.begin_tryout(app, index, bytes, &digest, begin)?;
        Ok(begun.unwrap_or_else(|| pipeline.unchanged(index, &digest)))
    })
}

impl Begin {
    /// In words, for the history.
    fn words(&self, why: Option<&str>) -> String {
        let what = match (self.role, self.time) {
            (Role::Canary(share), Some(time)) => format!("{} for {}", share_words(&share), Time(time)),
            (Role::Canary(share), None) => share_words(&share),
            (Role::Shadow, _) => return why.unwrap_or("all records, to compare").to_owned(),
        };
        why.map_or(what.clone(), |why| format!("{what}; {why}"))
    }
}

/// A canary's share in words.
pub(crate) fn share_words(share: &Share) -> String {
    let of = if share.of_keys { "keys" } else { "partitions" };
    format!("{}% of the {of}", f64::from(share.points) / 100.0)
}

impl LoadedPipeline {
    /// Begins to try a plugin out. None: it is tried out already.
    fn begin_tryout(
        self: &Arc<Self>,
        app: &App,
        index: usize,
        bytes: Vec<u8>,
        digest: &Digest,
        Begin { role, time }: Begin,
    ) -> Result<Option<Changed>, Refusal> {
        let config = &self.config.stages[index];
        if time.is_some_and(|time| !(JUDGED_EVERY..=CANARY_MAX).contains(&time)) {
            return Err(Refusal::Unfit(format!("a canary runs from {JUDGED_EVERY:?} to seven days")));
        }
        if role != Role::Shadow && self.version(index).digest == *digest {
            return Err(Refusal::Conflict(format!("stage '{}' runs this plugin already", config.name)));
        }
        if self.is_tried_out(index, digest, role)? {
            return Ok(None);
        }
        let plugin = app.plugin_for(&self.config, config, None, bytes.clone())?;
        let turn = self.turn()?;
        if self.is_tried_out(index, digest, role)? {
            return Ok(None);
        }
        if let Some(before) = self.tryout() {
            // It has come to its end, and nobody has noted that yet.
            let why = before.findings.wait(Duration::ZERO);
            self.end_tryout(&turn, &before, &Asker { who: "sluicegate".into(), why });
        }
        let tryout = Arc::new(Tryout::new(index, plugin, role, time));
        // Before it begins: nobody would end one that is not watched.
        self.watch(&tryout, bytes)?;
        let behind = self.try_out(&turn, &tryout).map_err(|error| {
            tryout.end(&error.message);
            Refusal::Unfit(format!("stage '{}': {}", config.name, error.message))
        })?;
        let (stage, is_canary) = (config.name.clone(), tryout.is_canary());
        let kept = KeptCandidate { stage, digest: digest.clone(), is_canary };
        let note = self.journal.keep_candidate(Some(kept)).err().map(|error| forgotten(&error));
        Ok(Some(Changed { changed: true, behind, note, ..self.unchanged(index, digest) }))
    }

    /// Watches a candidate on a thread of its own, until it has ended.
    fn watch(self: &Arc<Self>, tryout: &Arc<Tryout>, bytes: Vec<u8>) -> Result<(), Refusal> {
        let (pipeline, watched) = (Arc::clone(self), Arc::clone(tryout));
        let watch = move || pipeline.see_through(&watched, &bytes);
        let spawned = std::thread::Builder::new().name(tryout.role_name().into()).spawn(watch);
        spawned.map(drop).map_err(|error| Refusal::Conflict(format!("no thread to watch it on: {error}")))
    }

    /// Whether this is tried out already.
    ///
    /// # Errors
    /// Something else is.
    fn is_tried_out(&self, index: usize, digest: &Digest, role: Role) -> Result<bool, Refusal> {
        let Some(tryout) = self.tryout().filter(|tryout| tryout.goes_on()) else {
            return Ok(false);
        };
        if tryout.stage == index && tryout.digest == *digest && tryout.role == role {
            return Ok(true);
        }
        let (pipeline, stage, role) = (&self.config.name, &self.config.stages[tryout.stage].name, tryout.role_name());
        Err(Refusal::Conflict(format!(
            "stage '{stage}' has a {role} already, {}, and a pipeline tries out one plugin at a time; \
             'sluicegate {role} {pipeline} {stage} --stop' ends it",
            tryout.digest
        )))
    }

    /// Ends what is tried out in a stage; what runs there goes on.
    pub(crate) fn stop_tryout(&self, stage: &str, asker: &Asker) -> Result<Changed, Refusal> {
        let index = self.stage_index(stage)?;
        let turn = self.journal.turn();
        let unchanged = self.unchanged(index, &self.version(index).digest);
        let Some(tryout) = self.tryout().filter(|tryout| tryout.stage == index && tryout.goes_on()) else {
            return Ok(unchanged);
        };
        let why = asker.why.clone().unwrap_or_else(|| "it was stopped".into());
        let behind = self.end_tryout(&turn, &tryout, &Asker { why: Some(why), ..asker.clone() });
        Ok(Changed { changed: behind.is_some(), behind: behind.unwrap_or_default(), ..unchanged })
    }

    /// Watches a candidate to its end, and notes that. A canary ends by itself: it is promoted, or found wanting.
    fn see_through(&self, tryout: &Tryout, bytes: &[u8]) {
        let end = tryout.until.map(|(end, _)| end);
        loop {
            let left = end.map_or(FOREVER, |end| end.saturating_duration_since(Instant::now()).min(JUDGED_EVERY));
            let ended = tryout.findings.wait(left);
            let at_end = end.is_some_and(|end| Instant::now() >= end);
            if ended.is_none() && !tryout.is_canary() {
                continue;
            }
            match ended.or_else(|| found_wanting(tryout, at_end)) {
                Some(why) => {
                    let asker = Asker { who: "sluicegate".into(), why: Some(why) };
                    self.end_tryout(&self.journal.turn(), tryout, &asker);
                }
                None if at_end => self.promote(tryout, bytes),
                None => continue,
            }
            return;
        }
    }

    /// Lets a canary run for all records.
    fn promote(&self, tryout: &Tryout, bytes: &[u8]) {
        let turn = self.journal.turn();
        if let Some(why) = tryout.findings.wait(Duration::ZERO) {
            self.end_tryout(&turn, tryout, &Asker { who: "sluicegate".into(), why: Some(why) });
            return;
        }
        let canary = tryout.findings.report().candidate;
        let (records, failed, overruns) = (canary.records, canary.failed(), canary.overruns);
        let why = format!("{records} records, {failed} failures, {overruns} calls over the deadline");
        let asker = Asker { who: "sluicegate".into(), why: Some(why) };
        let promoted = self.noted(Action::Promote, tryout.stage, Some(&tryout.digest), &asker, || {
            self.exchange_for(&turn, tryout.stage, &tryout.plugin, bytes)
        });
        if let Err(refusal) = promoted {
            self.dismiss(&turn, tryout, refusal.message());
        }
        // Whose end is noted.
        tryout.end("it runs for all records now");
        self.forget_candidate(&turn);
    }

    /// Ends a candidate, and notes it. None: somebody else has.
    pub(super) fn end_tryout(&self, turn: &Turn<'_>, tryout: &Tryout, asker: &Asker) -> Option<usize> {
        let behind = self.dismiss(turn, tryout, asker.why.as_deref().unwrap_or_default())?;
        self.note_end(tryout.stage, &tryout.digest, tryout.is_canary(), asker);
        self.forget_candidate(turn);
        Some(behind)
    }

    /// Its pipeline ends: nothing is changed here any more, and what is tried out ends too.
    pub(crate) fn retire(&self) {
        let turn = self.journal.turn();
        self.await_successor(&turn);
        if let Some(tryout) = self.tryout() {
            self.end_tryout(
                &turn,
                &tryout,
                &Asker { who: "sluicegate".into(), why: Some("its pipeline ended".into()) },
            );
        }
    }

    /// Notes at a start that what was tried out before has ended with its process.
    pub(super) fn forget_tryout(&self, turn: &Turn<'_>) {
        let Some(kept) = self.journal.candidate() else { return };
        if let Some(index) = self.stages.iter().position(|stage| stage.name == kept.stage) {
            let why = "the process ended meanwhile, and what ran beside it goes on alone".to_owned();
            let asker = Asker { who: "sluicegate".into(), why: Some(why) };
            self.note_end(index, &kept.digest, kept.is_canary, &asker);
        }
        self.forget_candidate(turn);
    }

    fn note_end(&self, index: usize, digest: &Digest, is_canary: bool, asker: &Asker) {
        let runs = self.version(index).digest;
        let entry = match is_canary {
            // By hand, before its time was over.
            true if runs == *digest => self.entry(Action::Promote, Some(index), Some(digest), asker),
            true => {
                let before = Some(digest.to_string());
                Entry { before, ..self.entry(Action::Rollback, Some(index), Some(&runs), asker) }
            }
            false => self.entry(Action::ShadowEnd, Some(index), Some(digest), asker),
        };
        self.journal.note(&self.config.name, entry);
    }

    fn forget_candidate(&self, _: &Turn<'_>) {
        if let Err(error) = self.journal.keep_candidate(None) {
            tracing::warn!(pipeline = %self.config.name, "{error}");
        }
    }
}

fn found_wanting(tryout: &Tryout, at_end: bool) -> Option<String> {
    let report = tryout.findings.report();
    if at_end && report.candidate.records == 0 {
        return Some("no record fell to it in its time".into());
    }
    is_worse(&report.live, &report.candidate, at_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_bounded() {
        let read = |text: &str| parse_share(text).ok();
        assert_eq!(
            (read("10%"), read("0.5%"), read("100 %"), read("0.01%")),
            (Some(1000), Some(50), Some(10_000), Some(1))
        );
        for bad in ["10", "0%", "0.001%", "101%", "-1%", "%", "NaN%", "ten%"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
