use sluicegate_core::{FailureKind, Story};

use super::Coordinates;

/// Which dead letters are meant.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of this pipeline: others may share the topic.
    pub pipeline: String,
    /// Those that failed in one of these ways; all, if there is none.
    pub failures: Vec<FailureKind>,
    /// Those of this stage.
    pub stage: Option<String>,
    /// Those that failed at this time or later, in milliseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Those that failed before this time.
    pub until: Option<i64>,
    /// Those that stand here, or whose record stood here; all, if there is none.
    pub places: Vec<Coordinates>,
}

impl Filter {
    /// Whether the letter that stands here and tells this story is meant.
    pub fn takes(&self, at: &Coordinates, story: &Story) -> bool {
        let failed_so = |kind: &FailureKind| kind.name() == story.failure;
        let stands = |place: &Coordinates| place == at || is_source(place, story);
        story.pipeline == self.pipeline
            && (self.failures.is_empty() || self.failures.iter().any(failed_so))
            && self.stage.as_ref().is_none_or(|stage| *stage == story.stage)
            && self.since.is_none_or(|since| story.time_ms >= since)
            && self.until.is_none_or(|until| story.time_ms < until)
            && (self.places.is_empty() || self.places.iter().any(stands))
    }
}

fn is_source(place: &Coordinates, story: &Story) -> bool {
    place.partition == story.source && place.offset == story.offset
}

#[cfg(test)]
mod tests {
    use sluicegate_core::Partition;

    use super::*;

    #[test]
    fn each_condition_is_one_more() {
        let at: Coordinates = "dead/0@42".parse().unwrap();
        let story = Story {
            pipeline: "p".into(),
            stage: "redact".into(),
            plugin: "redact".into(),
            plugin_version: "1".into(),
            plugin_digest: "d".into(),
            failure: "trap".into(),
            reason: "boom".into(),
            source: Partition { topic: "trades".into(), number: 3 },
            offset: 17,
            time_ms: 1000,
        };
        let mine = Filter { pipeline: "p".into(), ..Filter::default() };
        let takes = |filter: Filter| filter.takes(&at, &story);
        let places = |place: &str| vec![place.parse().unwrap()];
        assert!(takes(mine.clone()));
        assert!(takes(Filter { failures: vec![FailureKind::Memory, FailureKind::Trap], ..mine.clone() }));
        assert!(takes(Filter { since: Some(1000), until: Some(1001), stage: Some("redact".into()), ..mine.clone() }));
        assert!(takes(Filter { places: places("dead/0@42"), ..mine.clone() }));
        assert!(takes(Filter { places: places("trades/3@17"), ..mine.clone() }));
        for filter in [
            Filter::default(),
            Filter { failures: vec![FailureKind::Memory], ..mine.clone() },
            Filter { stage: Some("route".into()), ..mine.clone() },
            Filter { since: Some(1001), ..mine.clone() },
            Filter { until: Some(1000), ..mine.clone() },
            Filter { places: places("dead/3@17"), ..mine },
        ] {
            assert!(!takes(filter.clone()), "{filter:?}");
        }
    }
}
