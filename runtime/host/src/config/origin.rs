use std::fmt;
use std::sync::Arc;

use super::error::{ConfigError, Text};
use super::tree::{Node, Path};

/// Where a part of the configuration stands in its file, for what is found to be wrong with it later.
#[derive(Clone, Default)]
pub struct Origin(Option<(Arc<Text>, Node)>);

impl Origin {
    pub(super) fn new(source: &Arc<Text>, node: &Node) -> Self {
        Origin(Some((Arc::clone(source), node.clone())))
    }

    /// An error at the key that this path leads to, from here; at the nearest one above where the file does not say it.
    pub fn error(&self, path: &[&str], message: impl Into<String>) -> ConfigError {
        let path: Path<'_> = path;
        match &self.0 {
            Some((source, node)) => source.error(Some(node.place_of(path)), message),
            None => ConfigError { file: String::new(), place: None, message: message.into(), hint: None, line: None },
        }
    }
}

/// Says nothing: what stands there may be a secret.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin")
    }
}
