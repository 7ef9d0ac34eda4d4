use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll as waiting;
use wasmtime_wasi::p2::bindings::sync::io::poll;
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sync};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::runtime::in_tokio;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::allow::{Allow, CountedTime};
use crate::host::State;
use crate::host::stderr::Stderr;

/// How many streams, pollables and the like a plugin may hold at a time.
const RESOURCES_MAX: usize = 1 << 10;
/// How many random bytes one call may ask for.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

/// The empty shell of WASI: no files, no network, no environment, no arguments, no input. Clocks and random numbers are
/// what its [`Allow`] says; output is dropped, except for the end of standard error.
pub(crate) struct Shell {
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    /// The time of day, where it is not the machine's.
    pub(crate) standing_time: Option<Duration>,
    /// The monotonic clock, where it is not the machine's.
    pub(crate) counted_time: Option<CountedTime>,
    pub(crate) stderr: Stderr,
    /// How long a plugin may wait in one host call: the host does not see the epoch while it waits.
    pub(crate) wait_max: Duration,
}

impl Shell {
    pub(crate) fn new(wait_max: Duration, allow: Allow) -> Self {
        let stderr = Stderr::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut wasi = WasiCtxBuilder::new();
        wasi.stderr(stderr.clone()).max_random_size(RANDOM_BYTES_MAX).allow_tcp(false).allow_udp(false);
        allow.arrange(&mut wasi);
        let (standing_time, counted_time) = (allow.standing_time(), allow.counted_time());
        Shell { wasi: wasi.build(), table, standing_time, counted_time, stderr, wait_max }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.shell.wasi, table: &mut self.shell.table }
    }
}

/// Links the interfaces of WASI that [`crate::Artifact::read`] lets through, except for `monotonic-clock`. No sockets.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let l = linker;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    sync::filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    random::random::add_to_linker::<State, WasiRandom>(l, |state| state.shell.wasi.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.shell.wasi.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| state.shell.wasi.random())?;
    link_io(l)
}

fn link_io(l: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::bindings::io::error::add_to_linker::<State, Table>(l, |state| &mut state.shell.table)?;
    sync::io::streams::add_to_linker::<State, Table>(l, |state| &mut state.shell.table)?;
    poll::add_to_linker::<State, Waiting>(l, |state| Poll {
        table: &mut state.shell.table,
        wait_max: state.shell.wait_max,
    })
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// A host call outlasted the deadline.
#[derive(Debug, thiserror::Error)]
#[error("waited longer than the deadline")]
pub(crate) struct WaitedTooLong;

/// `wasi:io/poll`, where a plugin that sleeps would otherwise hold the worker for as long as it likes.
pub(crate) struct Poll<'a> {
    table: &'a mut ResourceTable,
    wait_max: Duration,
}

struct Waiting;

impl HasData for Waiting {
    type Data<'a> = Poll<'a>;
}

impl Poll<'_> {
    fn wait<T>(wait_max: Duration, ready: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
        in_tokio(async { tokio::time::timeout(wait_max, ready).await }).map_err(|_| WaitedTooLong)?
    }
}

impl poll::Host for Poll<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        Poll::wait(self.wait_max, waiting::Host::poll(self.table, pollables))
    }
}

impl poll::HostPollable for Poll<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        Poll::wait(self.wait_max, waiting::HostPollable::ready(self.table, pollable))
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        Poll::wait(self.wait_max, waiting::HostPollable::block(self.table, pollable))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        waiting::HostPollable::drop(self.table, pollable)
    }
}
