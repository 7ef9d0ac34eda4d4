//! Compiles a plugin, in another process wherever possible: the compiler takes some 80 MiB that this process would keep,
//! cannot be interrupted, and works on hostile bytes.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::Module;
use wasmtime::component::Component;

use crate::artifact::{Artifact, Form, Interface};
use crate::engine::{Engine, one_line};
use crate::plugin::LoadError;
use crate::words;
use crate::wrap::component_of;

/// A program that gives its standard input to [`compile_into_cache`], over the same cache directory. It exits with 0 if that
/// succeeds, and else says on standard error what is wrong. It gets next to nothing of the environment.
#[derive(Clone, Debug)]
pub struct CompilerProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// A compiled plugin.
pub(crate) enum Code {
    /// One that keeps to `plugin.wit`.
    Component(Component),
    /// One that keeps to Redpanda's ABI.
    Module(Module),
}

/// What the compiler gets of the environment: where it and its libraries are, and what wasmtime and rayon read, so that
/// it compiles as this process would. The rest may hold secrets, and it works on hostile bytes.
const ENVIRONMENT: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "SystemRoot", "WASMTIME_BACKTRACE_DETAILS", THREADS];
/// Its threads, and how many there are unless the user says: each takes some of the memory that it may have.
const THREADS: &str = "RAYON_NUM_THREADS";
const THREADS_MAX: usize = 16;
/// How much of the compiler's complaint is kept, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4096;
/// How often to ask whether it has ended: short beside what it takes.
const END_POLL: Duration = Duration::from_millis(5);

/// Compiles a plugin only to leave what comes of it in the cache. Takes seconds.
///
/// # Errors
/// Why the compiler refuses it, in a line.
pub fn compile_into_cache(engine: &Engine, bytes: &[u8]) -> Result<(), String> {
    let Artifact { form, interface, .. } = Artifact::read(bytes).map_err(|error| error.to_string())?;
    new_code(engine, form, interface, bytes).map(drop)
}

/// The compiled plugin whose file has these bytes, from the cache if it is there.
pub(crate) fn compile(
    engine: &Engine,
    artifact: &Artifact,
    bytes: Vec<u8>,
    limit: Duration,
) -> Result<Code, LoadError> {
    // Each time: whether the cache still has it, only the compiler can tell, and for what is there it takes moments.
    if let Some(compiler) = engine.compiler() {
        compile_elsewhere(compiler, &bytes, limit)?;
    }
    compile_here(engine, (artifact.form, artifact.interface), bytes, limit)
}

/// Has another process compile it into the cache.
fn compile_elsewhere(compiler: &CompilerProgram, bytes: &[u8], limit: Duration) -> Result<(), LoadError> {
    let CompilerProgram { program, arguments } = compiler;
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX));
    let environment = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env(THREADS, threads.to_string()).envs(environment);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn();
    let child = child.map_err(|error| LoadError::Compile(format!("cannot start {}: {error}", program.display())))?;
    wait(child, bytes, limit)
}

fn wait(mut child: Child, bytes: &[u8], limit: Duration) -> Result<(), LoadError> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let (end, complaint) = thread::scope(|scope| {
        // It fails if the compiler ends early, which then says why.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(bytes)));
        let complaint = scope.spawn(move || stderr.map(complaint_of).unwrap_or_default());
        (end_of(&mut child, limit), complaint.join().unwrap_or_default())
    });
    match end.map_err(|error| LoadError::Compile(error.to_string()))? {
        None => Err(LoadError::CompileTime { max: limit }),
        Some(status) if status.success() => Ok(()),
        Some(status) if complaint.is_empty() => Err(LoadError::Compile(format!("the compiler ended with {status}"))),
        Some(_) => Err(LoadError::Compile(complaint)),
    }
}

/// The beginning of what the compiler says. The rest is read too: a compiler that nobody reads waits, or fails.
fn complaint_of(mut stderr: ChildStderr) -> String {
    let mut complaint = Vec::new();
    // Both end when the compiler does, at the latest.
    let _ = stderr.by_ref().take(COMPLAINT_BYTES_MAX).read_to_end(&mut complaint);
    let _ = io::copy(&mut stderr, &mut io::sink());
    let complaint = String::from_utf8_lossy(&complaint);
    // Rust's own words, if it ran out of memory, end with advice for whoever develops it.
    let complaint = complaint.split("\nnote: run with").next().unwrap_or_default();
    // It has worked on hostile bytes, and may speak for them.
    words::one_line(complaint, COMPLAINT_BYTES_MAX as usize)
}

/// How the compiler ended; none if its time was over and it was killed.
fn end_of(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(END_POLL);
    }
    // Fails if it has ended just now.
    let _ = child.kill();
    child.wait().map(|_| None)
}

/// On a thread of its own, since nothing can interrupt the compiler: one that takes too long is left to finish, and its
/// result is dropped.
fn compile_here(
    engine: &Engine,
    (form, interface): (Form, Interface),
    bytes: Vec<u8>,
    limit: Duration,
) -> Result<Code, LoadError> {
    let (send, receive) = sync_channel(1);
    let engine = engine.clone();
    let compile = move || {
        // The receiver may be gone by then.
        let _ = send.send(new_code(&engine, form, interface, &bytes));
    };
    let thread = thread::Builder::new().name("compile".into()).spawn(compile);
    thread.map_err(|error| LoadError::Compile(error.to_string()))?;
    match receive.recv_timeout(limit) {
        Ok(result) => result.map_err(LoadError::Compile),
        Err(RecvTimeoutError::Timeout) => Err(LoadError::CompileTime { max: limit }),
        Err(RecvTimeoutError::Disconnected) => Err(LoadError::Compile("the compiler crashed".into())),
    }
}

/// Wraps and compiles a plugin, or finds it in the cache. Wrapping works on hostile bytes too, and belongs where that does
/// no harm.
fn new_code(engine: &Engine, form: Form, interface: Interface, bytes: &[u8]) -> Result<Code, String> {
    let engine = engine.wasmtime();
    let code = match (interface, form) {
        (Interface::Redpanda, _) => Module::new(engine, bytes).map(Code::Module),
        (_, Form::Component) => Component::new(engine, bytes).map(Code::Component),
        (_, Form::Module) => {
            let component = component_of(bytes).map_err(|error| error.to_string())?;
            Component::new(engine, component).map(Code::Component)
        }
    };
    code.map_err(|error| one_line(&error))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::engine::EngineSettings;

    /// What compiles; that it is no plugin shows when it is linked.
    fn component() -> (Artifact, Vec<u8>) {
        let bytes = wat::parse_str(
            "(component (instance $i)
                (export \"sluicegate:plugin/lifecycle@0.1.0\" (instance $i))
                (export \"sluicegate:plugin/transform@0.1.0\" (instance $i)))",
        );
        let bytes = bytes.unwrap();
        (Artifact::read(&bytes).unwrap(), bytes)
    }

    fn compile_by(script: &str, limit: Duration) -> Result<(), LoadError> {
        let arguments = vec!["-c".into(), script.into()];
        compile_with(CompilerProgram { program: "sh".into(), arguments }, limit)
    }

    fn compile_with(compiler: CompilerProgram, limit: Duration) -> Result<(), LoadError> {
        let folder = tempfile::tempdir().unwrap();
        let settings = EngineSettings { cache_dir: Some(folder.path().join("cache")), compiler: Some(compiler) };
        let engine = Engine::new(&settings).unwrap();
        let (artifact, bytes) = component();
        compile(&engine, &artifact, bytes, limit).map(drop)
    }

    #[test]
    fn the_compiler_may_be_another_process() {
        let limit = Duration::from_secs(60);
        // It gets all bytes.
        compile_by(&format!("[ $(wc -c) = {} ]", component().1.len()), limit).unwrap();
        let result = compile_by("echo 'no such opcode' >&2; exit 1", limit);
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why == "no such opcode"), "{result:?}");
        let result = compile_by("printf 'no\\033[2J\\nway' >&2; exit 1", limit);
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why == "no\\u{1b}[2J way"), "{result:?}");
        let result = compile_by("kill -9 $$", limit);
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why.contains("signal: 9")), "{result:?}");
    }

    #[test]
    fn the_compiler_is_ended_when_its_time_is_over() {
        // Whether it is silent, says that it has nothing more to say, or does not stop talking.
        for script in ["exec sleep 60", "exec sleep 60 2>&-", "exec cat /dev/zero >&2"] {
            let result = compile_by(script, Duration::from_millis(50));
            assert!(matches!(result, Err(LoadError::CompileTime { .. })), "{script}: {result:?}");
        }
    }

    #[test]
    fn the_compiler_may_say_much() {
        let limit = Duration::from_secs(60);
        compile_by("exec head -c 1000000 /dev/zero >&2", limit).unwrap();
        let result = compile_by("echo 'no such opcode' >&2; head -c 1000000 /dev/zero >&2; exit 1", limit);
        let beginning =
            |why: &str| why.starts_with("no such opcode \\u{0}") && why.len() as u64 <= COMPLAINT_BYTES_MAX + 99;
        assert!(matches!(&result, Err(LoadError::Compile(why)) if beginning(why)), "{result:?}");
    }

    #[test]
    fn the_compiler_is_not_given_the_environment() {
        // Cargo gives this to tests; a shell adds some of its own to what it is given.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let result = compile_by("echo \"secret: $CARGO_MANIFEST_DIR.\" >&2; exit 1", Duration::from_secs(60));
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why == "secret: ."), "{result:?}");
    }

    #[test]
    fn a_compiler_that_cannot_be_started_is_not_done_without() {
        let compiler = CompilerProgram { program: "no-such-program".into(), arguments: Vec::new() };
        let result = compile_with(compiler, Duration::from_secs(60));
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why.contains("cannot start no-such")), "{result:?}");
    }
}
