//! What a plugin's author runs: a new project, a build, cases in files, and a pipeline that follows what is saved.

pub mod build;
pub mod case_file;
mod case_text;
pub mod cases;
mod diff;
pub mod junit;
pub mod language;
pub mod live;
mod reader;
pub mod repeat;
pub mod scaffold;
#[cfg(test)]
mod tests;
pub mod update;
