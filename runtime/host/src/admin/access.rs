//! Who may change something, and who may look.

use std::net::IpAddr;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::tls::{Certificates, Peer, Shown};
use super::{Admin, Problem};
use crate::config::{self, Secret};
use crate::exit::Exit;

/// Headers by which a proxy names the client that it forwards for.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Proof that whoever asks for a change may make it. No change is made without one.
pub(super) struct Permit(pub(super) Peer);

impl FromRequestParts<Admin> for Permit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let peer = ConnectInfo::<Peer>::from_request_parts(parts, admin).await;
        let ConnectInfo(peer) =
            peer.map_err(|missing| Problem(StatusCode::INTERNAL_SERVER_ERROR, missing.to_string()))?;
        let noted = |problem: &Problem| admin.refusals.note(&peer, &parts.method, &parts.uri, problem);
        admin.access.check(&peer, &parts.headers).inspect_err(noted)?;
        Ok(Permit(peer))
    }
}

/// Comes before every request, also those that only look: see [`Access::check_host`].
pub(super) async fn check_host(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let noted = |problem: &Problem| admin.refusals.note(&peer, request.method(), request.uri(), problem);
    admin.access.check_host(&peer, request.headers()).inspect_err(noted)?;
    Ok(next.run(request).await)
}

/// What guards an endpoint.
pub struct Guard {
    pub(super) access: Access,
    pub(super) certificates: Option<Certificates>,
}

impl Guard {
    /// The guard that a pipeline's file asks for. Where it asks for none, requests from the machine itself may change
    /// something, and nothing is encrypted.
    ///
    /// # Errors
    /// A file of `admin.tls` is no good; told by its place.
    pub fn of(admin: Option<&config::Admin>) -> Result<Self, Exit> {
        let tls = admin.and_then(|admin| Some((&admin.origin, admin.tls.clone()?)));
        let open = admin.filter(|admin| admin.token.is_none() && admin.tls.is_none());
        let access = Access {
            token: admin.and_then(|admin| admin.token.clone()),
            client_ca: tls.as_ref().is_some_and(|(_, tls)| tls.client_ca.is_some()),
            open_at: open.map(|admin| admin.listen.ip()),
        };
        let read = tls.map(|(origin, tls)| {
            Certificates::read(tls).map_err(|fault| origin.error(&["tls", fault.key], fault.message))
        });
        Ok(Guard { access, certificates: read.transpose()? })
    }

    /// How URLs of the endpoint begin.
    pub fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "https" } else { "http" }
    }
}

/// What a client must show to change something: one of these or, where neither is set, that it is on this machine.
#[derive(Clone)]
pub(super) struct Access {
    token: Option<Secret>,
    /// Whether a client certificate that admin.tls.client-ca trusts is as good.
    client_ca: bool,
    /// Where the endpoint listens, if only the origin of a request says who is asking. With TLS no web page that took this
    /// address for its own name gets this far: the certificate is for another name.
    open_at: Option<IpAddr>,
}

impl Access {
    /// Whether a request from this machine is for this machine. A page in a browser may have had its own name lead
    /// here: the browser then takes the endpoint for the page's own server, and shows it the answers.
    ///
    /// # Errors
    /// It is for another name.
    fn check_host(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(listen) = self.open_at.filter(|_| is_loopback(peer.address.ip())) else {
            return Ok(());
        };
        // No browser leaves it out.
        match headers.get_all(header::HOST).iter().find(|host| !is_own(host, listen)) {
            Some(host) => refuse(format!(
                "the request is for the host {host:?}, as one of a page in a browser is whose name was made to lead \
                 here: ask for localhost or 127.0.0.1, or set admin.token or admin.tls, with which any name will do"
            )),
            None => Ok(()),
        }
    }

    /// Whether a request that changes something is allowed.
    ///
    /// # Errors
    /// Why it is not.
    fn check(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Problem> {
        let given = bearer(headers);
        // Compared by their hashes, so that the time it takes says nothing about how much of a guess is right.
        let hash = |text: &str| Sha256::digest(text.trim());
        if let (Some(token), Some(given)) = (&self.token, given)
            && hash(given) == hash(token.reveal())
        {
            return Ok(());
        }
        match (&peer.shown, &self.token) {
            (Shown::Trusted(_), _) => check_page(headers),
            (Shown::Refused(reason), _) => {
                refuse(format!("the client certificate is not accepted: {reason}; changes need {}", self.needs()))
            }
            (Shown::Nothing, Some(_)) if given.is_some() => refuse("the token is not that of admin.token"),
            (Shown::Nothing, None) if !self.client_ca => check_place(peer, headers),
            (Shown::Nothing, _) => Err(Problem(StatusCode::UNAUTHORIZED, format!("changes need {}", self.needs()))),
        }
    }

    fn needs(&self) -> String {
        let token = "the token of admin.token, as 'Authorization: Bearer …'; the commands take it from \
                     SLUICEGATE_ADMIN_TOKEN";
        let certificate = "a client certificate signed by an authority of admin.tls.client-ca; the commands take it from \
                           SLUICEGATE_ADMIN_CERT and SLUICEGATE_ADMIN_KEY";
        match (&self.token, self.client_ca) {
            (Some(_), true) => format!("{token}; or {certificate}"),
            (Some(_), false) => token.into(),
            (None, _) => certificate.into(),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (kind, token) = given.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then_some(token)
}

/// With a certificate, no web page may: a browser shows its owner's certificate for any page.
fn check_page(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.contains_key(header::ORIGIN) {
        true => refuse("the request comes from a page in a browser, which shows its owner's certificate for any page"),
        false => Ok(()),
    }
}

/// With nothing to show, only this machine itself may: not a proxy for another, nor a page in somebody's browser.
fn check_place(peer: &Peer, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |why: &str| {
        refuse(format!("{why}, and no admin.token is set; without one, changes are allowed on this machine alone"))
    };
    let from = peer.address.ip();
    if !is_loopback(from) {
        return refuse(&format!("the request comes from {from}"));
    }
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return refuse("the request comes through a proxy");
    }
    if headers.contains_key(header::ORIGIN) {
        return refuse("the request comes from a page in a browser");
    }
    Ok(())
}

/// Whether a host is one that nobody else can make resolve to this address.
fn is_own(host: &HeaderValue, listen: IpAddr) -> bool {
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address == listen || is_loopback(address),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn refuse(message: impl Into<String>) -> Result<(), Problem> {
    Err(Problem(StatusCode::FORBIDDEN, message.into()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    type Headers<'a> = &'a [(&'static str, &'static str)];

    fn judge(access: &Access, shown: Shown, from: &str, headers: Headers) -> u16 {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let peer = Peer { address: from.parse().unwrap(), shown };
        access.check(&peer, &headers).err().map_or(200, |problem| problem.0.as_u16())
    }

    fn access(token: Option<&str>, client_ca: bool) -> Access {
        Access { token: token.map(|token| Secret::from(token.to_owned())), client_ca, open_at: None }
    }

    #[test]
    fn with_neither_this_machine_alone_may() {
        let judge = |from: &str, headers: Headers| judge(&access(None, false), Shown::Nothing, from, headers);
        for here in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(judge(here, &[]), 200, "{here}");
        }
        assert_eq!(judge("192.168.0.7:1", &[]), 403);
        assert_eq!(judge("[fe80::1]:1", &[("authorization", "Bearer x")]), 403);
        assert_eq!(judge("127.0.0.1:1", &[("x-forwarded-for", "192.168.0.7")]), 403);
        assert_eq!(judge("127.0.0.1:1", &[("origin", "http://evil.example")]), 403);
    }

    #[test]
    fn with_a_token_whoever_has_it_may() {
        let access = access(Some("0123456789abcdef"), false);
        let judge = |from: &str, headers: Headers| judge(&access, Shown::Nothing, from, headers);
        assert_eq!(judge("192.168.0.7:1", &[("authorization", "Bearer 0123456789abcdef")]), 200);
        assert_eq!(judge("127.0.0.1:1", &[("authorization", "bearer 0123456789abcdef")]), 200);
        assert_eq!(judge("127.0.0.1:1", &[("authorization", "Bearer 0123456789abcdee")]), 403);
        assert_eq!(judge("127.0.0.1:1", &[("authorization", "Basic 0123456789abcdef")]), 401);
        assert_eq!(judge("127.0.0.1:1", &[]), 401);
    }

    #[test]
    fn with_an_authority_whoever_has_its_certificate_may() {
        let trusted = || Shown::Trusted("CN=alice".into());
        let shown_token: Headers = &[("authorization", "Bearer 0123456789abcdef")];
        for (token, [alone, beside_a_bad_one]) in [(None, [401, 403]), (Some("0123456789abcdef"), [200, 200])] {
            let access = access(token, true);
            assert_eq!(judge(&access, trusted(), "192.168.0.7:1", &[]), 200);
            assert_eq!(judge(&access, trusted(), "127.0.0.1:1", &[("authorization", "Bearer wrong")]), 200);
            assert_eq!(judge(&access, trusted(), "127.0.0.1:1", &[("origin", "https://evil.example")]), 403);
            assert_eq!(judge(&access, Shown::Refused("expired"), "127.0.0.1:1", &[]), 403);
            assert_eq!(judge(&access, Shown::Nothing, "127.0.0.1:1", &[]), 401);
            assert_eq!(judge(&access, Shown::Nothing, "127.0.0.1:1", shown_token), alone);
            assert_eq!(judge(&access, Shown::Refused("expired"), "127.0.0.1:1", shown_token), beside_a_bad_one);
        }
    }

    #[test]
    fn a_page_whose_name_was_made_to_lead_here_sees_nothing() {
        let admin = config::Admin::at("192.168.0.7:9644".parse().unwrap());
        let judge = |admin: &config::Admin, from: &str, host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            let peer = Peer::from(from.parse::<SocketAddr>().unwrap());
            let checked = Guard::of(Some(admin)).unwrap().access.check_host(&peer, &headers);
            checked.map_err(|Problem(status, message)| (status.as_u16(), message))
        };
        for own in ["127.0.0.1:9644", "127.0.0.1", "[::1]:9644", "LocalHost:9644", "localhost", "192.168.0.7:9644"] {
            assert_eq!(judge(&admin, "127.0.0.1:1", own), Ok(()), "{own}");
        }
        for other in ["evil.example:9644", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.0.8", ""] {
            for here in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
                let (status, message) = judge(&admin, here, other).unwrap_err();
                assert!(status == 403 && message.contains("ask for localhost"), "{other}: {message}");
            }
        }
        // A probe, which asks by the address or name of its own network.
        assert_eq!(judge(&admin, "10.0.0.1:1", "gate.example:9644"), Ok(()));
        let with_token = config::Admin { token: Some(Secret::from("0123456789abcdef".to_owned())), ..admin };
        assert_eq!(judge(&with_token, "127.0.0.1:1", "gate.example:9644"), Ok(()));
    }
}
