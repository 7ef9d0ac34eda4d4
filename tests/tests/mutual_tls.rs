//! The admin endpoint by TLS: who may look, who may change something, and certificates that are renewed.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::http::{self, Response};
use sluicegate_tests::program::{Running, done, free_address, sluicegate};
use sluicegate_tests::stamp::version;
use sluicegate_tests::wait::eventually;
use sluicegate_tests::web::{Authority, Issued};

const WITHIN: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789abcdef0123";
const PAUSE: &str = "/v1/pipelines/guarded/pause";
const TLS: &str = "certificate: tls/tls.crt, key: tls/tls.key";
const MUTUAL: &str = "certificate: tls/tls.crt, key: tls/tls.key, client-ca: tls/ca.crt";

#[test]
fn whoever_looks_needs_no_certificate_and_whoever_changes_something_does() -> Result<()> {
    let setup = Setup::new(&format!("tls: {{ {MUTUAL} }}"))?;
    let running = setup.start()?;
    let plain = http::get(setup.admin, "/ready")?;
    ensure!(plain.status == 400 && plain.body == r#"{"error":"this endpoint speaks TLS: ask it by https://"}"#);

    ensure!(setup.ask("/live", &[])?.status == 200 && setup.ask("/metrics", &["--tls-max", "1.2"])?.status == 200);
    ensure!(setup.ask("/ready", &["--http2"])?.status == 200, "whoever would rather speak HTTP/2 is understood");
    let untrusted = curl(&[&format!("{}/live", setup.url())])?;
    ensure!(untrusted.status == 0 && untrusted.body.contains("(60)"), "{untrusted:?}");

    let nobody = setup.pause(&[])?;
    ensure!(nobody.status == 401 && nobody.body.contains("admin.tls.client-ca"), "{nobody:?}");
    let plugin = setup.path("given.wasm");
    fs::write(&plugin, version(2)?)?;
    let url = "/v1/pipelines/guarded/stages/stamp/plugin";
    // So that a body that is refused is not sent.
    let load: [&str; 4] = ["--upload-file", &plugin, "--header", "Expect: 100-continue"];
    ensure!(setup.ask(url, &load)?.status == 401);

    let mallory = setup.keep("mallory", &Authority::new()?.client("mallory")?)?;
    let mallory = ["--cert", &mallory.0, "--key", &mallory.1];
    let refused = setup.pause(&mallory)?;
    ensure!(refused.status == 403 && refused.body.contains("certificate is not accepted"), "{refused:?}");
    ensure!(setup.ask("/ready", &mallory)?.status == 200, "a stranger may look, as whoever shows nothing may");
    let server = ["--cert", &setup.path("tls/tls.crt"), "--key", &setup.path("tls/tls.key")];
    let refused = setup.pause(&server)?;
    ensure!(refused.status == 403 && refused.body.contains("purpose"), "a server is no client: {refused:?}");

    let alice = setup.keep("alice", &setup.authority.client("alice")?)?;
    let alice = ["--cert", &alice.0, "--key", &alice.1];
    ensure!(setup.ask(url, &[load, alice].concat())?.status == 200);
    let page = setup.pause(&[&alice[..], &["--header", "Origin: https://evil.example"]].concat())?;
    ensure!(page.status == 403 && page.body.contains("a page in a browser"), "{page:?}");
    let history: Value = serde_json::from_str(&setup.ask("/v1/pipelines/guarded/history", &[])?.body)?;
    ensure!(history.as_array().is_some_and(|entries| entries.len() == 1), "{history}");
    ensure!(history[0]["who"] == "CN=alice at 127.0.0.1", "{history}");
    running.end()
}

#[test]
fn the_commands_show_a_certificate_and_ask_for_one() -> Result<()> {
    let setup = Setup::new(&format!("tls: {{ {MUTUAL} }}"))?;
    let running = setup.start()?;
    let alice = setup.keep("alice", &setup.authority.client("alice")?)?;
    let mallory = setup.keep("mallory", &Authority::new()?.client("mallory")?)?;
    let (url, ca) = (setup.url(), setup.path("tls/ca.crt"));
    let cli = |args: &[&str]| sluicegate(args.iter().copied().chain(["--admin", &url]))?.run();

    let unknown = cli(&["status"])?;
    ensure!(unknown.code == Some(1) && unknown.stderr.contains("no trusted TLS connection"), "{unknown:?}");
    ensure!(unknown.stderr.contains("certificate verify failed") && unknown.stderr.contains("--ca"), "{unknown:?}");
    let plain = sluicegate(["status", "--admin", &url.replace("https", "http")])?.run()?;
    ensure!(plain.code == Some(1) && plain.stderr.contains("speaks TLS: ask it by https://"), "{plain:?}");
    done(cli(&["status", "--ca", &ca])?)?;

    let nobody = cli(&["pause", "guarded", "--ca", &ca])?;
    ensure!(nobody.code == Some(1) && nobody.stderr.contains("SLUICEGATE_ADMIN_CERT"), "{nobody:?}");
    let refused = cli(&["pause", "guarded", "--ca", &ca, "--cert", &mallory.0, "--key", &mallory.1])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("certificate is not accepted"), "{refused:?}");
    let half = cli(&["pause", "guarded", "--ca", &ca, "--cert", &alice.0])?;
    ensure!(half.code == Some(2) && half.stderr.contains("--key"), "{half:?}");
    let swapped = cli(&["pause", "guarded", "--ca", &ca, "--cert", &alice.0, "--key", &alice.0])?;
    ensure!(swapped.code == Some(2) && swapped.stderr.contains("expected a private key in PEM"), "{swapped:?}");
    let mixed = cli(&["pause", "guarded", "--ca", &ca, "--cert", &alice.0, "--key", &mallory.1])?;
    ensure!(mixed.code == Some(2) && mixed.stderr.contains("is not the key of the certificate in"), "{mixed:?}");

    let paused = sluicegate(["pause", "guarded", "--admin", &url, "--by", "on call", "--why", "an incident"])?
        .env("SLUICEGATE_ADMIN_CA", &ca)
        .env("SLUICEGATE_ADMIN_CERT", &alice.0)
        .env("SLUICEGATE_ADMIN_KEY", &alice.1)
        .run()?;
    done(paused)?;
    let history = done(cli(&["history", "guarded", "--ca", &ca])?)?;
    ensure!(history.contains("pause by CN=alice at 127.0.0.1 (on call): an incident"), "{history}");

    let elsewhere = setup.authority.server(&["gate.example"])?;
    fs::write(setup.path("tls/tls.crt"), elsewhere.certificate)?;
    fs::write(setup.path("tls/tls.key"), elsewhere.key)?;
    eventually(WITHIN, "the certificate of another name", || {
        let refused = cli(&["status", "--ca", &ca])?;
        Ok((refused.code == Some(1) && refused.stderr.to_lowercase().contains("mismatch")).then_some(()))
    })?;
    running.end()
}

#[test]
fn where_both_are_set_either_is_enough() -> Result<()> {
    let setup = Setup::new(&format!("token: {TOKEN}, tls: {{ {MUTUAL} }}"))?;
    let running = setup.start()?;
    let nobody = setup.pause(&[])?;
    ensure!(nobody.status == 401 && nobody.body.contains("admin.token") && nobody.body.contains("client-ca"));
    ensure!(setup.pause(&["--header", "Authorization: Bearer wrong"])?.status == 403);
    ensure!(setup.pause(&["--header", &format!("Authorization: Bearer {TOKEN}")])?.status == 200);
    let alice = setup.keep("alice", &setup.authority.client("alice")?)?;
    ensure!(setup.pause(&["--cert", &alice.0, "--key", &alice.1])?.status == 200);
    running.end()?;

    // TLS alone asks clients for nothing: who is on the machine itself may change something, as without it.
    let setup = Setup::new(&format!("tls: {{ {TLS} }}"))?;
    let running = setup.start()?;
    ensure!(setup.pause(&[])?.status == 200);
    ensure!(setup.pause(&["--header", "X-Forwarded-For: 192.168.0.7"])?.status == 403);
    running.end()
}

/// As a Secret of Kubernetes is renewed: a new folder, and the link `..data` turned to it.
#[test]
fn renewed_certificates_are_taken_up_and_broken_ones_are_not() -> Result<()> {
    let mut setup = Setup::new(&format!("tls: {{ {MUTUAL} }}"))?;
    let folder = setup.folder.path().join("tls");
    fs::remove_dir_all(&folder)?;
    fs::create_dir(&folder)?;
    let lay_out = |number: usize, issued: &Issued, authority: &Authority| -> Result<()> {
        let real = format!("..2026_{number}");
        write_pair(&folder.join(&real), issued, authority)?;
        symlink(&real, folder.join("..data_tmp"))?;
        Ok(fs::rename(folder.join("..data_tmp"), folder.join("..data"))?)
    };
    lay_out(1, &setup.certificate(&setup.authority)?, &setup.authority)?;
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(format!("..data/{file}"), folder.join(file))?;
    }
    let running = setup.start()?;
    let alice = setup.keep("alice", &setup.authority.client("alice")?)?;
    let alice = ["--cert", &alice.0, "--key", &alice.1];
    ensure!(setup.pause(&alice)?.status == 200);

    // The key of another: what was there before goes on, for as many connections as come, and it is said once.
    let mixed = Issued { key: Authority::new()?.client("x")?.key, ..setup.certificate(&setup.authority)? };
    lay_out(2, &mixed, &setup.authority)?;
    ensure!(setup.ask("/ready", &[])?.status == 200 && setup.ask("/ready", &[])?.status == 200);
    let log = running.stderr()?;
    ensure!(log.matches("is not the key of the certificate").count() == 1, "{log}");
    ensure!(log.contains("admin.tls.key") && log.contains("what was read before goes on"), "{log}");

    // Another authority: who trusts the old one does not trust this, and whom the old one signed may change nothing.
    let (old, new) = (setup.path("old.crt"), Authority::new()?);
    fs::write(&old, setup.authority.pem())?;
    lay_out(3, &setup.certificate(&new)?, &new)?;
    fs::remove_dir_all(folder.join("..2026_1"))?;
    let trusting_the_old = curl(&["--cacert", &old, &format!("{}/ready", setup.url())])?;
    // As both have the same name, it is the signature that is no good.
    let codes = ["(35)", "(60)"];
    ensure!(codes.iter().any(|code| trusting_the_old.body.contains(code)), "{trusting_the_old:?}");
    setup.authority = new;
    ensure!(setup.ask("/ready", &[])?.status == 200);
    ensure!(setup.pause(&alice)?.status == 403);
    let bob = setup.keep("bob", &setup.authority.client("bob")?)?;
    ensure!(setup.pause(&["--cert", &bob.0, "--key", &bob.1])?.status == 200);
    ensure!(running.stderr()?.contains("changed files are taken up"), "{}", running.stderr()?);
    running.end()
}

#[test]
fn whoever_connects_and_says_nothing_keeps_nobody_out() -> Result<()> {
    let setup = Setup::new(&format!("tls: {{ {MUTUAL} }}"))?;
    let running = setup.start()?;
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(setup.admin)).collect::<Result<_, _>>()?;
    let answer = setup.ask("/ready", &["--max-time", "5"])?;
    ensure!(answer.status == 200, "{answer:?}");
    drop(silent);
    running.end()
}

#[test]
fn what_is_wrong_with_the_files_is_told_by_its_place() -> Result<()> {
    let setup = Setup::new(&format!("tls: {{ {MUTUAL} }}"))?;
    let refused = |args: &[&str], words: &[&str]| -> Result<()> {
        let refused = sluicegate(args)?.folder(setup.folder.path()).run()?;
        ensure!(refused.code == Some(2), "{refused:?}");
        ensure!(words.iter().all(|words| refused.stderr.contains(words)), "{words:?}: {}", refused.stderr);
        Ok(())
    };
    done(sluicegate(["validate", "pipeline.yaml"])?.folder(setup.folder.path()).run()?)?;
    fs::copy(setup.path("pipeline.yaml"), setup.path("other.yaml"))?;
    let other = fs::read_to_string(setup.path("other.yaml"))?.replace("name: guarded", "name: other");
    fs::write(setup.path("other.yaml"), other.replace(MUTUAL, TLS))?;
    let both = ["run", "pipeline.yaml", "other.yaml", "--state-dir", "state"];
    refused(&both, &["the pipelines name different admin.tls", "make them equal"])?;

    let key = fs::read(setup.path("tls/tls.key"))?;
    fs::write(setup.path("tls/tls.key"), "not a key")?;
    for command in ["validate", "run"] {
        let words = ["pipeline.yaml:6:", "tls.key: expected a private key in PEM", "admin: {"];
        refused(&[command, "pipeline.yaml"], &words)?;
    }
    fs::write(setup.path("tls/tls.key"), &key)?;
    fs::write(setup.path("tls/ca.crt"), "")?;
    refused(&["validate", "pipeline.yaml"], &["pipeline.yaml:6:", "ca.crt: there is no certificate in it"])?;
    fs::remove_file(setup.path("tls/tls.crt"))?;
    refused(&["validate", "pipeline.yaml"], &["pipeline.yaml:6:", "cannot read", "tls.crt: No such file"])
}

/// The pipeline `guarded` on the embedded log, with the stage `stamp`, in a folder of its own, and a certificate of its
/// authority.
struct Setup {
    folder: tempfile::TempDir,
    authority: Authority,
    admin: SocketAddr,
}

impl Setup {
    fn new(guard: &str) -> Result<Self> {
        let setup = Setup { folder: tempfile::tempdir()?, authority: Authority::new()?, admin: free_address()? };
        let yaml = format!(
            "name: guarded\n\
             source: {{ local: {{ path: log, topics: [in] }} }}\n\
             stages:\n  - plugin: stamp.wasm\n\
             sink: {{ local: {{ path: log, topic: out }} }}\n\
             admin: {{ listen: '{}', {guard} }}\n",
            setup.admin
        );
        fs::write(setup.path("pipeline.yaml"), yaml)?;
        fs::write(setup.path("stamp.wasm"), version(1)?)?;
        write_pair(&setup.folder.path().join("tls"), &setup.certificate(&setup.authority)?, &setup.authority)?;
        let topic = ["topics", "create", "in", "--local", "log"];
        done(sluicegate(topic)?.folder(setup.folder.path()).run()?)?;
        Ok(setup)
    }

    fn start(&self) -> Result<Running> {
        let args = ["run", "pipeline.yaml", "--state-dir", "state"];
        let mut running = sluicegate(args)?.folder(self.folder.path()).spawn()?;
        eventually(WITHIN, "/ready", || {
            ensure!(running.is_running()?, "it ended: {}", running.stderr()?);
            Ok((self.ask("/ready", &[])?.status == 200).then_some(()))
        })?;
        Ok(running)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// One of this authority's for where it listens.
    fn certificate(&self, authority: &Authority) -> Result<Issued> {
        authority.server(&[&self.admin.ip().to_string()])
    }

    fn url(&self) -> String {
        format!("https://{}", self.admin)
    }

    /// The files of a certificate and of its key.
    fn keep(&self, name: &str, issued: &Issued) -> Result<(String, String)> {
        let (certificate, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        fs::write(&certificate, &issued.certificate)?;
        fs::write(&key, &issued.key)?;
        Ok((certificate, key))
    }

    fn pause(&self, args: &[&str]) -> Result<Response> {
        self.ask(PAUSE, &[args, &["--request", "POST"]].concat())
    }

    fn ask(&self, path: &str, args: &[&str]) -> Result<Response> {
        let ca = self.path("authority.crt");
        fs::write(&ca, self.authority.pem())?;
        let url = format!("{}{path}", self.url());
        curl(&[args, &["--cacert", &ca, &url]].concat())
    }
}

fn write_pair(folder: &Path, issued: &Issued, authority: &Authority) -> Result<()> {
    fs::create_dir(folder)?;
    fs::write(folder.join("tls.crt"), &issued.certificate)?;
    fs::write(folder.join("tls.key"), &issued.key)?;
    Ok(fs::write(folder.join("ca.crt"), authority.pem())?)
}

/// The answer to a client that is not ours. Status 0, with what it says: there was none.
fn curl(args: &[&str]) -> Result<Response> {
    let own = ["--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60"];
    let output = Command::new("curl").args(own).args(["--write-out", "\n%{http_code}"]).args(args).output();
    let output = output.context("cannot run curl; install it")?;
    if !output.status.success() {
        return Ok(Response { status: 0, location: None, body: String::from_utf8_lossy(&output.stderr).into_owned() });
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let (body, status) = said.rsplit_once('\n').context("a status")?;
    Ok(Response { status: status.parse()?, location: None, body: body.to_owned() })
}
