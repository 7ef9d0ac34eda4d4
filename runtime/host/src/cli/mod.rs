//! The command line.

mod control;
mod dead_letters;
mod inspect;
mod letter;
mod pipe;
mod plugin;
mod records;
mod registry;
mod run;
mod test;
mod tls;
mod topics;
mod trust;
mod tryouts;

use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{CommandFactory, Parser, Subcommand};

use crate::console::{complain, write_out};
use crate::dev::live;
use crate::exit::Exit;
use crate::logging::{self, LogFormat};
use crate::{app, config, demo};

/// A stream processor whose logic is WebAssembly: it reads Kafka topics, runs sandboxed plugins on every record, and commits
/// an offset only once everything that the record caused is durable downstream.
#[derive(Parser)]
#[command(
    name = "sluicegate",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 cannot reach the broker or a registry, 70 a promise could not be kept, 130 ended by a second signal."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The format of log lines, which go to standard error.
    #[arg(long, global = true, value_enum, default_value_t, env = "SLUICEGATE_LOG_FORMAT")]
    log_format: LogFormat,
    /// What to log: error, warn, info, debug, or a filter such as 'info,librdkafka=debug'; by default info, or warn for
    /// commands that show what happens themselves.
    #[arg(long = "log", value_name = "FILTER", global = true, env = "SLUICEGATE_LOG")]
    log_filter: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// See it all at work in one process, with nothing to set up.
    Demo(demo::Options),
    /// Run pipelines until SIGINT or SIGTERM, then drain, commit and leave.
    Run(run::Options),
    /// Check pipelines and their plugins, without connecting to a broker.
    Validate {
        /// Pipeline files.
        #[arg(required = true)]
        pipelines: Vec<PathBuf>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what a plugin is, what it asks for, and whether a pipeline would accept it.
    Inspect(inspect::Inspect),
    /// Push a plugin to an OCI registry.
    Push(registry::Push),
    /// Fetch a plugin from an OCI registry.
    Pull(registry::Pull),
    /// Make a key pair for signing plugins.
    Keygen(trust::Keygen),
    /// Sign a plugin.
    Sign(trust::Sign),
    /// Check who signed a plugin.
    Verify(trust::Verify),
    /// Create a plugin project.
    New(plugin::New),
    /// Build a plugin project into one .wasm file.
    Build(plugin::Build),
    /// Run a plugin's cases, without a broker.
    Test(test::Test),
    /// Run a pipeline while you work on its plugins: they are built and swapped whenever you save, and every record is
    /// shown with what became of it.
    Dev(live::Options),
    /// Write JSON lines from standard input to a topic.
    Produce(records::Produce),
    /// Read a topic as JSON lines.
    Consume(records::Consume),
    /// List a pipeline's dead letters, look at them, and replay them.
    DeadLetters(dead_letters::DeadLetters),
    /// Swap the plugin of a stage in a running pipeline, while records flow.
    Load(control::Load),
    /// Go back to the version of a stage's plugin that ran before.
    Rollback(control::Rollback),
    /// Run another plugin beside a stage's, compare the results of both, and discard its own.
    Shadow(tryouts::Shadow),
    /// Run another plugin on a share of the records, and on all of them once it has done well.
    Canary(tryouts::Canary),
    /// Pause a running pipeline: it commits what is in flight and then runs nothing until 'resume'.
    Pause(control::Pause),
    /// Resume a paused pipeline.
    Resume(control::Pause),
    /// Show running pipelines, their plugins, and where they differ from their files.
    Status(control::Status),
    /// Show the changes made to a running pipeline: what, who, when, why, and how each ended.
    History(control::History),
    /// List, create and delete topics.
    Topics(topics::Topics),
    /// Compile the plugin on standard input into a cache folder.
    #[command(name = app::COMPILE, hide = true)]
    CompilePlugin {
        /// The folder.
        cache: PathBuf,
    },
    /// Print the JSON Schema of a pipeline file.
    Schema,
    /// Print the completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// What is logged unless the user says otherwise.
    fn log_filter(&self) -> &'static str {
        match self {
            Command::Run(options) if options.is_piped() => "warn",
            // It tells itself what becomes of changes.
            Command::Dev(_) => "warn,sluicegate::journal=error",
            _ => "info",
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = arguments.log_filter.as_deref().unwrap_or(arguments.command.log_filter());
    if let Err(message) = logging::start(arguments.log_format, filter) {
        return report(&Exit::usage(message));
    }
    match dispatch(arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(exit) => report(&exit),
    }
}

fn dispatch(command: Command) -> Result<u8, Exit> {
    match command {
        Command::Demo(options) => demo::run(&options)?,
        Command::Run(options) => run::run(&options)?,
        Command::Validate { pipelines, json } => run::validate(&pipelines, json)?,
        Command::Inspect(options) => inspect::inspect(&options)?,
        Command::Push(options) => registry::push(&options)?,
        Command::Pull(options) => registry::pull(&options)?,
        Command::Keygen(options) => trust::keygen(&options)?,
        Command::Sign(options) => trust::sign(&options)?,
        Command::Verify(options) => trust::verify(&options)?,
        Command::New(options) => plugin::new(&options)?,
        Command::Build(options) => plugin::build(&options)?,
        Command::Test(options) => return test::run(&options),
        Command::Dev(options) => live::run(&options)?,
        Command::Produce(options) => records::produce(&options)?,
        Command::Consume(options) => records::consume(&options)?,
        Command::DeadLetters(options) => return dead_letters::run(&options),
        Command::Load(options) => control::load(&options)?,
        Command::Rollback(options) => control::roll_back(&options)?,
        Command::Shadow(options) => tryouts::shadow(&options)?,
        Command::Canary(options) => tryouts::canary(&options)?,
        Command::Pause(options) => control::pause(&options)?,
        Command::Resume(options) => control::resume(&options)?,
        Command::Status(options) => control::status(&options)?,
        Command::History(options) => control::history(&options)?,
        Command::Topics(options) => topics::run(&options)?,
        Command::CompilePlugin { cache } => return Ok(plugin::compile(cache)),
        Command::Schema => print_json(&config::schema())?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sluicegate", &mut script);
            write_out(|out| out.write_all(&script))?;
        }
    }
    Ok(0)
}

fn report(exit: &Exit) -> ExitCode {
    const ERROR: Style = AnsiColor::Red.on_default().bold();
    complain(format_args!("{ERROR}error{ERROR:#}: {exit}"));
    ExitCode::from(exit.code)
}

/// Prints a value as JSON for people and machines alike.
fn print_json(value: &impl serde::Serialize) -> Result<(), Exit> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Exit::failed(error.to_string()))?;
    Ok(write_out(|out| writeln!(out, "{text}"))?)
}
