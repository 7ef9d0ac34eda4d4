//! `poll_oneoff`, by which languages sleep.

use std::time::Duration;

use wasmtime::Caller;

use super::guest::State;
use super::memory;
use super::wasi::{BAD_DESCRIPTOR, INVALID, REALTIME, SUCCESS, time_of_day, time_passed};
use crate::host::wasi::WaitedTooLong;

/// More than any runtime waits for at a time.
const SUBSCRIPTIONS_MAX: i32 = 1 << 6;
const SUBSCRIPTION_BYTES: i32 = 48;
const EVENT_BYTES: i32 = 32;

/// The kind of subscription that is a wait.
const CLOCK: u8 = 0;
/// Set where the wait is until a moment, not for a while.
const ABSOLUTE: u16 = 1;

/// One thing that a guest waits for.
struct Subscription {
    user_data: [u8; 8],
    kind: u8,
    /// None: it is for a file, of which there are none.
    wait: Option<Duration>,
}

/// Waits for the first of the clocks, which takes no time unless the machine's clocks are allowed. Waiting for a file fails
/// at once, as there are none.
pub(super) fn poll_oneoff(
    mut caller: Caller<'_, State>,
    subscriptions: i32,
    events: i32,
    count: i32,
    ready: i32,
) -> wasmtime::Result<i32> {
    if !(1..=SUBSCRIPTIONS_MAX).contains(&count) {
        return Ok(INVALID);
    }
    let (memory, state) = memory::split(&mut caller);
    let at = |index: i32| subscriptions.wrapping_add(index * SUBSCRIPTION_BYTES);
    let all = (0..count).map(|index| read(memory, state, at(index))).collect::<wasmtime::Result<Vec<_>>>()?;
    let first = all.iter().map(|one| one.wait.unwrap_or_default()).min().unwrap_or_default();
    wait(state, first)?;
    let mut written = 0i32;
    for one in all.iter().filter(|one| one.wait.is_none_or(|wait| wait <= first)) {
        write(memory, events.wrapping_add(written * EVENT_BYTES), one)?;
        written += 1;
    }
    memory::put(memory, ready, written.to_le_bytes())?;
    Ok(SUCCESS)
}

fn read(memory: &[u8], state: &mut State, at: i32) -> wasmtime::Result<Subscription> {
    let field = |offset: i32| at.wrapping_add(offset);
    let user_data = memory::get(memory, at)?;
    let [kind] = memory::get(memory, field(8))?;
    if kind != CLOCK {
        return Ok(Subscription { user_data, kind, wait: None });
    }
    let clock = i32::from_le_bytes(memory::get(memory, field(16))?);
    let timeout = u64::from_le_bytes(memory::get(memory, field(24))?);
    let flags = u16::from_le_bytes(memory::get(memory, field(40))?);
    let nanoseconds = match (flags & ABSOLUTE != 0, clock) {
        (false, _) => timeout,
        (true, REALTIME) => timeout.saturating_sub(time_of_day(state)),
        (true, _) => timeout.saturating_sub(time_passed(state)),
    };
    Ok(Subscription { user_data, kind, wait: Some(Duration::from_nanos(nanoseconds)) })
}

fn wait(state: &mut State, duration: Duration) -> wasmtime::Result<()> {
    let shell = &mut state.host.shell;
    match &mut shell.counted_time {
        Some(time) => time.jump_by(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        // The host does not see the deadline while it waits.
        None if duration > shell.wait_max => return Err(WaitedTooLong.into()),
        None => std::thread::sleep(duration),
    }
    Ok(())
}

fn write(memory: &mut [u8], at: i32, subscription: &Subscription) -> wasmtime::Result<()> {
    let error = if subscription.wait.is_some() { SUCCESS } else { BAD_DESCRIPTOR };
    let event = memory::bytes_mut(memory, at, EVENT_BYTES as usize)?;
    event.fill(0);
    event[..8].copy_from_slice(&subscription.user_data);
    event[8..10].copy_from_slice(&(error as u16).to_le_bytes());
    event[10] = subscription.kind;
    Ok(())
}
