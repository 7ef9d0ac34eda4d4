//! Lines in the runtime's log: `log::info!("{} rules", rules.len())`.
//!
//! The runtime attaches pipeline, stage, partition and plugin version, and limits the rate. A line crosses the boundary
//! when it is written, so one a record costs far more than the record; use [`count`](crate::count) for what is usual.

use std::fmt;

pub use crate::__debug as debug;
pub use crate::__error as error;
pub use crate::__info as info;
pub use crate::__trace as trace;
pub use crate::__warn as warn;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every step, for who follows one record.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Wrong, and gone on with.
    Warn,
    /// Wrong, and given up.
    Error,
}

/// Writes one line; the macros of this module are shorter.
pub fn log(level: Level, line: fmt::Arguments<'_>) {
    write(level, &line.to_string());
}

#[cfg(target_family = "wasm")]
fn write(level: Level, line: &str) {
    use crate::bindings::sluicegate::plugin::log;
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::log(level, line);
}

// Tests have no runtime; the test harness of Rust shows what a failing test has printed.
#[cfg(not(target_family = "wasm"))]
fn write(level: Level, line: &str) {
    println!("{level:?}: {line}");
}

#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($line:tt)*) => { $crate::log::log($crate::log::Level::Trace, ::std::format_args!($($line)*)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($line:tt)*) => { $crate::log::log($crate::log::Level::Debug, ::std::format_args!($($line)*)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($line:tt)*) => { $crate::log::log($crate::log::Level::Info, ::std::format_args!($($line)*)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($line:tt)*) => { $crate::log::log($crate::log::Level::Warn, ::std::format_args!($($line)*)) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($line:tt)*) => { $crate::log::log($crate::log::Level::Error, ::std::format_args!($($line)*)) };
}
