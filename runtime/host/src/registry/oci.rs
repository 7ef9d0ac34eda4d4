use sluicegate_wasm::Artifact;
use ureq::Body;
use ureq::http::{Method, Request, Response, header};

use super::credentials::Challenge;
use super::http::{self, Client};
use super::manifest::{INDEX, MANIFEST, Manifest};
use super::reference::OciRef;
use crate::config::Digest;
use crate::exit::Exit;

/// What the distribution specification asks registries to take.
pub(super) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// How registries from before OCI 1.1 answer a request for referrers. The list is under a tag then.
const NO_REFERRERS: &[u16] = &[400, 404, 405, 406, 501];
const DIGEST_HEADER: &str = "docker-content-digest";

/// One artifact of a registry, by the OCI distribution protocol.
pub(super) struct Oci<'a> {
    oci: &'a OciRef,
    client: Client,
    /// `https://registry`
    server: String,
    /// What is to be done, as registries spell it: reading, or reading and writing.
    scope: String,
    /// What the registry is told of who asks, once it has wanted to know.
    authorization: Option<String>,
}

/// A request, which may have to be sent again once the registry has said what it wants to know.
struct Asked<'a> {
    method: Method,
    url: String,
    header: Option<(header::HeaderName, &'a str)>,
    body: Option<&'a [u8]>,
}

impl<'a> Oci<'a> {
    /// `plain` allows HTTP without TLS; for a registry on this machine it is always allowed.
    pub(super) fn new(oci: &'a OciRef, plain: bool, actions: &str) -> Self {
        let plain = plain || oci.is_loopback();
        let host = if oci.registry == "docker.io" { "registry-1.docker.io" } else { &oci.registry };
        Oci {
            oci,
            client: Client::new(plain),
            server: format!("{}://{host}", if plain { "http" } else { "https" }),
            scope: format!("repository:{}:{actions}", oci.repository),
            authorization: None,
        }
    }

    /// The manifest and its digest: the reference's, if that has one.
    pub(super) fn manifest(&mut self) -> Result<(Digest, Vec<u8>), Exit> {
        let response = self.ask_manifest(Method::GET)?.ok_or_else(|| self.absent())?;
        let what = format!("the manifest of {}", self.oci);
        let bytes = http::body(response, MANIFEST_BYTES_MAX, &what, ": no plugin has such a one")?;
        let digest = Digest::of(&bytes);
        match &self.oci.digest {
            Some(asked) if *asked != digest => Err(Exit::usage(format!(
                "{what} has digest {digest}, and not the one that was asked for: the registry lies"
            ))),
            _ => Ok((digest, bytes)),
        }
    }

    /// The digest of the manifest, without the manifest. None: the registry does not say, which it need not.
    pub(super) fn manifest_digest(&mut self) -> Result<Option<Digest>, Exit> {
        let response = self.ask_manifest(Method::HEAD)?.ok_or_else(|| self.absent())?;
        Ok(response.headers().get(DIGEST_HEADER).and_then(|value| Digest::parse(value.to_str().ok()?)))
    }

    fn ask_manifest(&mut self, method: Method) -> Result<Option<Response<Body>>, Exit> {
        self.ask(method, &format!("manifests/{}", self.oci.target()), Some(MANIFEST))
    }

    /// The manifest or index of this tag or digest in the same repository; none where there is none.
    pub(super) fn beside(&mut self, target: &str, media_type: &str) -> Result<Option<Vec<u8>>, Exit> {
        let response = self.ask(Method::GET, &format!("manifests/{target}"), Some(media_type))?;
        Self::list(response, &format!("{target} beside {}", self.oci))
    }

    /// The index of what refers to this manifest and is of this type; none where the registry keeps no such lists.
    pub(super) fn referrers(&mut self, manifest: &Digest, artifact_type: &str) -> Result<Option<Vec<u8>>, Exit> {
        // To a registry, a plus in a query is a space.
        let path = format!("referrers/{manifest}?artifactType={}", artifact_type.replace('+', "%2B"));
        let response = self.ask_unless(NO_REFERRERS, Method::GET, &path, Some(INDEX))?;
        Self::list(response, &format!("the list of what refers to {}", self.oci))
    }

    fn list(response: Option<Response<Body>>, what: &str) -> Result<Option<Vec<u8>>, Exit> {
        response.map(|response| http::body(response, MANIFEST_BYTES_MAX, what, ": none has so many")).transpose()
    }

    /// Asks for something of the repository; none where there is none.
    fn ask(&mut self, method: Method, path: &str, accept: Option<&str>) -> Result<Option<Response<Body>>, Exit> {
        self.ask_unless(&[404], method, path, accept)
    }

    /// The same; the statuses of `none` say that there is none.
    fn ask_unless(
        &mut self,
        none: &[u16],
        method: Method,
        path: &str,
        accept: Option<&str>,
    ) -> Result<Option<Response<Body>>, Exit> {
        let header = accept.map(|media_type| (header::ACCEPT, media_type));
        let response = self.send(&Asked { method, url: self.url(path), header, body: None })?;
        match response.status().as_u16() {
            200 => Ok(Some(response)),
            status if none.contains(&status) => Ok(None),
            status => Err(self.refusal(status)),
        }
    }

    fn absent(&self) -> Exit {
        Exit::usage(format!("{}: not found: the registry has no such repository, tag or digest", self.oci))
    }

    /// The plugin: a blob, checked against its digest.
    pub(super) fn plugin(&mut self, digest: &Digest, size_max: u64) -> Result<Vec<u8>, Exit> {
        let what = format!("the plugin of {}", self.oci);
        self.blob(digest, size_max, &what, ": raise limits.file-size if that is meant")
    }

    /// A blob, checked against its digest. `what` names it in errors, and `raise` says how to allow more.
    pub(super) fn blob(&mut self, digest: &Digest, size_max: u64, what: &str, raise: &str) -> Result<Vec<u8>, Exit> {
        let response = self.ask(Method::GET, &format!("blobs/{digest}"), None)?;
        let response = response.ok_or_else(|| http::refusal(&self.oci.to_string(), 404))?;
        let bytes = http::body(response, size_max, what, raise)?;
        let found = Digest::of(&bytes);
        match found == *digest {
            true => Ok(bytes),
            false => Err(Exit::usage(format!(
                "{what} has digest {found}, and not {digest} as its manifest says: not loaded"
            ))),
        }
    }

    /// Writes a plugin as an artifact. Gives the digest of its manifest.
    pub(super) fn push(&mut self, artifact: &Artifact, plugin: &[u8]) -> Result<Digest, Exit> {
        let (manifest, config) = Manifest::of(artifact, plugin);
        let manifest = serde_json::to_vec(&manifest).map_err(|error| Exit::failed(error.to_string()))?;
        let digest = Digest::of(&manifest);
        if self.oci.digest.as_ref().is_some_and(|asked| *asked != digest) {
            let message = format!("{}: the plugin's manifest has digest {digest}: leave @sha256:… out", self.oci);
            return Err(Exit::usage(message));
        }
        self.push_blob(plugin)?;
        self.push_blob(&config)?;
        let name = self.oci.tag.clone().unwrap_or_else(|| digest.to_string());
        let url = self.url(&format!("manifests/{name}"));
        let header = Some((header::CONTENT_TYPE, MANIFEST));
        let response = self.send(&Asked { method: Method::PUT, url, header, body: Some(&manifest) })?;
        match response.status().as_u16() {
            201 => Ok(digest),
            status => Err(self.refusal(status)),
        }
    }

    fn push_blob(&mut self, bytes: &[u8]) -> Result<(), Exit> {
        let digest = Digest::of(bytes);
        let url = self.url(&format!("blobs/{digest}"));
        if self.send(&Asked { method: Method::HEAD, url, header: None, body: None })?.status().as_u16() == 200 {
            return Ok(());
        }
        let url = self.url("blobs/uploads/");
        let response = self.send(&Asked { method: Method::POST, url, header: None, body: Some(&[]) })?;
        if response.status().as_u16() != 202 {
            return Err(self.refusal(response.status().as_u16()));
        }
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let location =
            location.ok_or_else(|| Exit::usage(format!("{}: the registry gives no place to write to", self.oci)))?;
        let url = self.upload(location, &digest)?;
        let header = Some((header::CONTENT_TYPE, "application/octet-stream"));
        let response = self.send(&Asked { method: Method::PUT, url, header, body: Some(bytes) })?;
        match response.status().as_u16() {
            201 => Ok(()),
            status => Err(self.refusal(status)),
        }
    }

    /// The URL to write a blob to. Registries give a path or a URL, with or without a query.
    fn upload(&self, location: &str, digest: &Digest) -> Result<String, Exit> {
        let url = match location.starts_with('/') {
            true => format!("{}{location}", self.server),
            false => location.to_owned(),
        };
        // Our credentials go with it.
        if !url.strip_prefix(&self.server).is_some_and(|path| path.starts_with('/')) {
            return Err(Exit::usage(format!("{}: the registry wants plugins written elsewhere, to {url}", self.oci)));
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        Ok(format!("{url}{separator}digest={digest}"))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.server, self.oci.repository)
    }

    /// Sends a request; where the registry wants to know who asks, tells it and sends it again.
    fn send(&mut self, asked: &Asked<'_>) -> Result<Response<Body>, Exit> {
        let response = self.send_once(asked)?;
        if response.status().as_u16() != 401 {
            return Ok(response);
        }
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE).iter();
        let Some(challenge) = Challenge::of(headers.filter_map(|value| value.to_str().ok())) else {
            return Err(Exit::usage(format!(
                "{}: the registry wants to know who asks in a way that is not known",
                self.oci
            )));
        };
        self.authorization = Some(challenge.meet(&self.client, &self.oci.registry, &self.scope)?);
        self.send_once(asked)
    }

    fn send_once(&self, asked: &Asked<'_>) -> Result<Response<Body>, Exit> {
        let mut request = Request::builder().method(&asked.method).uri(&asked.url);
        if let Some((name, value)) = &asked.header {
            request = request.header(name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        match asked.body {
            Some(body) => self.client.send(&self.oci.to_string(), request.body(body)),
            None => self.client.send(&self.oci.to_string(), request.body(())),
        }
    }

    fn refusal(&self, status: u16) -> Exit {
        match status {
            401 | 403 => Exit::usage(format!(
                "{}: not authorised (HTTP status {status}): docker login {}, or ask for access",
                self.oci, self.oci.registry
            )),
            status => http::refusal(&self.oci.to_string(), status),
        }
    }
}
