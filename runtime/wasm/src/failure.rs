use sluicegate_core::{Failure, FailureKind, OutputLimits};
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::engine::one_line;
use crate::guest::START_TIME_MIN;
use crate::host::State;
use crate::host::wasi::WaitedTooLong;
use crate::instance::InstanceLimits;
use crate::words::clean;

/// The most that a reason says, in bytes.
const REASON_BYTES_MAX: usize = 1 << 10;

/// A guest handed over more than one call may return.
#[derive(Debug, thiserror::Error)]
#[error("more output than the limits allow")]
pub(crate) struct TooMuchOutput;

/// Why a call failed, in words for a person. Takes the plugin's own last words out of `state`.
pub(crate) fn classify(error: &wasmtime::Error, state: &mut State, limits: &InstanceLimits) -> Failure {
    let words = last_words(state);
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) || error.is::<WaitedTooLong>() {
        let reason = format!("the call took longer than limits.deadline, {:?}", limits.deadline);
        return Failure::new(FailureKind::Deadline, reason);
    }
    if is_out_of_fuel(error) || error.is::<TooMuchOutput>() {
        let OutputLimits { outputs_per_record, bytes_per_record, .. } = limits.output;
        let reason = format!(
            "returned more than limits.output-bytes-per-record, {bytes_per_record}, \
             and limits.outputs-per-record, {outputs_per_record}, can allow"
        );
        return Failure::new(FailureKind::TooMuchOutput, reason);
    }
    if let Some(refusal) = state.limits.refusal {
        return Failure::new(FailureKind::Memory, with(refusal.to_string(), words));
    }
    match trap {
        Some(trap) => Failure::new(FailureKind::Trap, with(name(*trap), words)),
        None if error.is::<I32Exit>() => Failure::new(FailureKind::Trap, with("called exit".into(), words)),
        // Raised while the guest ran, so by something that it called.
        None if error.is::<WasmBacktrace>() => {
            let cause = clean(&error.root_cause().to_string(), REASON_BYTES_MAX);
            Failure::new(FailureKind::Trap, with(cause, words))
        }
        // Raised while the result was read.
        None => Failure::new(FailureKind::Malformed, clean(&one_line(error), REASON_BYTES_MAX)),
    }
}

/// The same for what an instance does before its first batch, when it has more time.
pub(crate) fn classify_start(error: &wasmtime::Error, state: &mut State, limits: &InstanceLimits) -> Failure {
    let failure = classify(error, state, limits);
    if failure.kind == FailureKind::Deadline && limits.deadline < START_TIME_MIN {
        let reason = format!("not done after {START_TIME_MIN:?}, which a start gets where limits.deadline is shorter");
        return Failure::new(FailureKind::Deadline, reason);
    }
    failure
}

/// What the plugin said last before it failed: its log, else its standard error.
fn last_words(state: &mut State) -> Option<String> {
    let stderr = state.shell.stderr.take();
    if let Some(line) = &stderr {
        state.log.line(tracing::Level::WARN, line);
    }
    state.log.last_error().or(stderr.map(|line| clean(&line, REASON_BYTES_MAX)))
}

fn with(reason: String, words: Option<String>) -> String {
    match words {
        Some(words) => format!("{reason}: {words}"),
        None => reason,
    }
}

/// wasmtime does not export this error's type; a test makes sure that its words stay the same.
fn is_out_of_fuel(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}

fn name(trap: Trap) -> String {
    match trap {
        // What every language compiles a panic or an abort to.
        Trap::UnreachableCodeReached => "aborted".into(),
        Trap::StackOverflow => "the call stack is exhausted".into(),
        // Languages that keep a stack of their own in memory put it at the bottom.
        Trap::MemoryOutOfBounds => "out of bounds memory access, or a stack that is exhausted".into(),
        trap => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
    }
}
