//! The log as its users see it: through the seams, [`sluicegate_local::Writer`] and [`sluicegate_local::Reader`].

mod delivery;
mod fidelity;
mod kill;
mod ownership;
mod reading;
mod retention;
mod support;
mod throughput;
