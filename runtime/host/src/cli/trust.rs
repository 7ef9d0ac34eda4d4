use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use sluicegate_wasm::{FILE_BYTES_MAX, LoadOptions, Plugin};

use crate::app::App;
use crate::console::say;
use crate::exit::Exit;
use crate::files;
use crate::registry::{PluginRef, Wanted};
use crate::trust::{self, PublicKey, SecretKey};

/// No key is longer.
const KEY_BYTES_MAX: u64 = 16 << 10;

#[derive(Args)]
pub(super) struct Keygen {
    /// The name of both files: <name>.key is the secret key, <name>.pub the public one.
    name: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Sign {
    /// The plugin's .wasm file.
    plugin: PathBuf,
    /// The secret key's file.
    #[arg(long)]
    key: PathBuf,
    /// The file to write; by default the plugin's own.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Verify {
    /// The plugin: a .wasm file, or oci://registry/repository:tag, where cosign's signatures count as well.
    plugin: PluginRef,
    /// A public key file; may be repeated, and any one of them is enough.
    #[arg(long, required = true)]
    key: Vec<PathBuf>,
    /// Use plain HTTP, without TLS, for a registry that is not on this machine.
    #[arg(long)]
    plain_http: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Makes a key pair.
pub(super) fn keygen(options: &Keygen) -> Result<(), Exit> {
    let file = |ending: &str| {
        let mut file = options.name.clone().into_os_string();
        file.push(ending);
        PathBuf::from(file)
    };
    let (secret_file, public_file) = (file(".key"), file(".pub"));
    let failed = |path: &Path, error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => Exit::usage(format!("{} is there already: choose another name", path.display())),
        _ => Exit::failed(format!("cannot write {}: {error}", path.display())),
    };
    // Looked for first, so that none of them is left without the other.
    if let Some(there) = [&secret_file, &public_file].into_iter().find(|file| file.exists()) {
        return Err(failed(there, ErrorKind::AlreadyExists.into()));
    }
    let secret = SecretKey::generate();
    files::create_secret(&secret_file, secret.to_pem().as_bytes()).map_err(|error| failed(&secret_file, error))?;
    files::create(&public_file, secret.public().to_pem().as_bytes()).map_err(|error| failed(&public_file, error))?;
    if options.json {
        let id = secret.public().to_string();
        return super::print_json(&json!({ "secret": secret_file, "public": public_file, "id": id }));
    }
    say!("{} (secret: keep it)  {}  {}", secret_file.display(), public_file.display(), secret.public());
    Ok(())
}

/// Signs a plugin.
pub(super) fn sign(options: &Sign) -> Result<(), Exit> {
    let key = SecretKey::from_pem(&read_key(&options.key)?);
    let key = key.map_err(|error| Exit::usage(format!("{}: {error}", options.key.display())))?;
    let signed = trust::sign(&read(&options.plugin)?, &key);
    let signed = signed.map_err(|error| Exit::usage(format!("plugin {}: {error}", options.plugin.display())))?;
    let path = options.output.as_ref().unwrap_or(&options.plugin);
    files::replace(path, &signed).map_err(|error| Exit::failed(format!("cannot write {}: {error}", path.display())))?;
    let (digest, id) = (crate::config::Digest::of(&signed), key.public());
    if options.json {
        return super::print_json(&json!({ "file": path, "digest": digest.to_string(), "key": id.to_string() }));
    }
    say!("{}  {digest}  signed by {id}", path.display());
    Ok(())
}

/// Checks who signed a plugin.
pub(super) fn verify(options: &Verify) -> Result<(), Exit> {
    let keys: Vec<PublicKey> = options.key.iter().map(|path| read_public(path)).collect::<Result<_, _>>()?;
    let (app, plugin) = (App::new()?, &options.plugin);
    let wanted = Wanted { digest: None, size_max: FILE_BYTES_MAX, plain_http: options.plain_http };
    let fetched = app.registry().fetch(plugin, &wanted)?;
    let signers = app.signers(plugin, &fetched.bytes, &keys, options.plain_http)?;
    let signers = signers.map_err(|error| Exit::usage(format!("plugin {plugin}: {error}")))?;
    let ids: Vec<String> = signers.iter().map(ToString::to_string).collect();
    if options.json {
        let digest = fetched.digest.to_string();
        return super::print_json(&json!({ "file": plugin.to_string(), "digest": digest, "keys": ids }));
    }
    say!("{plugin}: signed by {}", ids.join(", "));
    Ok(())
}

/// The public key in a file.
pub(super) fn read_public(path: &Path) -> Result<PublicKey, Exit> {
    read_key(path)?.parse().map_err(|error| Exit::usage(format!("{}: {error}", path.display())))
}

fn read_key(path: &Path) -> Result<String, Exit> {
    let cannot = |why: &dyn std::fmt::Display| Exit::usage(format!("cannot read key {}: {why}", path.display()));
    let bytes = files::read(path, KEY_BYTES_MAX).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => cannot(&format_args!("more than {KEY_BYTES_MAX} bytes are too long for a key")),
        _ => cannot(&error),
    })?;
    String::from_utf8(bytes).map_err(|error| cannot(&error))
}

fn read(plugin: &Path) -> Result<Vec<u8>, Exit> {
    // Whoever signs or asks has the file; a pipeline has limits of its own.
    Ok(Plugin::read(plugin, &LoadOptions { file_size_max: u64::MAX, ..LoadOptions::default() })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_for_a_key_is_refused_and_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ops.pub");
        let mut text = SecretKey::generate().public().to_pem();
        text.push_str(&"#".repeat(KEY_BYTES_MAX as usize - text.len()));
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read_key(&path).unwrap(), text);
        std::fs::write(&path, text + "#").unwrap();
        let message = read_public(&path).err().unwrap().message;
        assert!(message.contains("ops.pub: more than 16384 bytes are too long for a key"), "{message}");
    }
}
