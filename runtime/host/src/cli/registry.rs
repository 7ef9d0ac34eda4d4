use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sluicegate_wasm::Plugin;

use crate::app::App;
use crate::config::{Limits, Size};
use crate::console::say;
use crate::exit::Exit;
use crate::files;
use crate::registry::{OciRef, PluginRef, Wanted};

#[derive(Args)]
pub(super) struct Push {
    /// The plugin's .wasm file.
    plugin: PathBuf,
    /// Where to push it: oci://registry/repository:tag.
    to: PluginRef,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
pub(super) struct Pull {
    /// What to fetch: oci://registry/repository:tag or …@sha256:….
    from: PluginRef,
    /// The file to write; by default the last part of the repository's name, with .wasm after it.
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
struct How {
    /// Use plain HTTP, without TLS, for a registry that is not on this machine.
    #[arg(long)]
    plain_http: bool,
    /// Refuse a plugin that is larger than this.
    #[arg(long, default_value_t = Limits::default().file_size)]
    file_size: Size,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Writes a plugin to a registry.
pub(super) fn push(options: &Push) -> Result<(), Exit> {
    let (oci, how) = (oci(&options.to)?, &options.how);
    let load = sluicegate_wasm::LoadOptions { file_size_max: how.file_size.0, ..Default::default() };
    let bytes = Plugin::read(&options.plugin, &load)?;
    let pushed = App::new()?.registry().push(oci, &bytes, how.plain_http);
    let manifest = pushed.map_err(|exit| exit.within(&format!("plugin {}", options.plugin.display())))?;
    let pinned = OciRef { digest: Some(manifest), ..oci.clone() };
    if how.json {
        let digest = crate::config::Digest::of(&bytes).to_string();
        return super::print_json(&json!({ "reference": pinned.to_string(), "digest": digest }));
    }
    say!("{pinned}");
    Ok(())
}

/// Fetches a plugin into a file.
pub(super) fn pull(options: &Pull) -> Result<(), Exit> {
    let (oci, how) = (oci(&options.from)?, &options.how);
    let wanted = Wanted { digest: None, size_max: how.file_size.0, plain_http: how.plain_http };
    let fetched = App::new()?.registry().fetch(&options.from, &wanted)?;
    let path = options.output.clone().unwrap_or_else(|| format!("{}.wasm", options.from.stem()).into());
    files::replace(&path, &fetched.bytes)
        .map_err(|error| Exit::failed(format!("cannot write {}: {error}", path.display())))?;
    let pinned = OciRef { digest: fetched.manifest, ..oci.clone() };
    if how.json {
        let digest = fetched.digest.to_string();
        return super::print_json(&json!({ "file": path, "reference": pinned.to_string(), "digest": digest }));
    }
    say!("{}  {}  {pinned}", path.display(), fetched.digest);
    Ok(())
}

fn oci(plugin: &PluginRef) -> Result<&OciRef, Exit> {
    match plugin {
        PluginRef::Oci(oci) => Ok(oci),
        other => Err(Exit::usage(format!("{other} is in no OCI registry: expected oci://registry/repository:tag"))),
    }
}
