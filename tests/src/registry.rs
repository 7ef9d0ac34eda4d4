//! A real OCI registry, the CNCF's `distribution`: a process on 127.0.0.1, its data in a temporary folder.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::process::{Process, output, tail};
use crate::wait::eventually;
use crate::{cache, http};

const VERSION: &str = "v3.0.0";
const INSTALL: &str = "Go (https://go.dev, or Debian: apt-get install golang)";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const START_WITHIN: Duration = Duration::from_secs(60);

/// Who may use a registry that wants to know.
pub const USER: &str = "robot";
/// The user's password.
pub const PASSWORD: &str = "secret";
/// Both, as the registry knows them.
const HTPASSWD: &str = "robot:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry, and its data. Both end with this, or with the test process.
#[derive(Debug)]
pub struct Registry {
    /// None while it is stopped.
    process: Option<Process>,
    address: SocketAddr,
    folder: TempDir,
}

impl Registry {
    /// Starts a registry that anybody may use.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// Starts one that only [`USER`] may use.
    pub fn start_private() -> Result<Self> {
        Self::start_with("auth: { htpasswd: { realm: tests, path: htpasswd } }\n")
    }

    fn start_with(more: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluicegate-registry-").tempdir()?;
        // cosign speaks to 127.0.0.1 without TLS, and to no other address.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let config = format!(
            "version: 0.1\n\
             storage: {{ filesystem: {{ rootdirectory: data }}, delete: {{ enabled: true }} }}\n\
             http: {{ addr: '{address}' }}\n{more}"
        );
        fs::write(folder.path().join("config.yml"), config)?;
        fs::write(folder.path().join("htpasswd"), HTPASSWD)?;
        let mut registry = Self { process: None, address, folder };
        registry.restart()?;
        Ok(registry)
    }

    /// Starts it again, on the same port and data.
    pub fn restart(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(program()?);
        command.args(["serve", "config.yml"]).current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let mut process = Process::spawn(&mut command, self.folder.path())?;
        let ready = eventually(START_WITHIN, "the registry to serve", || {
            if let Some(status) = process.ended()? {
                bail!("it ended: {status}");
            }
            Ok(http::get(self.address, "/v2/").ok().map(drop))
        });
        ready.with_context(|| tail(&self.log()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it; its data stay.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().context("the registry does not run")?.kill().map(drop)
    }

    /// Where it listens, as references to its artifacts name it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Removes a manifest, and so all tags that lead to it.
    pub fn delete(&self, repository: &str, digest: &str) -> Result<()> {
        let deleted = http::request(self.address, "DELETE", &format!("/v2/{repository}/manifests/{digest}"), "")?;
        ensure!(deleted.status == 202, "{deleted:?}");
        Ok(())
    }

    /// Lets a tag lead to this manifest.
    pub fn tag(&self, repository: &str, tag: &str, manifest: &Value) -> Result<()> {
        self.put(repository, tag, manifest).map(drop)
    }

    /// Writes a manifest or an index under a tag, or under its digest, which it gives.
    pub fn put(&self, repository: &str, target: &str, manifest: &Value) -> Result<String> {
        let media_type = manifest["mediaType"].as_str().unwrap_or(MANIFEST);
        let text = manifest.to_string();
        let digest = sha256(text.as_bytes());
        let target = if target.is_empty() { &digest } else { target };
        let (path, header) = (format!("/v2/{repository}/manifests/{target}"), format!("Content-Type: {media_type}"));
        let put = http::send(self.address, "PUT", &path, &[&header], text.as_bytes())?;
        ensure!(put.status == 201, "{put:?}");
        Ok(digest)
    }

    /// Writes a blob. Gives its descriptor.
    pub fn put_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let begun = http::send(self.address, "POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"")?;
        let location = begun.location.with_context(|| format!("a place to write to: {}", begun.status))?;
        let path = location.strip_prefix(&format!("http://{}", self.address)).unwrap_or(&location);
        let digest = sha256(bytes);
        let header = "Content-Type: application/octet-stream";
        let put = http::send(self.address, "PUT", &format!("{path}&digest={digest}"), &[header], bytes)?;
        ensure!(put.status == 201, "{put:?}");
        Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    /// Turns a bit of a blob on its disk.
    pub fn damage(&self, digest: &str) -> Result<()> {
        let hex = digest.strip_prefix("sha256:").context("a digest")?;
        let blobs = self.folder.path().join("data/docker/registry/v2/blobs/sha256");
        let file = blobs.join(&hex[..2]).join(hex).join("data");
        let mut bytes = fs::read(&file)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Ok(fs::write(file, bytes)?)
    }

    /// What it says of a tag.
    pub fn manifest(&self, repository: &str, tag: &str) -> Result<Value> {
        let found = http::get_as(self.address, &format!("/v2/{repository}/manifests/{tag}"), MANIFEST)?;
        ensure!(found.status == 200, "{found:?}");
        Ok(serde_json::from_str(&found.body)?)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// The digest of these bytes, as registries write it.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The registry's program, built from its sources on the first call: some minutes, once.
fn program() -> Result<PathBuf> {
    let made = cache::once(&format!("registry-{VERSION}"), |folder| {
        let mut install = Command::new("go");
        install.args(["install", &format!("github.com/distribution/distribution/v3/cmd/registry@{VERSION}")]);
        install.env("GOBIN", folder).env("GOFLAGS", "-buildvcs=false");
        output(&mut install, INSTALL).map(drop)
    })?;
    Ok(made.join("registry"))
}
