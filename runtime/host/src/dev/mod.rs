//! What a plugin's author runs: a new project, a build, and cases in files, none of which needs a broker.

pub mod build;
pub mod case_file;
pub mod cases;
pub(crate) mod diff;
pub(crate) mod found;
pub mod language;
pub mod repeat;
pub mod scaffold;
#[cfg(test)]
mod tests;
