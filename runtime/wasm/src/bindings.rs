//! Generated from `wit/`: parameters borrow from the batch and are copied once, into the guest's memory; results are
//! lifted once, into the very vectors that become the outcomes.

// Generated code: the derives implement wasmtime's unsafe traits. The contract is documented in plugin.wit.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]

pub(crate) mod common {
    wasmtime::component::bindgen!({
        path: ["../../wit", "wit"],
        world: "sluicegate:host/common",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) mod single {
    wasmtime::component::bindgen!({
        path: ["../../wit", "wit"],
        world: "sluicegate:host/single",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) mod batched {
    wasmtime::component::bindgen!({
        path: ["../../wit", "wit"],
        world: "sluicegate:host/batched",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
