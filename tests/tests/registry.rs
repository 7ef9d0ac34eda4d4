//! Where plugins come from: files, web servers and OCI registries, and what each of them may do wrong. Nothing of it needs
//! a broker.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::http;
use sluicegate_tests::plugins::{guest, plugin};
use sluicegate_tests::program::free_address;
use sluicegate_tests::registry::{PASSWORD, Registry, USER, sha256};
use sluicegate_tests::user::{User, base64, clear};
use sluicegate_tests::wait::eventually;
use sluicegate_tests::web::{Answer, Authority, Request, Web};

const BAD: i32 = 2;
const UNREACHABLE: i32 = 3;
const READY_WITHIN: Duration = Duration::from_secs(60);
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";

#[test]
fn a_plugin_goes_to_a_registry_and_back() -> Result<()> {
    let (registry, user) = (Registry::start()?, User::new()?);
    let pushed = user.pushed(&registry, "team/upper:1.0")?;
    let pinned = pushed["reference"].as_str().context("a reference")?;
    // Again, it is the same artifact.
    ensure!(user.pushed(&registry, "team/upper:1.0")?["reference"] == pinned, "{pushed}");
    let manifest = registry.manifest("team/upper", "1.0")?;
    assert_eq!(manifest["config"]["mediaType"], CONFIG);
    assert_eq!(
        (&manifest["layers"][0]["mediaType"], &manifest["layers"][0]["digest"]),
        (&json!(LAYER), &pushed["digest"])
    );
    for reference in [format!("oci://{}/team/upper:1.0", registry.address()), pinned.to_owned()] {
        let pulled = user.done(&["pull", &reference, "-o", "back.wasm", "--json"])?;
        let pulled: Value = serde_json::from_str(&pulled)?;
        assert_eq!(pulled["digest"], pushed["digest"]);
        ensure!(fs::read(user.folder.path().join("back.wasm"))? == fs::read(plugin("uppercase")?)?, "other bytes");
    }
    // With a digest, the tag is set all the same.
    let (_, digest) = pinned.rsplit_once('@').context("a digest")?;
    user.pushed(&registry, &format!("team/upper:1.1@{digest}"))?;
    assert_eq!(registry.manifest("team/upper", "1.1")?, manifest);
    let inspected = user.done(&["inspect", pinned, "--json"])?;
    assert_eq!(serde_json::from_str::<Value>(&inspected)?["name"], "uppercase");
    Ok(())
}

#[test]
fn a_restart_needs_no_registry() -> Result<()> {
    let (mut registry, user) = (Registry::start()?, User::new()?);
    let pushed = user.pushed(&registry, "upper:1")?;
    let tag = format!("oci://{}/upper:1", registry.address());
    let (manifest, layer) = (pushed["reference"].as_str().context("text")?, pushed["digest"].as_str().context("text")?);
    let by_layer = format!("{tag}, digest: '{layer}'");
    for plugin in [&tag, manifest, &by_layer] {
        user.validates(plugin)?;
    }
    registry.stop()?;
    for plugin in [manifest, &by_layer] {
        let checked = user.validates(plugin)?;
        ensure!(!checked.stderr.contains("WARN"), "what is pinned needs no registry: {checked:?}");
    }
    let checked = user.validates(&tag)?;
    ensure!(checked.stderr.contains("Connection refused") && checked.stderr.contains("the last time"), "{checked:?}");
    user.runs(&tag)?;
    // Another user has never seen it.
    let refused = User::new()?.refuses(&tag, UNREACHABLE, &["pipeline.yaml:3:", "stage 's'", "Connection refused"])?;
    ensure!(!refused.stderr.contains("the last time"), "{refused:?}");
    Ok(())
}

#[test]
fn a_damaged_cache_is_fetched_again() -> Result<()> {
    let (mut registry, user) = (Registry::start()?, User::new()?);
    let pushed = user.pushed(&registry, "upper:1")?;
    let pinned = pushed["reference"].as_str().context("a reference")?;
    user.validates(pinned)?;
    let hex = pushed["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).context("a digest")?;
    let kept = user.folder.path().join("cache/sluicegate/plugins/sha256").join(hex);
    let mut bytes = fs::read(&kept)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept, &bytes)?;
    let checked = user.validates(pinned)?;
    ensure!(checked.stderr.contains("is damaged"), "{checked:?}");
    fs::write(&kept, &bytes)?;
    registry.stop()?;
    user.refuses(pinned, UNREACHABLE, &["Connection refused"]).map(drop)
}

#[test]
fn a_tag_that_moves_is_followed_and_one_that_is_gone_is_refused() -> Result<()> {
    let (registry, user) = (Registry::start()?, User::new()?);
    let tag = format!("oci://{}/plugin:stable", registry.address());
    let first = user.pushed(&registry, "plugin:stable")?;
    user.validates(&tag)?;
    let (other, text) = (guest("fickle")?, tag.as_str());
    user.done(&["push", other.to_str().context("UTF-8")?, text])?;
    let checked = user.validates(&tag)?;
    ensure!(!checked.stderr.contains(first["digest"].as_str().context("text")?), "{checked:?}");
    let pulled: Value = serde_json::from_str(&user.done(&["pull", text, "-o", "now.wasm", "--json"])?)?;
    let manifest = pulled["reference"].as_str().and_then(|reference| reference.rsplit_once('@')).context("a digest")?.1;
    registry.delete("plugin", manifest)?;
    user.refuses(&tag, BAD, &["not found", "no such repository, tag or digest"])?;
    user.refused(&["pull", text], BAD, &["not found"])?;
    user.refused(&["pull", &format!("oci://{}/nothing:1", registry.address())], BAD, &["not found"]).map(drop)
}

#[test]
fn a_tag_that_moves_is_taken_up_by_what_runs() -> Result<()> {
    let (mut registry, user) = (Registry::start()?, User::new()?);
    let tag = format!("oci://{}/plugin:live", registry.address());
    let first = user.pushed(&registry, "plugin:live")?;
    user.lay_out(&format!("{tag}, reload-interval: 1s"), "")?;
    user.done(&["topics", "create", "in", "--local", "data"])?;
    let admin = free_address()?;
    let mut running = user.program(&["run", "pipeline.yaml", "--admin", &admin.to_string()])?.spawn()?;
    running.wait_ready(admin, READY_WITHIN)?;
    let digest = || -> Result<Value> {
        let status: Value = serde_json::from_str(&http::get(admin, "/v1/pipelines")?.body)?;
        Ok(status[0]["stages"][0]["digest"].clone())
    };
    assert_eq!(digest()?, first["digest"]);
    let other = guest("fickle")?;
    let pushed = user.done(&["push", other.to_str().context("UTF-8")?, &tag, "--json"])?;
    let pushed: Value = serde_json::from_str(&pushed)?;
    eventually(READY_WITHIN, "the other plugin", || Ok((digest()? == pushed["digest"]).then_some(())))?;
    // By hand, from where it is: that stays until the tag moves again.
    user.pushed(&registry, "plugin:kept")?;
    let kept = format!("oci://{}/plugin:kept", registry.address());
    user.done(&["load", "p", "s", &kept, "--admin", &admin.to_string()])?;
    assert_eq!(digest()?, first["digest"]);
    registry.stop()?;
    eventually(READY_WITHIN, "a look at what is gone", || {
        ensure!(running.is_running()?, "{}", running.stderr()?);
        Ok(running.stderr()?.contains("Connection refused").then_some(()))
    })?;
    assert_eq!(digest()?, first["digest"]);
    Ok(())
}

#[test]
fn a_private_registry_knows_docker_s_users() -> Result<()> {
    let (registry, user) = (Registry::start_private()?, User::new()?);
    let file = plugin("uppercase")?;
    let (file, to) = (file.to_str().context("UTF-8")?, format!("oci://{}/upper:1", registry.address()));
    user.refused(&["push", file, &to], BAD, &["wants to know who asks", "docker login"])?;
    user.login(registry.address(), "wrong")?;
    user.refused(&["push", file, &to], BAD, &["not authorised", "docker login"])?;
    user.refuses(&to, BAD, &["not authorised"])?;
    user.login(registry.address(), PASSWORD)?;
    user.done(&["push", file, &to])?;
    user.validates(&to).map(drop)
}

#[test]
fn a_token_is_fetched_where_the_registry_says() -> Result<()> {
    let (user, bytes) = (User::new()?, fs::read(plugin("uppercase")?)?);
    let basic = format!("Basic {}", base64(format!("{USER}:{PASSWORD}")));
    let tokens = Web::start(move |request: &Request| match request.authorization.as_ref() == Some(&basic) {
        true if request.path == "/token?scope=repository%3Ax%3Apull&service=tests" => Answer::of(r#"{"token":"t1"}"#),
        _ => Answer::status(401),
    })?;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"tests\"", tokens.address());
    let serve = artifact(&bytes, CONFIG, &[LAYER]);
    let registry = Web::start(move |request| match request.authorization.as_deref() {
        Some("Bearer t1") => serve(request),
        _ => Answer::status(401).with("WWW-Authenticate", challenge.clone()),
    })?;
    let plugin = format!("oci://{}/x:1", registry.address());
    user.refuses(&plugin, BAD, &["gives no token for repository:x:pull", "docker login"])?;
    user.login(registry.address(), PASSWORD)?;
    user.validates(&plugin).map(drop)
}

#[test]
fn a_credential_helper_is_asked_and_may_know_nobody() -> Result<()> {
    let (private, user) = (Registry::start_private()?, User::new()?);
    let serve = artifact(&fs::read(plugin("uppercase")?)?, CONFIG, &[LAYER]);
    let tokens = Web::start(|request| match request.authorization {
        None => Answer::of(r#"{"token":"anybody's"}"#),
        Some(_) => Answer::status(401),
    })?;
    let challenge = format!("Bearer realm=\"http://{}/token\"", tokens.address());
    let public = Web::start(move |request| match request.authorization.as_deref() {
        Some("Bearer anybody's") => serve(request),
        _ => Answer::status(401).with("WWW-Authenticate", challenge.clone()),
    })?;
    let login = json!({ "ServerURL": "", "Username": USER, "Secret": PASSWORD });
    user.helper(&format!(
        "[ \"$(cat)\" = {} ] && echo '{login}' && exit\necho 'credentials not found in native keychain'\nexit 1\n",
        private.address()
    ))?;
    user.validates(&format!("oci://{}/x:1", public.address()))?;
    let (file, to) = (plugin("uppercase")?, format!("oci://{}/upper:1", private.address()));
    user.done(&["push", file.to_str().context("UTF-8")?, &to])?;
    user.validates(&to)?;
    user.helper("echo 'the keychain is locked'\nexit 1\n")?;
    user.refuses(&format!("oci://{}/y:1", public.address()), BAD, &["docker-credential-fake fails", "docker login"])?;
    Ok(())
}

#[test]
fn what_a_registry_may_do_wrong_is_refused() -> Result<()> {
    let bytes = fs::read(plugin("uppercase")?)?;
    let user = User::new()?;
    let refused = |serve: &dyn Fn() -> Result<Web>, code: i32, words: &[&str]| -> Result<()> {
        user.refuses(&format!("oci://{}/x:1", serve()?.address()), code, words).map(drop)
    };
    refused(&|| Web::start(artifact(&bytes, "application/json", &[LAYER])), BAD, &["no plugin", "'application/json'"])?;
    refused(&|| Web::start(artifact(&bytes, CONFIG, &["application/gzip"])), BAD, &["'application/gzip'", LAYER])?;
    refused(&|| Web::start(artifact(&bytes, CONFIG, &[LAYER, LAYER])), BAD, &["2 layers, and not one"])?;
    refused(&|| Web::start(|_| Answer::of(vec![b' '; 5 << 20])), BAD, &["the manifest", "more than 4194304 bytes"])?;
    refused(&|| Web::start(|_| Answer::of("<html>")), BAD, &["no plugin", "not that of an OCI image"])?;
    refused(&|| Web::start(|_| Answer::status(503)), UNREACHABLE, &["HTTP status 503"])?;
    refused(&|| Web::start(|_| Answer::status(403)), BAD, &["not authorised"])?;
    let lying = artifact(&bytes, CONFIG, &[LAYER]);
    let lie = move |request: &Request| match request.path.contains("/blobs/") {
        true => Answer::of("something else"),
        false => lying(request),
    };
    refused(&|| Web::start(lie.clone()), BAD, &["as its manifest says: not loaded"])?;
    // The manifest says that it is small.
    let endless = artifact(b"small", CONFIG, &[LAYER]);
    let flood = move |request: &Request| match request.path.contains("/blobs/") {
        true => Answer::of(vec![0; 2 << 20]),
        false => endless(request),
    };
    let web = Web::start(flood)?;
    let limited = format!("oci://{}/x:1, limits: {{ file-size: 1MiB }}", web.address());
    user.refuses(&limited, BAD, &["more than 1048576 bytes", "limits.file-size"])?;
    let web = Web::start(artifact(&vec![0; 2 << 20], CONFIG, &[LAYER]))?;
    let limited = format!("oci://{}/x:1, limits: {{ file-size: 1MiB }}", web.address());
    user.refuses(&limited, BAD, &["2097152 bytes, more than 1048576", "limits.file-size"])?;
    assert_eq!(web.asked(), 1, "what is too large is not asked for");
    let pinned =
        format!("oci://{}/x@sha256:{}", Web::start(artifact(&bytes, CONFIG, &[LAYER]))?.address(), "0".repeat(64));
    user.refuses(&pinned, BAD, &["not the one that was asked for"]).map(drop)
}

#[test]
fn a_plugin_comes_from_a_web_server_that_is_trusted() -> Result<()> {
    let (user, bytes, authority) = (User::new()?, fs::read(plugin("uppercase")?)?, Authority::new()?);
    let digest = sha256(&bytes);
    let served = bytes.clone();
    let web = Web::start_tls(&authority, move |request| match request.path.as_str() {
        "/upper.wasm" => Answer::of(served.clone()),
        "/moved.wasm" => Answer::status(302).with("Location", "/upper.wasm"),
        "/round" => Answer::status(302).with("Location", "/round"),
        "/plain" => Answer::status(302).with("Location", "http://localhost:1/upper.wasm"),
        "/other.wasm" => Answer::of("other"),
        _ => Answer::status(404),
    })?;
    let at = |path: &str| format!("https://localhost:{}/{path}", web.address().port());
    let pinned = |path: &str| format!("{}, digest: '{digest}'", at(path));
    user.refuses(&pinned("upper.wasm"), UNREACHABLE, &["no trusted TLS connection", "SSL_CERT_FILE"])?;
    fs::write(user.folder.path().join("authority.pem"), authority.pem())?;
    user.refuses(&at("upper.wasm"), BAD, &["may change what it gives", "digest: sha256:"])?;
    user.refuses(&pinned("round"), BAD, &["more than 5 redirects"])?;
    user.refuses(&pinned("plain"), BAD, &["without TLS"])?;
    user.refuses(&pinned("nothing.wasm"), BAD, &["not found"])?;
    user.refuses(&pinned("other.wasm"), BAD, &["has digest sha256:", "pinned is sha256:"])?;
    user.validates(&pinned("moved.wasm"))?;
    let asked = web.asked();
    user.validates(&pinned("upper.wasm"))?;
    assert_eq!(web.asked(), asked, "what is pinned and kept is not asked for");
    let plain = Web::start(|_| Answer::status(200))?;
    let url = format!("https://localhost:{}/upper.wasm, digest: 'sha256:{}'", plain.address().port(), "0".repeat(64));
    user.refuses(&url, UNREACHABLE, &["no trusted TLS connection"])?;
    user.refuses(&pinned("upper.wasm").replace("https", "http"), BAD, &["use https://"]).map(drop)
}

#[test]
fn a_locked_pipeline_takes_what_is_pinned_and_nothing_else() -> Result<()> {
    let (registry, user) = (Registry::start()?, User::new()?);
    let pushed = user.pushed(&registry, "upper:1")?;
    let (pinned, digest) = (pushed["reference"].as_str().context("text")?, pushed["digest"].as_str().context("text")?);
    let tag = format!("oci://{}/upper:1", registry.address());
    let file = plugin("uppercase")?.display().to_string();
    let locked = |plugin: &str| user.validate(plugin, "trust: { locked: true }\n");
    for plugin in [pinned.to_owned(), format!("{tag}, digest: '{digest}'"), format!("{file}, digest: '{digest}'")] {
        let checked = locked(&plugin)?;
        ensure!(checked.code == Some(0), "{plugin}: {checked:?}");
    }
    for plugin in [tag, file] {
        clear(&locked(&plugin)?, BAD, &["is not pinned, and the pipeline is locked", "digest: sha256:"])?;
    }
    Ok(())
}

/// Serves one artifact, of layers that all are these bytes.
fn artifact(
    bytes: &[u8],
    config: &str,
    layers: &[&str],
) -> impl Fn(&Request) -> Answer + Send + Sync + Clone + 'static {
    let digest = sha256(bytes);
    let descriptor = |media_type: &str| json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
    let layers: Vec<_> = layers.iter().map(|layer| descriptor(layer)).collect();
    let manifest = json!({ "schemaVersion": 2, "config": descriptor(config), "layers": layers }).to_string();
    let (bytes, blob) = (bytes.to_vec(), format!("/v2/x/blobs/{digest}"));
    move |request| match request.path.as_str() {
        path if path == blob => Answer::of(bytes.clone()),
        path if path.starts_with("/v2/x/manifests/") => Answer::of(manifest.clone()),
        _ => Answer::status(404),
    }
}
