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
const ENVIRONMENT: [&str; 5] =
    ["PATH", "LD_LIBRARY_PATH", "SystemRoot", "WASMTIME_BACKTRACE_DETAILS", "RAYON_NUM_THREADS"];
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
    if let Some(done) = engine.note_of(&artifact.digest)
        && !done.exists()
        && compile_elsewhere(engine, &bytes, limit)?
    {
        // Without it the next start compiles once more, elsewhere.
        if let Err(error) = std::fs::write(&done, []) {
            tracing::debug!("cannot note {} as compiled: {error}", done.display());
        }
    }
    compile_here(engine, (artifact.form, artifact.interface), bytes, limit)
}

/// Has another process compile it into the cache. False: there is no other process.
fn compile_elsewhere(engine: &Engine, bytes: &[u8], limit: Duration) -> Result<bool, LoadError> {
    let Some(CompilerProgram { program, arguments }) = engine.compiler() else {
        return Ok(false);
    };
    let environment = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => wait(child, bytes, limit).map(|()| true),
        Err(error) => {
            // As after an upgrade in place, which took the program away.
            tracing::debug!("cannot start {}: {error}; compiling here", program.display());
            Ok(false)
        }
    }
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
    // It has worked on hostile bytes, and may speak for them.
    words::one_line(&String::from_utf8_lossy(&complaint), COMPLAINT_BYTES_MAX as usize)
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

    fn compile_by(script: &str, limit: Duration) -> (Result<(), LoadError>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let cache_dir = folder.path().join("cache");
        let compiler = CompilerProgram { program: "sh".into(), arguments: vec!["-c".into(), script.into()] };
        let settings = EngineSettings { cache_dir: Some(cache_dir.clone()), compiler: Some(compiler) };
        let engine = Engine::new(&settings).unwrap();
        let (artifact, bytes) = component();
        let result = compile(&engine, &artifact, bytes, limit).map(drop);
        let names = std::fs::read_dir(cache_dir).unwrap().map(|entry| entry.unwrap().file_name());
        (result, names.filter(|name| name.to_string_lossy().starts_with(&artifact.digest)).count())
    }

    #[test]
    fn the_compiler_may_be_another_process() {
        let limit = Duration::from_secs(60);
        // Gets all bytes, and its success is noted, as that of no failure is.
        let all = format!("[ $(wc -c) = {} ]", component().1.len());
        let (result, notes) = compile_by(&all, limit);
        assert!(result.is_ok() && notes == 1, "{result:?}, {notes}");
        let (result, notes) = compile_by("echo 'no such opcode' >&2; exit 1", limit);
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why == "no such opcode") && notes == 0, "{result:?}");
        let (result, _) = compile_by("printf 'no\\033[2J\\nway' >&2; exit 1", limit);
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why == "no\\u{1b}[2J way"), "{result:?}");
        let (result, _) = compile_by("kill -9 $$", limit);
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why.contains("signal: 9")), "{result:?}");
    }

    #[test]
    fn the_compiler_is_ended_when_its_time_is_over() {
        // Whether it is silent, says that it has nothing more to say, or does not stop talking.
        for script in ["exec sleep 60", "exec sleep 60 2>&-", "exec cat /dev/zero >&2"] {
            let (result, notes) = compile_by(script, Duration::from_millis(50));
            assert!(matches!(result, Err(LoadError::CompileTime { .. })) && notes == 0, "{script}: {result:?}");
        }
    }

    #[test]
    fn the_compiler_may_say_much() {
        let limit = Duration::from_secs(60);
        let (result, notes) = compile_by("exec head -c 1000000 /dev/zero >&2", limit);
        assert!(result.is_ok() && notes == 1, "{result:?}, {notes}");
        let (result, _) = compile_by("echo 'no such opcode' >&2; head -c 1000000 /dev/zero >&2; exit 1", limit);
        let beginning =
            |why: &str| why.starts_with("no such opcode \\u{0}") && why.len() as u64 <= COMPLAINT_BYTES_MAX + 99;
        assert!(matches!(&result, Err(LoadError::Compile(why)) if beginning(why)), "{result:?}");
    }

    #[test]
    fn the_compiler_is_not_given_the_environment() {
        // Cargo gives this to tests; a shell adds some of its own to what it is given.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let (result, _) = compile_by("echo \"secret: $CARGO_MANIFEST_DIR.\" >&2; exit 1", Duration::from_secs(60));
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why == "secret: ."), "{result:?}");
    }

    #[test]
    fn without_the_compiler_it_is_done_here() {
        let folder = tempfile::tempdir().unwrap();
        let compiler = CompilerProgram { program: folder.path().join("gone"), arguments: Vec::new() };
        let settings = EngineSettings { cache_dir: Some(folder.path().join("cache")), compiler: Some(compiler) };
        let engine = Engine::new(&settings).unwrap();
        let (artifact, bytes) = component();
        compile(&engine, &artifact, bytes, Duration::from_secs(60)).unwrap();
    }
}
