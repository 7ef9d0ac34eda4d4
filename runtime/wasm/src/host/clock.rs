use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Duration, Host, Instant};

use crate::allow::CountedTime;
use crate::host::State;

/// `wasi:clocks/monotonic-clock`: the machine's, or one that only counts. On the latter a wait ends at once and moves the
/// clock as far as it was to last: a plugin cannot tell how fast this machine is.
pub(crate) struct Monotonic<'a> {
    machine: WasiClocksCtxView<'a>,
    counted: Option<&'a mut CountedTime>,
}

struct MonotonicClock;

impl HasData for MonotonicClock {
    type Data<'a> = Monotonic<'a>;
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    monotonic_clock::add_to_linker::<State, MonotonicClock>(linker, |state| {
        let shell = &mut state.shell;
        Monotonic {
            machine: WasiClocksCtxView { ctx: shell.wasi.clocks(), table: &mut shell.table },
            counted: shell.counted_time.as_mut(),
        }
    })
}

impl Host for Monotonic<'_> {
    fn now(&mut self) -> wasmtime::Result<Instant> {
        match &mut self.counted {
            Some(time) => Ok(time.read()),
            None => self.machine.now(),
        }
    }

    fn resolution(&mut self) -> wasmtime::Result<Duration> {
        match self.counted {
            Some(_) => Ok(CountedTime::TICK_NS),
            None => self.machine.resolution(),
        }
    }

    fn subscribe_instant(&mut self, when: Instant) -> wasmtime::Result<Resource<DynPollable>> {
        match &mut self.counted {
            Some(time) => {
                time.jump_to(when);
                self.machine.subscribe_duration(0)
            }
            None => self.machine.subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: Duration) -> wasmtime::Result<Resource<DynPollable>> {
        match &mut self.counted {
            Some(time) => {
                time.jump_by(duration);
                self.machine.subscribe_duration(0)
            }
            None => self.machine.subscribe_duration(duration),
        }
    }
}
