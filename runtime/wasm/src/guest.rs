use std::time::Duration;

use sluicegate_core::{Batch, Outcomes, OutputLimits};
use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::artifact::Interface;
use crate::bindings::batched::{Batched, BatchedIndices};
use crate::bindings::common::exports::sluicegate::plugin::lifecycle::Description;
use crate::bindings::common::{Common, CommonIndices};
use crate::bindings::single::exports::sluicegate::plugin::transform as single;
use crate::bindings::single::{Single, SingleIndices};
use crate::call;
use crate::engine::{Engine, ticks};
use crate::host::{self, Setting, State};
use crate::instance::InstanceLimits;

/// Starting takes longer than a call: initialisers run, interpreters build their world. This much it always gets.
pub(crate) const START_TIME_MIN: Duration = Duration::from_secs(1);
/// What a guest may return from `describe` and `configure`, in bytes.
const START_FUEL: usize = 4 << 20;
/// Upper bound of what one output takes on the host beside its bytes, in either interface.
pub(crate) const OUTPUT_OVERHEAD_BYTES: usize = 160;
/// What a record may return beside its outputs: the reason it is rejected for.
const RECORD_OVERHEAD_BYTES: usize = 64 << 10;

/// A component whose imports are linked and whose exports are found: everything that instances share.
pub(crate) struct Linked {
    pre: InstancePre<State>,
    common: CommonIndices,
    calls: CallIndices,
}

enum CallIndices {
    Single(SingleIndices),
    Batched(BatchedIndices),
}

impl Linked {
    pub(crate) fn new(engine: &Engine, component: &Component, interface: Interface) -> wasmtime::Result<Linked> {
        let mut linker = Linker::new(engine.wasmtime());
        host::link(&mut linker)?;
        let pre = linker.instantiate_pre(component)?;
        let common = CommonIndices::new(&pre)?;
        let calls = match interface == Interface::BatchTransform {
            true => CallIndices::Batched(BatchedIndices::new(&pre)?),
            false => CallIndices::Single(SingleIndices::new(&pre)?),
        };
        Ok(Linked { pre, common, calls })
    }
}

/// One live component in a store of its own: stores never shrink, and a component that trapped cannot be entered again.
pub(crate) struct Guest {
    store: Store<State>,
    common: Common,
    calls: Calls,
    deadline_ticks: u64,
    start_ticks: u64,
}

enum Calls {
    Single(Single),
    Batched(Batched),
}

/// A guest that failed: why, and what its store remembers of it.
pub(crate) struct Broken {
    pub(crate) error: wasmtime::Error,
    pub(crate) state: Box<State>,
}

impl Guest {
    pub(crate) fn start(linked: &Linked, limits: &InstanceLimits, setting: Setting) -> Result<Guest, Broken> {
        let mut store = Store::new(linked.pre.engine(), State::new(limits, setting));
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(START_FUEL);
        store.set_epoch_deadline(ticks(limits.start_time()));
        let guest = linked.pre.instantiate(&mut store).and_then(|instance| {
            let common = linked.common.load(&mut store, &instance)?;
            let calls = match &linked.calls {
                CallIndices::Single(indices) => Calls::Single(indices.load(&mut store, &instance)?),
                CallIndices::Batched(indices) => Calls::Batched(indices.load(&mut store, &instance)?),
            };
            Ok((common, calls))
        });
        match guest {
            Ok((common, calls)) => Ok(Guest {
                store,
                common,
                calls,
                deadline_ticks: ticks(limits.deadline),
                start_ticks: ticks(limits.start_time()),
            }),
            Err(error) => Err(Broken { error, state: Box::new(store.into_data()) }),
        }
    }

    /// Takes the data out of a store that is no longer needed.
    pub(crate) fn break_with(self, error: wasmtime::Error) -> Broken {
        Broken { error, state: Box::new(self.store.into_data()) }
    }

    pub(crate) fn describe(&mut self) -> wasmtime::Result<Description> {
        self.store.set_epoch_deadline(self.start_ticks);
        self.common.sluicegate_plugin_lifecycle().call_describe(&mut self.store)
    }

    pub(crate) fn configure(&mut self, config: &str, outputs: &[&str]) -> wasmtime::Result<Result<(), String>> {
        self.store.set_epoch_deadline(self.start_ticks);
        self.common.sluicegate_plugin_lifecycle().call_configure(&mut self.store, config, outputs)
    }

    pub(crate) fn process(mut self, batch: &Batch, limits: &InstanceLimits) -> Result<(Guest, Outcomes), Broken> {
        match self.call_process(batch, limits) {
            Ok(outcomes) => Ok((self, outcomes)),
            Err(error) => Err(self.break_with(error)),
        }
    }

    fn call_process(&mut self, batch: &Batch, limits: &InstanceLimits) -> wasmtime::Result<Outcomes> {
        self.store.data_mut().begin(&batch.partition, limits.deadline);
        let outcomes = match &self.calls {
            Calls::Batched(guest) => {
                self.store.set_hostcall_fuel(fuel(batch.len(), limits));
                self.store.set_epoch_deadline(self.deadline_ticks);
                let batch = call::lower_batch(batch);
                let lifted = guest.sluicegate_plugin_batch_transform().call_process(&mut self.store, batch)?;
                call::take_outcomes(lifted)
            }
            Calls::Single(guest) => process_each(guest, &mut self.store, batch, limits, self.deadline_ticks)?,
        };
        self.store.data_mut().log_stderr();
        Ok(outcomes)
    }
}

/// One call a record; what they may return together is bounded as for one call a batch.
fn process_each(
    guest: &Single,
    store: &mut Store<State>,
    batch: &Batch,
    limits: &InstanceLimits,
    deadline_ticks: u64,
) -> wasmtime::Result<Outcomes> {
    let mut outcomes = Outcomes::default();
    let fuel = fuel(batch.len(), limits);
    for row in batch.rows() {
        store.set_hostcall_fuel(fuel.saturating_sub(taken(&outcomes)).min(allowance(&limits.output)));
        store.set_epoch_deadline(deadline_ticks);
        let process = |input: single::Input<'_>| guest.sluicegate_plugin_transform().call_process(&mut *store, input);
        let outcome = call::lower_record(&batch.partition, &row, process)?;
        call::push_outcome(outcome, &row, &mut outcomes);
    }
    Ok(outcomes)
}

/// What these outcomes take already.
fn taken(outcomes: &Outcomes) -> usize {
    let Outcomes { keys, values, headers, .. } = outcomes;
    let bytes = [keys, values, &headers.keys, &headers.values].map(|column| column.data.len()).iter().sum::<usize>();
    bytes + outcomes.to.len() * OUTPUT_OVERHEAD_BYTES
}

/// How many bytes may be lifted from one call. Lists are charged before they are copied.
///
/// An honest result lies in the guest's own memory; twice that covers the host's larger headers of lists and strings.
/// Only lists that overlap could ask for more.
pub(crate) fn fuel(records: usize, limits: &InstanceLimits) -> usize {
    let all = records.saturating_mul(allowance(&limits.output));
    all.min(limits.memory_bytes.saturating_mul(2)).min(i32::MAX as usize)
}

fn allowance(limits: &OutputLimits) -> usize {
    let overhead = (limits.outputs_per_record as usize).saturating_mul(OUTPUT_OVERHEAD_BYTES);
    limits.bytes_per_record.saturating_add(overhead).saturating_add(RECORD_OVERHEAD_BYTES)
}
