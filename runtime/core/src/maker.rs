use crate::stage::Stage;

/// The header that names a plugin's bytes: of the one that failed on a dead letter, or of all that made an output.
pub(crate) const PLUGIN_DIGEST: &str = "sluicegate-plugin-digest";

/// What outputs say of the plugins that made them: the SHA-256 of each stage's, in order. Written once, and again only when a
/// plugin changes.
pub(crate) struct PluginHeader {
    /// By the number of stages that an output has passed: with the live plugins, and with the canary in its stage.
    by_stages: Vec<[Added; 2]>,
}

/// As [`crate::Output::added`] has it.
type Added = [(&'static str, String); 1];

impl PluginHeader {
    pub(crate) fn of(stages: &[Stage]) -> Self {
        let added = |passed: usize, with_canary: bool| -> Added {
            let plugins = stages[..passed].iter().map(|stage| match stage.canary() {
                Some(canary) if with_canary => canary,
                _ => stage.transform(),
            });
            let digests: Vec<&str> = plugins.map(|plugin| plugin.identity().digest.as_str()).collect();
            [(PLUGIN_DIGEST, digests.join(","))]
        };
        PluginHeader {
            by_stages: (0..=stages.len()).map(|passed| [added(passed, false), added(passed, true)]).collect(),
        }
    }

    /// For an output that has passed so many stages. After none it was made by no plugin, and says nothing.
    pub(crate) fn after(&self, passed: usize, by_canary: bool) -> &[(&'static str, String)] {
        if passed == 0 { &[] } else { &self.by_stages[passed][usize::from(by_canary)] }
    }
}
