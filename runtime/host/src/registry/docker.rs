//! Who asks a registry: as Docker's configuration file says, or the credential helper that it names.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::files;

const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// A helper may ask a person to unlock a keychain. Whoever looks up tags waits meanwhile.
const HELPER_WITHIN: Duration = Duration::from_secs(30);
const HELPER_BYTES_MAX: u64 = 64 << 10;
const HELPER_POLL: Duration = Duration::from_millis(5);
/// What helpers print, as they fail, for a registry where nobody has logged in (docker-credential-helpers' `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A name and a password or token.
pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: String,
}

/// Who has logged in to this registry; none if nobody has.
///
/// # Errors
/// What is kept cannot be used, or a helper fails or does not answer (exit code 3).
pub(super) fn login(registry: &str) -> Result<Option<Login>, Exit> {
    let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
    find(server).map_err(|exit| {
        let remedy = if exit.is_unreachable() { String::new() } else { format!(": docker login {registry}") };
        Exit { message: format!("Docker's credentials for {registry}: {}{remedy}", exit.message), ..exit }
    })
}

fn find(server: &str) -> Result<Option<Login>, Exit> {
    let bytes = config_file().and_then(|file| files::read(&file, CONFIG_BYTES_MAX).ok());
    let config = bytes.and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
    let Some(mut config) = config else { return Ok(None) };
    // Taken out, as they are asked here, where their time is limited.
    let helper = |name: &Value| name.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let of_server = config.remove("credHelpers").and_then(|helpers| helper(helpers.get(server)?));
    let of_all = config.remove("credsStore").and_then(|name| helper(&name));
    if let Some(helper) = of_server {
        return ask(&helper, server);
    }
    match get_credential_from_reader(Value::Object(config).to_string().as_bytes(), server) {
        Ok(DockerCredential::UsernamePassword(name, password)) => Ok(Some(Login { name, password })),
        Ok(DockerCredential::IdentityToken(_)) => Err(identity_token()),
        Err(CredentialRetrievalError::NoCredentialConfigured) => of_all.map_or(Ok(None), |helper| ask(&helper, server)),
        Err(CredentialRetrievalError::ConfigReadError) => Ok(None),
        Err(error) => Err(Exit::usage(error.to_string())),
    }
}

fn config_file() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".docker"));
    Some(env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home)?.join("config.json"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks a credential helper, by its protocol: the server on its standard input, JSON on its output.
fn ask(helper: &str, server: &str) -> Result<Option<Login>, Exit> {
    let helper = format!("docker-credential-{helper}");
    let said = run(Command::new(&helper).arg("get"), server, HELPER_WITHIN)
        .map_err(|error| Exit::usage(format!("cannot run {helper}: {error}")))?;
    // What a helper says may have a secret in it, and is not repeated.
    match said {
        None => Err(Exit::unreachable(format!("{helper} does not answer within {HELPER_WITHIN:?}"))),
        Some((false, said)) if said.trim_ascii() == NOT_FOUND.as_bytes() => Ok(None),
        Some((false, _)) => Err(Exit::usage(format!("{helper} fails"))),
        Some((true, said)) => match serde_json::from_slice(&said) {
            Ok(Answer { username, .. }) if username == "<token>" => Err(identity_token()),
            Ok(Answer { username, secret }) => Ok(Some(Login { name: username, password: secret })),
            Err(_) => Err(Exit::usage(format!("{helper} gives no name and password"))),
        },
    }
}

fn identity_token() -> Exit {
    Exit::usage("an identity token, and not a name and a password or token")
}

/// Whether a program succeeds, and what it prints, with this on its standard input. None: it took too long, and was ended.
fn run(program: &mut Command, input: &str, within: Duration) -> io::Result<Option<(bool, Vec<u8>)>> {
    let end = Instant::now() + within;
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // A pipe has room for it, whether or not it is read.
    let _ = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
    let (send, receive) = sync_channel(1);
    // Nothing can interrupt a read, and a program that the helper has started may keep its output open.
    thread::Builder::new().name("credentials".into()).spawn(move || {
        let mut said = Vec::new();
        let _ = stdout.map(|stdout| stdout.take(HELPER_BYTES_MAX).read_to_end(&mut said));
        let _ = send.send(said);
    })?;
    let said = receive.recv_timeout(within).ok();
    while said.is_some() && Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(said.map(|said| (status.success(), said)));
        }
        thread::sleep(HELPER_POLL);
    }
    // Fails if it has ended just now.
    let _ = child.kill();
    child.wait().map(|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, within: Duration) -> Option<(bool, String)> {
        let said = run(Command::new("sh").args(["-c", script]), "registry.example.com", within).unwrap();
        said.map(|(is_success, said)| (is_success, String::from_utf8(said).unwrap()))
    }

    #[test]
    fn a_helper_is_heard_to_its_end_or_ended_when_its_time_is_over() {
        let ample = Duration::from_secs(60);
        assert_eq!(sh("cat", ample), Some((true, "registry.example.com".into())));
        assert_eq!(sh("echo no; exit 1", ample), Some((false, "no\n".into())));
        for hanging in ["exec sleep 600", "exec sleep 600 >&-", "sleep 3 & exit"] {
            assert_eq!(sh(hanging, Duration::from_millis(50)), None, "{hanging}");
        }
    }
}
