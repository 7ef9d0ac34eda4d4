//! `sluicegate demo`: the main job in one process, with nothing to set up.
//!
//! It lays out a folder as a user would (a pipeline file, two plugins), runs that file exactly as `run` does, and
//! writes trades to its source topic meanwhile.

mod display;
mod trades;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sluicegate_local::TopicSettings;

use crate::app::App;
use crate::config::{self, Admin};
use crate::exit::Exit;
use crate::files;
use crate::service::Service;

const PIPELINE: &str = include_str!("../../../../examples/trades/pipeline.yaml");
const PLUGINS: [(&str, &[u8]); 2] = [
    ("redact.wasm", include_bytes!(concat!(env!("OUT_DIR"), "/redact.wasm"))),
    ("route.wasm", include_bytes!(concat!(env!("OUT_DIR"), "/route.wasm"))),
];
const PARTITIONS: u32 = 3;

#[derive(Args)]
pub(crate) struct Options {
    /// Trades to produce per second.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: u32,
    /// End after this time, such as 10s, instead of at Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Keep everything in this folder instead of a temporary one. Files of yours in it are not overwritten.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Where the admin endpoint listens; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0", value_parser = config::address)]
    admin: SocketAddr,
}

pub(crate) fn run(options: &Options) -> Result<(), Exit> {
    let temporary = tempfile::Builder::new().prefix("sluicegate-demo-").tempdir()?;
    let folder = options.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    lay_out(&folder)?;

    let app = Arc::new(App::new()?);
    let service = Service::open(&app, Some(Admin::at(options.admin)), None)?;
    let pipeline = config::load(&folder.join("pipeline.yaml"))?;
    let log = app.log(&folder.join("data"))?;
    log.ensure_topic("trades", &TopicSettings { partitions: PARTITIONS, ..TopicSettings::default() })?;
    let service = service.start(vec![app.load(pipeline)?])?;
    display::introduce(&folder, service.admin());

    let stop = service.stopper();
    let running = Arc::clone(&service.running()[0]);
    let producer = trades::Producer::start(&log, options.rate)?;
    let display = display::Display::open(&log, running)?;
    let duration = options.duration;
    let shown = std::thread::spawn(move || {
        display.run(duration);
        producer.stop();
        stop();
    });
    let ended = service.wait();
    if shown.join().is_err() {
        return Err(Exit::failed("the demo's display crashed"));
    }
    ended.map(drop)
}

fn lay_out(folder: &Path) -> Result<(), Exit> {
    let failed = |error| Exit::failed(format!("cannot set up {}: {error}", folder.display()));
    std::fs::create_dir_all(folder.join("plugins")).map_err(failed)?;
    let plugins = PLUGINS.map(|(name, bytes)| (folder.join("plugins").join(name), bytes));
    for (path, bytes) in [(folder.join("pipeline.yaml"), PIPELINE.as_bytes())].into_iter().chain(plugins) {
        match files::create(&path, bytes) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Of an earlier demo, or somebody's own.
                if !std::fs::read(&path).is_ok_and(|found| found == bytes) {
                    let message = format!("{} is not the demo's own: name another --folder", path.display());
                    return Err(Exit::usage(message));
                }
            }
            made => made.map_err(failed)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_of_somebody_elses_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        lay_out(folder.path()).unwrap();
        lay_out(folder.path()).unwrap();
        let pipeline = folder.path().join("pipeline.yaml");
        std::fs::write(&pipeline, "name: mine\n").unwrap();
        assert!(lay_out(folder.path()).unwrap_err().message.contains("is not the demo's own"));
        assert_eq!(std::fs::read_to_string(&pipeline).unwrap(), "name: mine\n");
    }
}
