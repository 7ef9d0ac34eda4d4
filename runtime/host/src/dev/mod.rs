//! What a plugin's author runs: a new project, a build, and cases in files, none of which needs a broker.

pub mod build;
pub mod case_file;
pub mod cases;
mod diff;
pub mod scaffold;
#[cfg(test)]
mod tests;
