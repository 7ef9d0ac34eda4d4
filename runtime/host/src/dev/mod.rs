//! What a plugin's author runs: a new project, a build, cases in files, and a pipeline that follows what is saved.

pub mod build;
pub mod case_file;
mod case_text;
pub mod cases;
pub(crate) mod diff;
pub(crate) mod found;
pub mod junit;
pub mod language;
pub mod live;
pub mod repeat;
pub mod scaffold;
#[cfg(test)]
mod tests;
pub mod update;
