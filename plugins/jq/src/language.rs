//! What a program is given beside its input: the functions of jq, of which some are the plugin's own, and the record's
//! own time.

use jaq_core::load::parse::Def;
use jaq_core::native::{Filter, Fun, bome, run, v};
use jaq_core::{DataT, Lut, RunPtr};
use jaq_json::Val;
use sluicegate_plugin::log;

/// The types that programs work on.
pub(crate) struct Json;

impl DataT for Json {
    type V<'a> = Val;
    type Data<'a> = Surroundings<'a>;
}

/// What functions of the plugin's own look at.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) program: &'a Lut<Json>,
    /// The record's time, in seconds since the Unix epoch.
    pub(crate) now: f64,
}

impl<'a> jaq_core::data::HasLut<'a, Json> for Surroundings<'a> {
    fn lut(&self) -> &'a Lut<Json> {
        self.program
    }
}

/// What is defined in jq itself.
pub(crate) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs())
}

/// What is not. A plugin has no environment, and its clock is the record's: `now` is the same whenever the record comes.
pub(crate) fn functions() -> impl Iterator<Item = Fun<Json>> {
    let replaced = ["now", "env", "debug_empty", "stderr_empty"];
    let theirs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    theirs.filter(move |(name, ..)| !replaced.contains(name)).chain(own().into_iter().map(run::<Json>))
}

fn own() -> [Filter<RunPtr<Json>>; 3] {
    [
        ("now", v(0), |(context, _)| bome(Ok(Val::from(context.data().now)))),
        ("debug_empty", v(0), |(_, value)| {
            log::debug!("{value}");
            Box::new(std::iter::empty())
        }),
        ("stderr_empty", v(0), |(_, value)| {
            log::warn!("{value}");
            Box::new(std::iter::empty())
        }),
    ]
}
