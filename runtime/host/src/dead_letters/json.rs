use serde_json::{Value, json};
use sluicegate_core::Story;

use super::Coordinates;
use crate::record::{Header, Shown};

/// What a dead letter tells, wherever it is: of its failure, and of the record, as `produce` takes it.
pub(crate) fn as_json<'a>(story: &Story, record: &Shown<'a, impl Iterator<Item = Header<'a>> + Clone>) -> Value {
    json!({
        "source": Coordinates::of_source(story).as_json(),
        "stage": story.stage,
        "plugin": story.plugin,
        "plugin_version": story.plugin_version,
        "plugin_digest": story.plugin_digest,
        "failure": story.failure,
        "reason": story.reason,
        "record": record,
    })
}
