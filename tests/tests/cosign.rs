//! Plugins that somebody has signed in their registry, as `cosign sign --key` does it. Nothing of it needs a broker.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sluicegate_tests::cosign::{BUNDLE, Cosign, INDEX, SIGNED};
use sluicegate_tests::http;
use sluicegate_tests::plugins::guest;
use sluicegate_tests::program::free_address;
use sluicegate_tests::registry::Registry;
use sluicegate_tests::user::{User, clear};
use sluicegate_tests::wait::eventually;
use sluicegate_tests::web::{Answer, Web};

const BAD: i32 = 2;
const UNREACHABLE: i32 = 3;
const READY_WITHIN: Duration = Duration::from_secs(60);
const TRUST: &str = "trust: { keys: [{ key: '${file:cosign.pub}' }] }\n";

#[test]
fn what_is_signed_beside_it_is_loaded_and_nothing_else() -> Result<()> {
    let (mut registry, cosign) = (Registry::start()?, Cosign::new()?);
    let mut known = Vec::new();
    for (name, newer) in [("older", false), ("newer", true)] {
        // Who has seen a plugin signed knows it in any place.
        let user = user(&cosign)?;
        let (tag, manifest) = pushed(&user, &registry, name)?;
        let refused = |words: &[&str]| clear(&user.validate(&tag, TRUST)?, BAD, words).context(tag.clone());
        refused(&["pipeline.yaml:3:", "stage 's'", &tag, "it is not signed", "'cosign sign' it in its registry"])?;
        let (other, stranger) = (format!("sha256:{}", "0".repeat(64)), Cosign::new()?);
        if newer {
            // What says that tests passed is no signature, whoever says it.
            cosign.sign_bundle(&registry, name, &manifest, "https://example.com/tests/v1")?;
            refused(&["it is not signed"])?;
            stranger.sign_bundle(&registry, name, &manifest, SIGNED)?;
            refused(&["by none of the keys that are trusted"])?;
            cosign.sign_bundle(&registry, name, &manifest, SIGNED)?;
        } else {
            stranger.sign_message(&registry, name, &manifest, &manifest)?;
            refused(&["by none of the keys that are trusted"])?;
            cosign.sign_message(&registry, name, &manifest, &other)?;
            refused(&["beside it in its registry is of another artifact"])?;
            cosign.sign_message(&registry, name, &manifest, &manifest)?;
        }
        let checked = user.validate(&tag, TRUST)?;
        ensure!(checked.code == Some(0), "{checked:?}");
        let verified = user.done(&["verify", &tag, "--key", "cosign.pub", "--json"])?;
        let inspected = user.done(&["inspect", &tag, "--key", "cosign.pub", "--no-run", "--json"])?;
        let (verified, inspected): (Value, Value) =
            (serde_json::from_str(&verified)?, serde_json::from_str(&inspected)?);
        ensure!(verified["keys"][0] == inspected["trusted-key"] && verified["keys"][0].is_string(), "{inspected}");
        user.refused(&["verify", &tag, "--key", "stranger.pub"], BAD, &["by none of the keys that are trusted"])?;
        known.push((user, tag));
    }
    registry.stop()?;
    for (user, tag) in known {
        let checked = user.validate(&tag, TRUST)?;
        ensure!(checked.code == Some(0), "a restart needs no registry: {checked:?}");
    }
    Ok(())
}

/// Registries from before OCI 1.1 have more words than 404 for a list that they do not know.
#[test]
fn where_a_registry_does_not_list_what_refers_to_a_plugin_a_tag_does() -> Result<()> {
    let (registry, cosign) = (Registry::start()?, Cosign::new()?);
    let (_, manifest) = pushed(&user(&cosign)?, &registry, "live")?;
    cosign.sign_bundle(&registry, "live", &manifest, SIGNED)?;
    let real = registry.address();
    for (status, code) in [(400, 0), (405, 0), (406, 0), (501, 0), (403, BAD), (500, UNREACHABLE)] {
        let front = Web::start(move |request| match request.path.contains("/referrers/") {
            true => Answer::status(status),
            false => Answer::status(307).with("Location", format!("http://{real}{}", request.path)),
        })?;
        // Who has seen it signed before would not ask.
        let checked = user(&cosign)?.validate(&format!("oci://{}/live:1", front.address()), TRUST)?;
        ensure!(checked.code == Some(code), "{status}: {checked:?}");
    }
    Ok(())
}

/// Registries of OCI 1.1 list what refers to a plugin, but not always what was signed before they did.
#[test]
fn where_a_registry_lists_what_refers_to_a_plugin_it_is_asked_first() -> Result<()> {
    let (registry, cosign) = (Registry::start()?, Cosign::new()?);
    let (_, manifest) = pushed(&user(&cosign)?, &registry, "live")?;
    cosign.sign_bundle(&registry, "live", &manifest, SIGNED)?;
    let (real, tag) = (registry.address(), format!("/v2/live/manifests/{}", manifest.replace(':', "-")));
    let list = http::get_as(real, &tag, INDEX)?.body;
    let empty = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }).to_string();
    for (lists, has_tag, code) in [(true, false, 0), (false, true, 0), (false, false, BAD)] {
        let (list, empty, tag) = (list.clone(), empty.clone(), tag.clone());
        let front = Web::start(move |request| match request.path.split_once('?') {
            Some((path, query)) if path.contains("/referrers/") => {
                let is_asked = decoded(query) == format!("artifactType={BUNDLE}");
                Answer::of(if lists && is_asked { list.clone() } else { empty.clone() })
            }
            _ if request.path == tag && !has_tag => Answer::status(404),
            _ => Answer::status(307).with("Location", format!("http://{real}{}", request.path)),
        })?;
        let checked = user(&cosign)?.validate(&format!("oci://{}/live:1", front.address()), TRUST)?;
        ensure!(checked.code == Some(code), "listed: {lists}, under a tag: {has_tag}: {checked:?}");
    }
    Ok(())
}

#[test]
fn a_tag_that_moves_is_taken_up_once_it_is_signed() -> Result<()> {
    let (registry, cosign) = (Registry::start()?, Cosign::new()?);
    let user = user(&cosign)?;
    let (tag, manifest) = pushed(&user, &registry, "live")?;
    cosign.sign_message(&registry, "live", &manifest, &manifest)?;
    user.lay_out(&format!("{tag}, reload-interval: 1s"), TRUST)?;
    user.done(&["topics", "create", "in", "--local", "data"])?;
    let admin = free_address()?;
    let mut running = user.program(&["run", "pipeline.yaml", "--admin", &admin.to_string()])?.spawn()?;
    running.wait_ready(admin, READY_WITHIN)?;
    let stage = || -> Result<Value> {
        let status: Value = serde_json::from_str(&http::get(admin, "/v1/pipelines")?.body)?;
        Ok(status[0]["stages"][0].clone())
    };
    let first = stage()?["digest"].clone();
    let other = guest("fickle")?;
    user.done(&["push", other.to_str().context("UTF-8")?, &tag])?;
    let refusals = || running.stderr().map(|said| said.matches("refused: plugin oci://").count());
    eventually(READY_WITHIN, "a refusal", || Ok((refusals()? > 0).then_some(())))?;
    ensure!(stage()?["digest"] == first, "it runs unsigned");
    let (_, manifest) = pulled(&user, &tag)?;
    cosign.sign_message(&registry, "live", &manifest, &manifest)?;
    eventually(READY_WITHIN, "what is signed now", || Ok((stage()?["digest"] != first).then_some(())))?;
    ensure!(refusals()? == 1, "told more than once: {}", running.stderr()?);
    Ok(())
}

/// Who trusts this signer, and has a key of nobody.
fn user(cosign: &Cosign) -> Result<User> {
    let user = User::new()?;
    fs::write(user.folder.path().join("cosign.pub"), cosign.public())?;
    fs::write(user.folder.path().join("stranger.pub"), Cosign::new()?.public())?;
    Ok(user)
}

/// A tag of the plugin, and the digest of its manifest.
fn pushed(user: &User, registry: &Registry, name: &str) -> Result<(String, String)> {
    user.pushed(registry, &format!("{name}:1"))?;
    pulled(user, &format!("oci://{}/{name}:1", registry.address()))
}

fn pulled(user: &User, tag: &str) -> Result<(String, String)> {
    let pulled: Value = serde_json::from_str(&user.done(&["pull", tag, "-o", "pulled.wasm", "--json"])?)?;
    let reference = pulled["reference"].as_str().context("a reference")?;
    Ok((tag.to_owned(), reference.rsplit_once('@').context("a digest")?.1.to_owned()))
}

/// A query as Go reads it, and so most registries.
fn decoded(query: &str) -> String {
    let spaced = query.replace('+', " ");
    let mut parts = spaced.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        format!("{text}{}{}", byte.map_or('%', char::from), part.get(2..).unwrap_or_default())
    })
}
