//! What was changed at run time, over a restart and over a change of the pipeline's file.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluicegate_tests::http;
use sluicegate_tests::plugins::guest;
use sluicegate_tests::process::Signal;
use sluicegate_tests::program::{Running, free_address};
use sluicegate_tests::registry::Registry;
use sluicegate_tests::user::User;
use sluicegate_tests::wait::eventually;

const WITHIN: Duration = Duration::from_secs(60);
const ENDED_WITHIN: Duration = Duration::from_secs(10);
const EDITED: &str = "commit: { interval: 50ms }\n";

/// Nobody else has the plugin any more: the tag leads to another.
#[test]
fn a_rollback_to_what_a_tag_led_to_holds_over_an_edit_and_a_restart() -> Result<()> {
    let (registry, setup) = (Registry::start()?, Setup::new()?);
    let tag = format!("oci://{}/plugin:stable", registry.address());
    let first = setup.user.pushed(&registry, "plugin:stable")?["digest"].clone();
    let plugin = format!("{tag}, reload-interval: 1s");
    setup.user.lay_out(&plugin, "")?;
    let mut running = setup.start()?;
    let other = guest("fickle")?;
    setup.user.done(&["push", other.to_str().context("UTF-8")?, &tag])?;
    setup.wait_until("the other plugin", |stage| stage["digest"] != first)?;
    setup.user.done(&["rollback", "p", "s", "--admin", &setup.admin.to_string()])?;
    ensure!(setup.stage()?["digest"] == first, "{}", setup.stage()?);

    setup.user.lay_out(&plugin, EDITED)?;
    setup.wait_for_edits(1)?;
    ensure!(setup.stage()?["digest"] == first, "{}", setup.stage()?);
    end(&mut running)?;
    fs::remove_dir_all(setup.user.folder.path().join("cache/sluicegate/plugins"))?;
    let mut running = setup.start()?;
    ensure!(setup.stage()?["digest"] == first, "{}", setup.stage()?);
    end(&mut running)
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

    /// Waits until so many changes of the pipeline's file were taken up since the beginning.
    fn wait_for_edits(&self, count: usize) -> Result<()> {
        eventually(WITHIN, "the changed file", || {
            let history: Vec<Value> =
                serde_json::from_str(&http::get(self.admin, "/v1/pipelines/p/history")?.body)?;
            let is_edit = |entry: &&Value| entry["action"] == "configure" && entry["ended"] == "done";
            Ok((history.iter().filter(is_edit).count() == count).then_some(()))
        })
    }
}

fn end(running: &mut Running) -> Result<()> {
    running.signal(Signal::Term)?;
    eventually(ENDED_WITHIN, "its end", || Ok((!running.is_running()?).then_some(())))
}
