//! The commands that look at a running process, and change it, by its admin endpoint.

use std::io::ErrorKind;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use sluicegate_wasm::FILE_BYTES_MAX;
use ureq::http::{Method, Request};

use super::tls::Tls;
use crate::app::App;
use crate::config::{Digest, Secret, Size};
use crate::console::say;
use crate::exit::Exit;
use crate::files;
use crate::registry::{PluginRef, Wanted};

/// An answer may take as long as compiling a plugin does.
const ANSWER_WITHIN: Duration = Duration::from_secs(660);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Where the process is.
#[derive(Args)]
pub(super) struct Endpoint {
    /// The process's admin endpoint, as a URL or as host:port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9644", env = "SLUICEGATE_ADMIN", value_parser = url)]
    admin: String,
    /// The token that the endpoint asks for (its admin.token), if it does. Better set in the environment: everybody on a
    /// machine sees the arguments of its processes.
    #[arg(long, env = "SLUICEGATE_ADMIN_TOKEN", hide_env_values = true, value_parser = |text: &str| Ok::<_, String>(Secret::from(text.to_owned())))]
    token: Option<Secret>,
    #[command(flatten)]
    tls: Tls,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// The URL that is meant: what `run --admin` takes, an address alone, is asked without TLS.
fn url(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match url.split_once("://") {
        Some(("http" | "https", place)) if !place.is_empty() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err("expected a URL such as https://gate.example.com:9644".into()),
    }
}

pub(super) fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| "expected sha256: and 64 hexadecimal digits".into())
}

/// What is written into the history.
#[derive(Args)]
pub(super) struct Words {
    /// Why the change is made, for the history.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Who makes the change, for the history.
    #[arg(long, value_name = "NAME", env = "USER")]
    by: Option<String>,
}

#[derive(Args)]
pub(super) struct Load {
    /// The pipeline's name.
    pipeline: String,
    /// The stage's name.
    stage: String,
    /// The plugin: a .wasm file on this machine, oci://…, or https://… with --digest. It is read here and uploaded.
    #[arg(required_unless_present = "configured", conflicts_with = "configured")]
    plugin: Option<PluginRef>,
    /// Drop what was loaded at run time, and run the plugin that the pipeline's file names.
    #[arg(long)]
    configured: bool,
    /// Refuse the plugin unless it has this digest, sha256:….
    #[arg(long, conflicts_with = "configured", value_parser = digest)]
    digest: Option<Digest>,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Args)]
pub(super) struct Rollback {
    /// The pipeline's name.
    pipeline: String,
    /// The stage's name.
    stage: String,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Args)]
pub(super) struct Pause {
    /// The pipeline's name.
    pipeline: String,
    #[command(flatten)]
    words: Words,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Args)]
pub(super) struct Status {
    /// The pipeline's name; without it, all are shown.
    pipeline: Option<String>,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Args)]
pub(super) struct History {
    /// The pipeline's name.
    pipeline: String,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Lets another plugin take over in a stage, while records flow.
pub(super) fn load(options: &Load) -> Result<(), Exit> {
    let Load { pipeline, stage, endpoint, words, .. } = options;
    let path = ["pipelines", pipeline, "stages", stage, "plugin"];
    let changed = match &options.plugin {
        None => endpoint.ask(Method::DELETE, &path, &words.query(None), Vec::new())?,
        Some(plugin) => {
            let (bytes, digest) = read(plugin, options.digest.as_ref())?;
            endpoint.ask(Method::PUT, &path, &words.query(Some(digest)), bytes)?
        }
    };
    endpoint.tell_change(&changed)
}

/// Reads the plugin to upload, and the digest to send with it: the one asked for, else that of the bytes. Nothing is verified
/// here; the receiver does that.
pub(super) fn read(plugin: &PluginRef, asked: Option<&Digest>) -> Result<(Vec<u8>, String), Exit> {
    let bytes = match plugin.file() {
        Some(file) => files::read(file, FILE_BYTES_MAX).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => {
                Exit::usage(format!("plugin {plugin} has more than {}, which no stage takes", Size(FILE_BYTES_MAX)))
            }
            _ => Exit::usage(format!("cannot read plugin {plugin}: {error}")),
        })?,
        None => {
            let wanted = Wanted { digest: asked, size_max: FILE_BYTES_MAX, plain_http: false };
            App::new()?.registry().fetch(plugin, &wanted)?.bytes
        }
    };
    let digest = asked.map_or_else(|| Digest::of(&bytes).to_string(), Digest::to_string);
    Ok((bytes, digest))
}

/// Lets the version before take over again.
pub(super) fn roll_back(options: &Rollback) -> Result<(), Exit> {
    let Rollback { pipeline, stage, words, endpoint } = options;
    let status = endpoint.look(&["pipelines", pipeline])?;
    let found = status["stages"].as_array().into_iter().flatten().find(|found| found["name"] == stage.as_str());
    // Named, so that asking once more after a lost answer does not go back twice.
    let before = found.and_then(|found| found["before"].as_str()).map(str::to_owned);
    let path = ["pipelines", pipeline, "stages", stage, "rollback"];
    endpoint.tell_change(&endpoint.ask(Method::POST, &path, &words.query(before), Vec::new())?)
}

/// Has a pipeline commit what is in flight and run nothing more.
pub(super) fn pause(options: &Pause) -> Result<(), Exit> {
    set_paused(options, "pause", "paused")
}

/// Has a paused pipeline go on.
pub(super) fn resume(options: &Pause) -> Result<(), Exit> {
    set_paused(options, "resume", "running")
}

fn set_paused(options: &Pause, action: &str, state: &str) -> Result<(), Exit> {
    let Pause { pipeline, words, endpoint } = options;
    let changed = endpoint.ask(Method::POST, &["pipelines", pipeline, action], &words.query(None), Vec::new())?;
    if endpoint.json {
        return super::print_json(&changed);
    }
    let already = if changed["changed"] == true { "" } else { " (it was so already)" };
    say!("{pipeline}: {state}{already}{}", behind(&changed));
    Ok(())
}

/// Shows pipelines as they are.
pub(super) fn status(options: &Status) -> Result<(), Exit> {
    let all = match &options.pipeline {
        Some(pipeline) => Value::Array(vec![options.endpoint.look(&["pipelines", pipeline])?]),
        None => options.endpoint.look(&["pipelines"])?,
    };
    if options.endpoint.json {
        return super::print_json(&all);
    }
    for status in all.as_array().into_iter().flatten() {
        show_pipeline(status);
    }
    if options.pipeline.is_none() {
        show_refused_files(&options.endpoint.look(&["files"])?);
    }
    Ok(())
}

fn show_refused_files(files: &Value) {
    for file in files.as_array().into_iter().flatten().filter(|file| file["refused"].is_string()) {
        let goes_on = match file["pipeline"].as_str() {
            Some(pipeline) => format!("; pipeline {pipeline} goes on as it was"),
            None => String::new(),
        };
        say!("file {} does not run as it is{goes_on}:", text(&file["file"]));
        say!("  {}", text(&file["refused"]).replace('\n', "\n  "));
    }
}

fn show_pipeline(status: &Value) {
    let states = status["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let running = states.iter().filter(|state| state["state"] == "running").count();
    let paused = if status["paused"] == true { ", paused by request" } else { "" };
    say!("{}  {running} of {} workers running{paused}", text(&status["name"]), states.len());
    for (number, state) in states.iter().enumerate().filter(|(_, state)| state["reason"].is_string()) {
        say!("  worker {number} {}: {}", text(&state["state"]), text(&state["reason"]));
    }
    let lag: u64 = status["lag"].as_array().into_iter().flatten().filter_map(|lag| lag["records"].as_u64()).sum();
    let count = |name: &str| status[name].as_u64().unwrap_or_default();
    say!(
        "  {} in, {} out, {} dead letters, {} skipped, lag {lag}",
        count("records_in"),
        count("outputs"),
        count("dead_letters"),
        count("skipped")
    );
    for stage in status["stages"].as_array().into_iter().flatten() {
        show_stage(text(&status["name"]), stage);
    }
}

fn show_stage(pipeline: &str, stage: &Value) {
    let name = text(&stage["name"]);
    let trial = if stage["on_trial"] == true { ", on trial" } else { "" };
    say!("  stage {name}: {} {} {}", text(&stage["plugin"]), text(&stage["version"]), text(&stage["digest"]));
    say!("    since {}{trial}", text(&stage["since"]));
    if let Some(before) = stage["before"].as_str() {
        say!("    before it {before}; 'sluicegate rollback {pipeline} {name}' brings it back");
    }
    if let Some(file) = stage["file"].as_str() {
        say!("    its file has {file}; 'sluicegate load {pipeline} {name} --configured' runs that");
    }
    if stage["refused"].is_object() {
        let refused = &stage["refused"];
        say!("    refused {}: {}", text(&refused["time"]), text(&refused["reason"]));
    }
    if stage["candidate"].is_object() {
        super::tryouts::show(&stage["candidate"], "    ");
    }
}

/// Shows what was changed at run time.
pub(super) fn history(options: &History) -> Result<(), Exit> {
    let entries = options.endpoint.look(&["pipelines", &options.pipeline, "history"])?;
    if options.endpoint.json {
        return super::print_json(&entries);
    }
    for entry in entries.as_array().into_iter().flatten() {
        let stage = entry["stage"].as_str().map(|stage| format!(" {stage}")).unwrap_or_default();
        let digest = entry["digest"].as_str().map(|digest| format!(" {digest}")).unwrap_or_default();
        let why = entry["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        say!("{} {}{stage}{digest} by {}{why}", text(&entry["time"]), text(&entry["action"]), text(&entry["who"]));
        match entry["reason"].as_str() {
            Some(reason) => say!("  {}: {reason}", text(&entry["ended"])),
            None => say!("  {}", text(&entry["ended"])),
        }
    }
    Ok(())
}

impl Words {
    pub(super) fn query(&self, digest: Option<String>) -> Vec<(&'static str, String)> {
        let all = [("digest", digest), ("why", self.why.clone()), ("by", self.by.clone())];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Endpoint {
    pub(super) fn look(&self, path: &[&str]) -> Result<Value, Exit> {
        self.ask(Method::GET, path, &[], Vec::new())
    }

    /// Sends a request, and gives the answer if all is well.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<Value, Exit> {
        let path: Vec<String> = path.iter().map(|part| encoded(part)).collect();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let url = format!("{}/v1/{}?{}", self.admin, path.join("/"), query.join("&"));
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.reveal()));
        }
        if !body.is_empty() {
            // So that a body that is refused is not sent in vain.
            request = request.header("Content-Type", "application/wasm").header("Expect", "100-continue");
        }
        let usage = |error: ureq::http::Error| Exit::usage(format!("--admin {}: {error}", self.admin));
        self.send(request.body(body).map_err(usage)?)
    }

    fn send(&self, request: Request<Vec<u8>>) -> Result<Value, Exit> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .tls_config(self.tls.config()?)
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_global(Some(ANSWER_WITHIN))
            // It would see the token where there is no TLS.
            .proxy(None)
            .build();
        let failed = |error| self.unanswered(&error);
        let mut answer = ureq::Agent::new_with_config(config).run(request).map_err(failed)?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(failed)?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        match value["error"].as_str() {
            None if status.is_success() && !value.is_null() => Ok(value),
            Some(error) => Err(Exit::failed(error)),
            None => Err(Exit::failed(format!("{} answered {status}: {}", self.admin, text.trim()))),
        }
    }

    fn unanswered(&self, error: &ureq::Error) -> Exit {
        Exit::failed(match error {
            ureq::Error::NativeTls(error) => format!(
                "no trusted TLS connection to {}: {error}; --ca names the file of the authority that its certificate is \
                 from, and an endpoint without admin.tls is at http://",
                self.admin
            ),
            error => format!(
                "no answer from {}: {error}; is a process with 'admin.listen' there? --admin says where",
                self.admin
            ),
        })
    }

    fn tell_change(&self, changed: &Value) -> Result<(), Exit> {
        if self.json {
            return super::print_json(changed);
        }
        let (pipeline, stage) = (text(&changed["pipeline"]), text(&changed["stage"]));
        let digest = text(&changed["digest"]);
        match changed["before"].as_str() {
            Some(before) => say!("{pipeline} {stage}: {digest} runs now, before it {before}{}", behind(changed)),
            None => say!("{pipeline} {stage}: {digest} runs already"),
        }
        if let Some(note) = changed["note"].as_str() {
            say!("note: {note}");
        }
        Ok(())
    }
}

pub(super) fn behind(changed: &Value) -> String {
    match changed["behind"].as_u64() {
        None | Some(0) => String::new(),
        Some(behind) => format!(" ({behind} workers have not come to it yet)"),
    }
}

/// Nothing where the answer does not have it, as one of another version may.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// As part of a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_alone_is_a_url_too() {
        let url = |text: &str| super::url(text);
        assert_eq!(url("127.0.0.1:9644"), url("http://127.0.0.1:9644/"));
        assert_eq!(url("https://gate:9644").as_deref(), Ok("https://gate:9644"));
        assert!(url("ftp://gate").is_err() && url("").is_err());
    }

    #[test]
    fn words_survive_in_a_url() {
        assert_eq!(super::encoded("a-b c/é?"), "a-b%20c%2F%C3%A9%3F");
    }
}
