//! What a pipeline means where its file says nothing.

use std::path::Path;
use std::sync::Arc;

use super::endpoint::{Sink, Source};
use super::error::Text;
use super::id_header::IdHeader;
use super::origin::Origin;
use super::pipeline::{Delivery, Pipeline};
use super::secret::Properties;
use super::tree::{Kind, Node};

/// Fills in keys whose default depends on other keys, hides values that came from `${…}`, and records where stages stand
/// in the file.
pub(super) fn fill_in(pipeline: &mut Pipeline, root: &Node, source: &Arc<Text>) {
    let is_said = |path: &[&str]| root.get(path).is_some();
    if !is_said(&["source", pipeline.source.kind(), "group"]) {
        let group = match &mut pipeline.source {
            Source::Kafka(kafka) => &mut kafka.group,
            Source::Local(local) => &mut local.group,
        };
        group.clone_from(&pipeline.name);
    }
    if let (Source::Kafka(source), Sink::Kafka(sink)) = (&pipeline.source, &mut pipeline.sink)
        && !is_said(&["sink", "kafka", "brokers"])
    {
        sink.brokers.clone_from(&source.brokers);
    }
    if !is_said(&["workers"]) {
        // Of these, what a container's quota of CPU time comes to.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        pipeline.workers = cores.clamp(1, 256) as u32;
        pipeline.workers_by_cores = true;
    }
    let id_header = match &mut pipeline.sink {
        Sink::Kafka(kafka) => &mut kafka.id_header,
        Sink::Local(local) => &mut local.id_header,
    };
    if *id_header == IdHeader::ByDelivery {
        // Only at least once there are repeats, which consumers tell by it.
        *id_header = (pipeline.delivery == Delivery::AtLeastOnce).into();
    }
    for (index, stage) in pipeline.stages.iter_mut().enumerate() {
        let index = index.to_string();
        if !is_said(&["stages", &index, "name"]) {
            stage.name = stage.plugin.stem();
        }
        stage.origin = origin(&["stages", &index], root, source);
        if root.get(&["stages", &index, "config"]).is_some_and(Node::is_expanded) {
            stage.config.hide();
        }
    }
    if let Some(admin) = &mut pipeline.admin {
        admin.origin = origin(&["admin"], root, source);
    }
    if let Source::Kafka(kafka) = &mut pipeline.source {
        hide_expanded(&mut kafka.properties, root.get(&["source", "kafka", "properties"]));
    }
    if let Sink::Kafka(kafka) = &mut pipeline.sink {
        hide_expanded(&mut kafka.properties, root.get(&["sink", "kafka", "properties"]));
    }
}

fn origin(path: &[&str], root: &Node, source: &Arc<Text>) -> Origin {
    root.get(path).map_or_else(Origin::default, |node| Origin::new(source, node))
}

fn hide_expanded(properties: &mut Properties, node: Option<&Node>) {
    if let Some(Node { kind: Kind::Mapping(entries), .. }) = node {
        entries.iter().filter(|(_, value)| value.is_expanded()).for_each(|(key, _)| properties.hide(&key.name));
    }
}

/// Makes relative paths start at the file's folder.
pub(super) fn resolve_paths(pipeline: &mut Pipeline, folder: &Path) {
    if let Source::Local(local) = &mut pipeline.source {
        local.path = folder.join(&local.path);
    }
    if let Sink::Local(local) = &mut pipeline.sink {
        local.path = folder.join(&local.path);
    }
    for stage in &mut pipeline.stages {
        stage.plugin = stage.plugin.clone().within(folder);
    }
    if let Some(tls) = pipeline.admin.as_mut().and_then(|admin| admin.tls.as_mut()) {
        tls.resolve_paths(folder);
    }
}
