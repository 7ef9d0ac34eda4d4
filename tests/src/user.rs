//! Somebody who has plugins checked and run that are elsewhere.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use std::{fs, iter};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::plugins::plugin;
use crate::program::{Output, Program, free_address, sluicegate};
use crate::registry::{Registry, USER};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A user with a cache and Docker credentials of his own.
pub struct User {
    /// Where its files are, and what runs.
    pub folder: TempDir,
}

impl User {
    /// Somebody who has fetched nothing yet.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("docker"))?;
        Ok(User { folder })
    }

    /// The program, in the folder.
    pub fn program(&self, args: &[&str]) -> Result<Program> {
        let path = |name: &str| self.folder.path().join(name);
        let program = sluicegate(args)?.folder(self.folder.path());
        let program = program.env("XDG_CACHE_HOME", path("cache")).env("DOCKER_CONFIG", path("docker"));
        let others = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::join_paths(iter::once(path("bin")).chain(std::env::split_paths(&others)))?;
        let program = program.env("XDG_STATE_HOME", path("state")).env("PATH", found);
        // A name without a file trusts nobody but the system's own.
        Ok(match path("authority.pem").exists() {
            true => program.env("SSL_CERT_FILE", path("authority.pem")),
            false => program,
        })
    }

    /// What the program printed, which did as it was asked.
    pub fn done(&self, args: &[&str]) -> Result<String> {
        let output = self.program(args)?.run()?;
        ensure!(output.code == Some(0), "{args:?}: {output:?}");
        Ok(output.stdout)
    }

    /// The program refuses, with this exit code and these words.
    pub fn refused(&self, args: &[&str], code: i32, words: &[&str]) -> Result<Output> {
        let output = self.program(args)?.run()?;
        clear(&output, code, words).with_context(|| format!("{args:?}"))?;
        Ok(output)
    }

    /// Writes the plugin `uppercase` to a registry; gives what was printed of it.
    pub fn pushed(&self, registry: &Registry, name: &str) -> Result<Value> {
        let (file, to) = (plugin("uppercase")?, format!("oci://{}/{name}", registry.address()));
        Ok(serde_json::from_str(&self.done(&["push", file.to_str().context("UTF-8")?, &to, "--json"])?)?)
    }

    /// Writes a password where Docker keeps them.
    pub fn login(&self, registry: SocketAddr, password: &str) -> Result<()> {
        let auths = json!({ "auths": { registry.to_string(): { "auth": base64(format!("{USER}:{password}")) } } });
        Ok(fs::write(self.folder.path().join("docker/config.json"), auths.to_string())?)
    }

    /// Has Docker's credentials kept by a helper, which does what this shell script says.
    pub fn helper(&self, script: &str) -> Result<()> {
        let bin = self.folder.path().join("bin");
        let file = bin.join("docker-credential-fake");
        fs::create_dir_all(bin)?;
        fs::write(&file, format!("#!/bin/sh\n{script}"))?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
        Ok(fs::write(self.folder.path().join("docker/config.json"), r#"{ "credsStore": "fake" }"#)?)
    }

    /// A pipeline whose one stage has this plugin, and more keys after it.
    pub fn lay_out(&self, plugin: &str, more: &str) -> Result<()> {
        let text = format!(
            "name: p\n\
             source: {{ local: {{ path: data, topics: [in] }} }}\n\
             stages: [{{ name: s, plugin: {} }}]\n\
             sink: {{ local: {{ path: data, topic: out }} }}\n{more}",
            // The reference may have a colon and a slash in it, and keys may follow.
            match plugin.split_once(", ") {
                Some((plugin, keys)) => format!("'{plugin}', {keys}"),
                None => format!("'{plugin}'"),
            }
        );
        Ok(fs::write(self.folder.path().join("pipeline.yaml"), text)?)
    }

    /// Has a pipeline with this plugin checked, and more keys after its own.
    pub fn validate(&self, plugin: &str, more: &str) -> Result<Output> {
        self.lay_out(plugin, more)?;
        self.program(&["validate", "pipeline.yaml"])?.run()
    }

    /// The same, and it is found sound.
    pub fn validates(&self, plugin: &str) -> Result<Output> {
        let output = self.validate(plugin, "")?;
        ensure!(output.code == Some(0), "{plugin}: {output:?}");
        Ok(output)
    }

    /// The same, and it is refused, with this exit code and these words.
    pub fn refuses(&self, plugin: &str, code: i32, words: &[&str]) -> Result<Output> {
        let output = self.validate(plugin, "")?;
        clear(&output, code, words).context(plugin.to_owned())?;
        Ok(output)
    }

    /// Runs the pipeline until it is ready.
    pub fn runs(&self, plugin: &str) -> Result<()> {
        self.lay_out(plugin, "")?;
        self.done(&["topics", "create", "in", "--local", "data"])?;
        let admin = free_address()?;
        let mut running = self.program(&["run", "pipeline.yaml", "--admin", &admin.to_string()])?.spawn()?;
        running.wait_ready(admin, READY_WITHIN)?;
        let metrics = http::get(admin, "/metrics")?.body;
        let info =
            "sluicegate_plugin_info{pipeline=\"p\",stage=\"s\",name=\"uppercase\",version=\"0.1.0\",digest=\"sha256:";
        ensure!(metrics.contains(info), "{metrics}");
        ensure!(running.stderr()?.contains("plugin loaded"), "{}", running.stderr()?);
        Ok(())
    }
}

/// One error for a person, with these words.
pub fn clear(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let stderr = &output.stderr;
    ensure!(output.code == Some(code), "exit code {:?}, expected {code}:\n{stderr}", output.code);
    ensure!(stderr.matches("error: ").count() == 1 && stderr.lines().count() <= 12, "not one error:\n{stderr}");
    ensure!(!stderr.contains("panicked"), "{stderr}");
    ensure!(words.iter().all(|word| stderr.contains(word)), "{words:?} in:\n{stderr}");
    Ok(())
}

/// Text in base64.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}
