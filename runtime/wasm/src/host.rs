//! What a plugin may call, and what a store remembers between calls.

pub(crate) mod clock;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod seed;
pub(crate) mod stderr;
pub(crate) mod wasi;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::common::sluicegate::plugin as contract;
use limits::Limits;
use log::Logger;
use metrics::Counters;
use wasi::Shell;

/// The data of one store.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) log: Logger,
    pub(crate) counters: Counters,
    pub(crate) shell: Shell,
    /// See [`seed::of_stage`].
    pub(crate) seed: u64,
}

/// Links everything that [`crate::Artifact::read`] lets through.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    contract::log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    contract::metrics::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    contract::seed::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    clock::link(linker)?;
    wasi::link(linker)
}
