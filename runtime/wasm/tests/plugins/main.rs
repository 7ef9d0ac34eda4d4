//! Real guests in the real sandbox.

mod allow;
mod calls;
mod failures;
mod guests;
mod load;
mod modules;
mod pipeline;
mod redpanda;
