use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmparser::WasmFeatures;
use wasmtime::{Config, Strategy};

use crate::cache;
use crate::compile::CompilerProgram;
use crate::words;

/// The epoch advances this often: the grain of every deadline.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What the stack of a plugin may take, in bytes. Worker threads need this and some more.
const STACK_BYTES_MAX: usize = 512 << 10;

/// What is told of an error, in bytes.
const ERROR_BYTES_MAX: usize = 4 << 10;

/// How to set up an [`Engine`].
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// Where compiled plugins are kept, so that the next start does not compile them again; none: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// Who compiles into that directory; none: this process.
    pub compiler: Option<CompilerProgram>,
}

/// Why there is no [`Engine`].
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The cache directory cannot be made or used.
    #[error("compile cache {}: {reason}", path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// wasmtime does not run on this machine.
    #[error("cannot start wasmtime: {0}")]
    Wasmtime(String),
}

/// The compiler and the clock of all plugins: one a process, cheap to clone, shared by all threads.
///
/// A thread of its own advances the epoch, by which deadlines are kept; it ends with the last clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    wasmtime: wasmtime::Engine,
    settings: EngineSettings,
    _ticker: Ticker,
}

impl Engine {
    /// Starts the engine and its clock.
    ///
    /// # Errors
    /// The cache directory is unsafe or unusable, or wasmtime does not support the machine.
    pub fn new(settings: &EngineSettings) -> Result<Engine, EngineError> {
        let mut config = config();
        if let Some(path) = &settings.cache_dir {
            config.cache(Some(cache::open(path)?));
        }
        let wasmtime = wasmtime::Engine::new(&config).map_err(|error| EngineError::Wasmtime(one_line(&error)))?;
        let ticker = Ticker::start(wasmtime.clone()).map_err(|error| EngineError::Wasmtime(error.to_string()))?;
        Ok(Engine { inner: Arc::new(Inner { wasmtime, settings: settings.clone(), _ticker: ticker }) })
    }

    /// Who compiles, if it is not this process.
    pub(crate) fn compiler(&self) -> Option<&CompilerProgram> {
        self.inner.settings.compiler.as_ref()
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.wasmtime
    }
}

/// What plugins may use of WebAssembly, and how it runs.
///
/// Proposals that no supported language needs are off: each is code in the compiler that an attacker could reach.
/// Exceptions, GC, stack switching and threads are not even compiled into wasmtime (see the workspace's Cargo.toml).
fn config() -> Config {
    let mut config = Config::new();
    config.strategy(Strategy::Cranelift);
    // Halves the cost of a call; plugins have nothing to be concurrent with.
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_BYTES_MAX);
    config.wasm_simd(true);
    config.wasm_relaxed_simd(false);
    config.wasm_memory64(false);
    // For what wasmtime itself puts between components in a component, such as those that JavaScript's tools make.
    config.wasm_multi_memory(true);
    config.wasm_tail_call(false);
    config.wasm_wide_arithmetic(false);
    config.wasm_custom_page_sizes(false);
    // wasmtime has methods for these only where GC is compiled in; without them, what needs no collector would stay on.
    config.wasm_features(WasmFeatures::GC | WasmFeatures::FUNCTION_REFERENCES, false);
    config
}

/// A deadline in ticks, rounded up, and one more for the tick under way: no call gets less than its deadline.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX / 2) + 1
}

/// An error of wasmtime with its causes, on one line. What it names may be a plugin's own words.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    words::one_line(&format!("{error:#}"), ERROR_BYTES_MAX)
}

/// The thread that advances the epoch.
struct Ticker {
    stop: Option<Sender<()>>,
    thread: OnceLock<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Ticker> {
        let (stop, stopped) = channel::<()>();
        let tick = move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        };
        let thread = std::thread::Builder::new().name("epoch".into()).spawn(tick)?;
        Ok(Ticker { stop: Some(stop), thread: OnceLock::from(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It only counts; it cannot have panicked.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiles(core: &str) -> bool {
        let engine = Engine::new(&EngineSettings::default()).unwrap();
        let wasm = wat::parse_str(format!("(component (core module {core}))")).unwrap();
        wasmtime::component::Component::new(engine.wasmtime(), wasm).is_ok()
    }

    #[test]
    fn the_proposals_that_plugins_may_use() {
        assert!(compiles("(func (result v128) v128.const i64x2 1 2)"), "simd");
        assert!(compiles("(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))"), "bulk memory");
        assert!(compiles("(table 1 funcref) (func (result i32) (table.size 0))"), "reference types");
        assert!(compiles("(func (result i32 i32) i32.const 1 i32.const 2)"), "multi-value");
        assert!(compiles("(memory 1) (memory 1)"), "multi-memory");
    }

    #[test]
    fn the_proposals_that_are_off() {
        for (proposal, core) in [
            ("threads", "(memory 1 1 shared)"),
            ("memory64", "(memory i64 1)"),
            ("tail calls", "(func $f return_call $f)"),
            ("exceptions", "(tag)"),
            ("gc", "(type (struct (field i32)))"),
            ("function references", "(type $f (func)) (func (param (ref $f)))"),
            ("externref", "(func (param externref))"),
            (
                "relaxed simd",
                "(func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))",
            ),
            ("wide arithmetic", "(func (param i64 i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 1)))"),
            ("custom page sizes", "(memory 1 (pagesize 1))"),
            ("stack switching", "(type $f (func)) (type $c (cont $f))"),
        ] {
            assert!(!compiles(core), "{proposal} is on");
        }
    }

    #[test]
    fn a_deadline_is_never_shortened_by_rounding() {
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(100)), 11);
        assert_eq!(ticks(Duration::from_millis(101)), 12);
        assert!(ticks(Duration::MAX) > 1 << 40);
    }
}
