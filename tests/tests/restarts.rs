//! What was changed at run time, over a restart and over a change of the pipeline's file.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::http;
use sluicegate_tests::plugins::guest;
use sluicegate_tests::program::{Running, free_address};
use sluicegate_tests::registry::Registry;
use sluicegate_tests::stamp::{digest, version};
use sluicegate_tests::user::User;
use sluicegate_tests::wait::eventually;

const WITHIN: Duration = Duration::from_secs(60);
const EDITED: &str = "commit: { interval: 50ms }\n";

/// Nobody else has the plugin any more: the tag leads to another.
#[test]
fn a_rollback_to_what_a_tag_led_to_holds_over_an_edit_and_a_restart() -> Result<()> {
    let (registry, setup) = (Registry::start()?, Setup::new()?);
    let tag = format!("oci://{}/plugin:stable", registry.address());
    let first = setup.user.pushed(&registry, "plugin:stable")?["digest"].clone();
    let plugin = format!("{tag}, reload-interval: 1s");
    setup.user.lay_out(&plugin, "")?;
    let running = setup.start()?;
    let other = guest("fickle")?;
    setup.user.done(&["push", other.to_str().context("UTF-8")?, &tag])?;
    setup.wait_until("the other plugin", |stage| stage["digest"] != first)?;
    setup.user.done(&["rollback", "p", "s", "--admin", &setup.admin.to_string()])?;
    ensure!(setup.stage()?["digest"] == first, "{}", setup.stage()?);

    setup.user.lay_out(&plugin, EDITED)?;
    setup.wait_for_edits(1)?;
    // Nor is it on trial: only a person takes it back to what it has replaced.
    let is_first = |stage: &Value| stage["digest"] == first && stage["on_trial"] == false;
    ensure!(is_first(&setup.stage()?), "{}", setup.stage()?);
    running.end()?;
    fs::remove_dir_all(setup.user.folder.path().join("cache/sluicegate/plugins"))?;
    let running = setup.start()?;
    ensure!(is_first(&setup.stage()?), "{}", setup.stage()?);
    running.end()
}

/// Whatever is amiss with it: here its bytes, which a disk gives back as others.
#[test]
fn what_does_not_run_any_more_ends_a_start_and_is_not_forgotten() -> Result<()> {
    let setup = Setup::new()?;
    let (second, folder) = (version(2)?, setup.user.folder.path());
    fs::write(folder.join("stamp.wasm"), version(1)?)?;
    fs::write(folder.join("given.wasm"), &second)?;
    setup.user.lay_out("stamp.wasm", "")?;
    let running = setup.start()?;
    let admin = setup.admin.to_string();
    setup.user.done(&["load", "p", "s", "given.wasm", "--admin", &admin])?;
    running.end()?;

    let state = folder.join("state/sluicegate/p");
    let kept = state.join("plugins").join(digest(&second).replace("sha256:", "") + ".wasm");
    fs::write(&kept, "damaged")?;
    for _ in 0..2 {
        let words = ["pipeline 'p', stage 's'", "other bytes", "removing \"s\" from \"stages\" in", "state.json"];
        setup.user.refused(&["run", "pipeline.yaml"], 2, &words)?;
    }
    fs::write(&kept, &second)?;
    let running = setup.start()?;
    ensure!(setup.stage()?["version"] == "000002", "{}", setup.stage()?);

    // While it runs, the changed file is refused.
    fs::write(&kept, "damaged")?;
    setup.user.lay_out("stamp.wasm", EDITED)?;
    eventually(WITHIN, "the refusal", || {
        let files = http::get(setup.admin, "/v1/files")?.body;
        Ok((files.contains("other bytes") && files.contains("'sluicegate load p s --configured'")).then_some(()))
    })?;
    ensure!(setup.stage()?["version"] == "000002", "{}", setup.stage()?);
    setup.user.done(&["load", "p", "s", "--configured", "--admin", &admin])?;
    setup.user.lay_out("stamp.wasm", "")?;
    setup.wait_for_edits(1)?;
    ensure!(setup.stage()?["version"] == "000001", "{}", setup.stage()?);
    running.end()?;

    // As the hint says: what is removed by hand is forgotten.
    let text = fs::read_to_string(state.join("state.json"))?;
    let mut kept: Value = serde_json::from_str(&text)?;
    kept["stages"] = json!({ "s": { "digest": "0".repeat(64), "file": digest(&version(1)?).replace("sha256:", "") } });
    fs::write(state.join("state.json"), kept.to_string())?;
    setup.user.refused(&["run", "pipeline.yaml"], 2, &["No such file"])?;
    kept["stages"].as_object_mut().context("stages")?.remove("s");
    fs::write(state.join("state.json"), kept.to_string())?;
    let running = setup.start()?;
    ensure!(setup.stage()?["version"] == "000001", "{}", setup.stage()?);
    running.end()
}

/// The pipeline `p` with the stage `s`, which follows its file, in a user's folder.
struct Setup {
    user: User,
    admin: SocketAddr,
}

impl Setup {
    fn new() -> Result<Self> {
        let user = User::new()?;
        user.done(&["topics", "create", "in", "--local", "data"])?;
        Ok(Setup { user, admin: free_address()? })
    }

    fn start(&self) -> Result<Running> {
        let mut running =
            self.user.program(&["run", "--config-dir", ".", "--admin", &self.admin.to_string()])?.spawn()?;
        running.wait_ready(self.admin, WITHIN)?;
        Ok(running)
    }

    fn stage(&self) -> Result<Value> {
        let status: Value = serde_json::from_str(&http::get(self.admin, "/v1/pipelines/p")?.body)?;
        Ok(status["stages"][0].clone())
    }

    fn wait_until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
        eventually(WITHIN, what, || Ok(is(&self.stage()?).then_some(())))
    }

    /// Waits until so many changes of the pipeline's file have been taken up since the beginning.
    fn wait_for_edits(&self, count: usize) -> Result<()> {
        eventually(WITHIN, "the changed file", || {
            let history: Vec<Value> = serde_json::from_str(&http::get(self.admin, "/v1/pipelines/p/history")?.body)?;
            let is_edit = |entry: &&Value| entry["action"] == "configure" && entry["ended"] == "done";
            Ok((history.iter().filter(is_edit).count() >= count).then_some(()))
        })
    }
}
