//! Compiling a plugin: in a process of its own where there is one to be had, since the compiler takes some 80 MiB that
//! this process would keep, cannot be interrupted, and works on hostile bytes.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use wasmtime::Module;
use wasmtime::component::Component;

use crate::artifact::{Artifact, Form, Interface};
use crate::engine::{Engine, one_line};
use crate::plugin::LoadError;
use crate::wrap::component_of;

/// A program that calls [`compile_into_cache`] with what it reads on its standard input, with the same cache directory,
/// and says on standard error what is wrong. Its exit code is 0 if nothing is.
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

/// What of the compiler's complaint is read.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// Compiles a plugin for the cache's sake alone. Takes seconds.
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

/// Has another process compile it into the cache. False: there is none to be had.
fn compile_elsewhere(engine: &Engine, bytes: &[u8], limit: Duration) -> Result<bool, LoadError> {
    let Some(CompilerProgram { program, arguments }) = engine.compiler() else {
        return Ok(false);
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
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
    let (send, receive) = sync_channel(1);
    thread::scope(|scope| {
        // It fails if the compiler ends early, which then says why.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(bytes)));
        scope.spawn(move || {
            let mut complaint = String::new();
            // Ends when the compiler does.
            let _ = stderr.map(|stderr| stderr.take(COMPLAINT_BYTES_MAX).read_to_string(&mut complaint));
            let _ = send.send(complaint);
        });
        let complaint = receive.recv_timeout(limit);
        if complaint.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| LoadError::Compile(error.to_string()))?;
        match complaint {
            Err(_) => Err(LoadError::CompileTime { max: limit }),
            Ok(_) if status.success() => Ok(()),
            Ok(complaint) if !complaint.trim().is_empty() => Err(LoadError::Compile(complaint.trim().to_owned())),
            Ok(_) => Err(LoadError::Compile(format!("the compiler ended with {status}"))),
        }
    })
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

/// Wraps and compiles, or finds it compiled. Wrapping is work on hostile bytes, too, and belongs where it cannot harm.
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
        let (result, _) = compile_by("kill -9 $$", limit);
        assert!(matches!(&result, Err(LoadError::Compile(why)) if why.contains("signal: 9")), "{result:?}");
        let (result, notes) = compile_by("exec sleep 600", Duration::from_millis(50));
        assert!(matches!(result, Err(LoadError::CompileTime { .. })) && notes == 0, "{result:?}");
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
