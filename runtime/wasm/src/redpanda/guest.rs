use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use sluicegate_core::{Batch, Outcomes};
use wasmtime::{ExternType, InstancePre, Linker, Memory, Module, Store, bail};

use super::work::{Handover, Work};
use super::world::World;
use super::{abi, wasi};
use crate::engine::{Engine, ticks};
use crate::guest::{Broken, fuel};
use crate::host::{self, Setting};
use crate::instance::InstanceLimits;

/// Where a command begins.
const START: &str = "_start";
const MEMORY: &str = "memory";

/// A module whose imports are linked: everything that instances share.
pub(crate) struct Linked {
    pre: InstancePre<State>,
}

impl Linked {
    /// # Errors
    /// The module is no command with a memory, or what it imports is of another type than the ABI says.
    pub(crate) fn new(engine: &Engine, module: &Module) -> wasmtime::Result<Linked> {
        match module.get_export(START) {
            Some(ExternType::Func(start)) if start.params().len() == 0 && start.results().len() == 0 => {}
            _ => bail!("it exports no function {START} without parameters and results"),
        }
        if !matches!(module.get_export(MEMORY), Some(ExternType::Memory(_))) {
            bail!("it exports no memory by the name {MEMORY}");
        }
        let mut linker = Linker::new(engine.wasmtime());
        abi::link(&mut linker, module)?;
        wasi::link(&mut linker, module)?;
        Ok(Linked { pre: linker.instantiate_pre(module)? })
    }
}

/// The data of one store.
pub(super) struct State {
    pub(super) host: host::State,
    pub(super) world: World,
    pub(super) handover: Arc<Handover>,
    /// The batch in the guest's hands.
    pub(super) work: Option<Work>,
    /// The timestamp of the record that was read last: what the guest's clock shows.
    pub(super) record_time_ms: Option<i64>,
    /// None until the module is instantiated.
    pub(super) memory: Option<Memory>,
    pub(super) started: Instant,
    /// For each batch.
    pub(super) deadline: Duration,
}

/// One live transform. Its `_start` never returns: it asks for batch after batch. So it runs on a stack of its own, which
/// is suspended where it asks, and goes on from there when there is another.
pub(crate) struct Guest {
    /// Owns the store; ready only once the guest has failed.
    run: Pin<Box<dyn Future<Output = Broken> + Send>>,
    handover: Arc<Handover>,
}

impl Guest {
    /// Runs the guest until it asks for its first batch.
    pub(crate) fn start(
        linked: &Linked,
        limits: &InstanceLimits,
        setting: Setting,
        world: World,
    ) -> Result<Guest, Broken> {
        let handover = Arc::new(Handover::default());
        let state = State {
            host: host::State::new(limits, setting),
            world,
            handover: Arc::clone(&handover),
            work: None,
            record_time_ms: None,
            memory: None,
            started: Instant::now(),
            deadline: limits.deadline,
        };
        let start_ticks = ticks(limits.start_time());
        let mut guest = Guest { run: Box::pin(run(linked.pre.clone(), state, start_ticks)), handover };
        match guest.resume() {
            Poll::Pending => Ok(guest),
            Poll::Ready(broken) => Err(broken),
        }
    }

    /// Gives the guest a batch, and runs it until it asks for the next.
    pub(crate) fn process(mut self, batch: &Batch, limits: &InstanceLimits) -> Result<(Guest, Outcomes), Broken> {
        self.handover.give(Work::of(batch, fuel(batch.len(), limits)));
        match self.resume() {
            Poll::Ready(broken) => Err(broken),
            Poll::Pending => {
                // It sleeps in one place only, and gives back there what it had.
                let work = self.handover.take_back().expect("a guest that waits has given its batch back");
                Ok((self, work.into_outcomes()))
            }
        }
    }

    fn resume(&mut self) -> Poll<Broken> {
        // Nothing wakes it: whoever gives it a batch polls it.
        self.run.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }
}

/// The whole life of a guest.
async fn run(pre: InstancePre<State>, state: State, start_ticks: u64) -> Broken {
    let mut store = Store::new(pre.module().engine(), state);
    store.limiter(|state| &mut state.host.limits);
    store.set_epoch_deadline(start_ticks);
    let error = match call_start(&pre, &mut store).await {
        Ok(()) => Ended.into(),
        Err(error) => error,
    };
    Broken { error, state: Box::new(store.into_data().host) }
}

async fn call_start(pre: &InstancePre<State>, store: &mut Store<State>) -> wasmtime::Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    store.data_mut().memory = instance.get_memory(&mut *store, MEMORY);
    let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
    start.call_async(store, ()).await
}

/// The guest's `main` returned.
#[derive(Debug, thiserror::Error)]
#[error("it ended instead of asking for records: its main has to end in the SDK's loop")]
struct Ended;
