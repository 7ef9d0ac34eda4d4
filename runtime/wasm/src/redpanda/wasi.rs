//! WASI preview 1 for transforms: what a language's standard library insists on, and nothing behind it. There are
//! arguments, the environment, a log, clocks, random numbers and an exit; no files, no network and no input.
//!
//! As with Redpanda, the time of day is that of the record, and waiting is over at once, unless the stage allows the
//! machine's clocks.

use std::time::{Duration, SystemTime};

use tracing::Level;
use wasmtime::{Caller, ExternType, FuncType, Linker, Module, Trap, Val};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::random::random::Host as _;

use super::guest::State;
use super::memory;
use super::poll::poll_oneoff;
use super::world::World;
use crate::allow::CountedTime;

const MODULE: &str = "wasi_snapshot_preview1";

pub(super) const SUCCESS: i32 = 0;
pub(super) const BAD_DESCRIPTOR: i32 = 8;
pub(super) const INVALID: i32 = 28;
const NOT_SUPPORTED: i32 = 52;

const STANDARD_OUTPUT: i32 = 1;
const STANDARD_ERROR: i32 = 2;
/// How much of one write is taken, in bytes: callers write the rest again.
const WRITE_BYTES_MAX: u32 = 4 << 10;
/// How many buffers of one write are looked at for one that is not empty.
const BUFFERS_MAX: i32 = 1 << 10;

pub(super) const REALTIME: i32 = 0;
/// The last of the clocks; all but the first show how much time has passed.
const CLOCK_MAX: i32 = 3;

/// Links what `module` imports of WASI.
pub(super) fn link(linker: &mut Linker<State>, module: &Module) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    for import in module.imports().filter(|import| import.module() == MODULE) {
        if let ExternType::Func(of_type) = import.ty() {
            link_nothing(linker, import.name(), of_type)?;
        }
    }
    let l = linker;
    l.func_wrap(MODULE, "args_sizes_get", |caller: Caller<'_, State>, count: i32, size: i32| {
        sizes(caller, |world| &world.arguments, count, size)
    })?;
    l.func_wrap(MODULE, "args_get", |caller: Caller<'_, State>, pointers: i32, buffer: i32| {
        strings(caller, |world| &world.arguments, pointers, buffer)
    })?;
    l.func_wrap(MODULE, "environ_sizes_get", |caller: Caller<'_, State>, count: i32, size: i32| {
        sizes(caller, |world| &world.environment, count, size)
    })?;
    l.func_wrap(MODULE, "environ_get", |caller: Caller<'_, State>, pointers: i32, buffer: i32| {
        strings(caller, |world| &world.environment, pointers, buffer)
    })?;
    l.func_wrap(MODULE, "fd_write", fd_write)?;
    l.func_wrap(MODULE, "clock_res_get", clock_res_get)?;
    l.func_wrap(MODULE, "clock_time_get", clock_time_get)?;
    l.func_wrap(MODULE, "random_get", random_get)?;
    l.func_wrap(MODULE, "poll_oneoff", poll_oneoff)?;
    l.func_wrap(MODULE, "sched_yield", || SUCCESS)?;
    l.func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) })?;
    l.allow_shadowing(false);
    Ok(())
}

/// Answers that there is no such file or function, as every function of WASI can. An import of another type stays unlinked.
fn link_nothing(linker: &mut Linker<State>, name: &str, of_type: FuncType) -> wasmtime::Result<()> {
    let answer = if name.starts_with("fd_") || name.starts_with("path_") { BAD_DESCRIPTOR } else { NOT_SUPPORTED };
    if of_type.results().map(|result| result.is_i32()).eq([true]) {
        linker.func_new(MODULE, name, of_type, move |_, _, results| {
            results[0] = Val::I32(answer);
            Ok(())
        })?;
    }
    Ok(())
}

fn sizes(
    mut caller: Caller<'_, State>,
    of: fn(&World) -> &Vec<String>,
    count: i32,
    size: i32,
) -> wasmtime::Result<i32> {
    let (memory, state) = memory::split(&mut caller);
    let list = of(&state.world);
    let bytes: usize = list.iter().map(|text| text.len() + 1).sum();
    memory::put(memory, count, (list.len() as u32).to_le_bytes())?;
    memory::put(memory, size, (bytes as u32).to_le_bytes())?;
    Ok(SUCCESS)
}

/// Writes the strings end to end, each with a zero behind it, and their addresses.
fn strings(
    mut caller: Caller<'_, State>,
    of: fn(&World) -> &Vec<String>,
    pointers: i32,
    buffer: i32,
) -> wasmtime::Result<i32> {
    let (memory, state) = memory::split(&mut caller);
    let (mut pointer, mut at) = (pointers, buffer);
    for text in of(&state.world) {
        memory::put(memory, pointer, at.to_le_bytes())?;
        let (last, bytes) = memory::bytes_mut(memory, at, text.len() + 1)?.split_last_mut().expect("a byte at least");
        bytes.copy_from_slice(text.as_bytes());
        *last = 0;
        pointer = pointer.wrapping_add(4);
        at = at.wrapping_add(text.len() as i32 + 1);
    }
    Ok(SUCCESS)
}

/// Standard output goes to the log, and standard error explains a failure.
fn fd_write(
    mut caller: Caller<'_, State>,
    descriptor: i32,
    buffers: i32,
    count: i32,
    written: i32,
) -> wasmtime::Result<i32> {
    if !matches!(descriptor, STANDARD_OUTPUT | STANDARD_ERROR) {
        return Ok(BAD_DESCRIPTOR);
    }
    let (memory, state) = memory::split(&mut caller);
    let bytes = first_bytes(memory, buffers, count)?;
    match descriptor {
        STANDARD_OUTPUT => log_lines(state, bytes),
        _ => state.host.shell.stderr.append(bytes),
    }
    let size = bytes.len() as u32;
    memory::put(memory, written, size.to_le_bytes())?;
    Ok(SUCCESS)
}

/// The beginning of the first buffer that is not empty; nothing if there is none.
fn first_bytes(memory: &[u8], buffers: i32, count: i32) -> Result<&[u8], Trap> {
    for index in 0..count.clamp(0, BUFFERS_MAX) {
        let buffer = buffers.wrapping_add(index * 8);
        let [address, size] = [buffer, buffer.wrapping_add(4)].map(|field| memory::get(memory, field));
        let (address, size) = (i32::from_le_bytes(address?), u32::from_le_bytes(size?));
        if size > 0 {
            return memory::bytes(memory, address, size.min(WRITE_BYTES_MAX) as i32);
        }
    }
    Ok(&[])
}

fn log_lines(state: &mut State, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        state.host.log.line(Level::INFO, line);
    }
}

fn clock_res_get(mut caller: Caller<'_, State>, clock: i32, into: i32) -> wasmtime::Result<i32> {
    if !(REALTIME..=CLOCK_MAX).contains(&clock) {
        return Ok(INVALID);
    }
    memory::put(memory::split(&mut caller).0, into, CountedTime::TICK_NS.to_le_bytes())?;
    Ok(SUCCESS)
}

fn clock_time_get(mut caller: Caller<'_, State>, clock: i32, _precision: i64, into: i32) -> wasmtime::Result<i32> {
    let (memory, state) = memory::split(&mut caller);
    let now = match clock {
        REALTIME => time_of_day(state),
        1..=CLOCK_MAX => time_passed(state),
        _ => return Ok(INVALID),
    };
    memory::put(memory, into, now.to_le_bytes())?;
    Ok(SUCCESS)
}

/// In nanoseconds since the Unix epoch.
pub(super) fn time_of_day(state: &State) -> u64 {
    let of_record = state.record_time_ms.and_then(|time| u64::try_from(time).ok()).map(Duration::from_millis);
    let now = match state.host.shell.standing_time {
        Some(standing) => of_record.unwrap_or(standing),
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    };
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// In nanoseconds since some moment.
pub(super) fn time_passed(state: &mut State) -> u64 {
    match &mut state.host.shell.counted_time {
        Some(time) => time.read(),
        None => u64::try_from(state.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
    }
}

fn random_get(mut caller: Caller<'_, State>, buffer: i32, size: i32) -> wasmtime::Result<i32> {
    let (memory, state) = memory::split(&mut caller);
    let size = memory::offset(size);
    let into = memory::bytes_mut(memory, buffer, size)?;
    into.copy_from_slice(&state.host.shell.wasi.random().get_random_bytes(size as u64)?);
    Ok(SUCCESS)
}
