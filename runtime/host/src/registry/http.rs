//! Requests to servers elsewhere: bounded in time, in size and in redirects.

use std::time::{Duration, Instant};

use ureq::http::{self, Request, Response};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::WithoutBody;
use ureq::{Agent, AsSendBody, Body, RequestBuilder, config::RedirectAuthHeaders};

use crate::exit::Exit;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// All requests of a client and their whole answers: time for the largest plugin at half a megabyte a second.
const DONE_WITHIN: Duration = Duration::from_secs(300);
const REDIRECTS_MAX: u32 = 5;

/// What sends the requests of one task, which together take no longer than [`DONE_WITHIN`]: a server may lead from one to
/// the next. TLS is OpenSSL's, as librdkafka's is, with the roots of the system or of `SSL_CERT_FILE`.
pub(super) struct Client {
    agent: Agent,
    end: Instant,
}

impl Client {
    /// Without `plain`, nothing is asked without TLS, wherever redirects lead.
    pub(super) fn new(plain: bool) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let mut config = Agent::config_builder()
            .tls_config(tls)
            .https_only(!plain)
            .http_status_as_error(false)
            .max_redirects(REDIRECTS_MAX)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_recv_response(Some(ANSWER_WITHIN))
            .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")));
        if plain {
            // On this machine or near it, and a proxy would see all of it.
            config = config.proxy(None);
        }
        Client { agent: config.build().into(), end: Instant::now() + DONE_WITHIN }
    }

    /// A request that is still to be sent.
    pub(super) fn get(&self, url: &str) -> Result<RequestBuilder<WithoutBody>, Exit> {
        let left = self.left(url)?;
        Ok(self.agent.get(url).config().timeout_global(Some(left)).build())
    }

    /// Sends a request. `what` names it in errors.
    pub(super) fn send<B: AsSendBody>(
        &self,
        what: &str,
        request: http::Result<Request<B>>,
    ) -> Result<Response<Body>, Exit> {
        let left = self.left(what)?;
        let sent = request.map_err(ureq::Error::from).and_then(|request| {
            self.agent.run(self.agent.configure_request(request).timeout_global(Some(left)).build())
        });
        sent.map_err(|error| failure(what, &error))
    }

    fn left(&self, what: &str) -> Result<Duration, Exit> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Exit::unreachable(format!("{what}: not done within {DONE_WITHIN:?}"))),
            left => Ok(left),
        }
    }
}

/// An answer's body, `size_max` bytes at most. `what` names it in errors, and `raise` says how to allow more.
pub(super) fn body(response: Response<Body>, size_max: u64, what: &str, raise: &str) -> Result<Vec<u8>, Exit> {
    let too_large = || Exit::usage(format!("{what} has more than {size_max} bytes{raise}"));
    if response.body().content_length().is_some_and(|length| length > size_max) {
        return Err(too_large());
    }
    match response.into_body().into_with_config().limit(size_max).read_to_vec() {
        Ok(bytes) => Ok(bytes),
        Err(ureq::Error::BodyExceedsLimit(_)) => Err(too_large()),
        Err(error) => Err(failure(what, &error)),
    }
}

/// Why there is no answer: unreachable where a later try may succeed, else refused.
pub(super) fn failure(what: &str, error: &ureq::Error) -> Exit {
    match error {
        ureq::Error::TooManyRedirects => {
            Exit::usage(format!("{what}: more than {REDIRECTS_MAX} redirects: name the place where they end"))
        }
        ureq::Error::RequireHttpsOnly(to) => {
            Exit::usage(format!("{what}: it leads to {to}, without TLS, where anybody on the way can change a plugin"))
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Exit::usage(format!("{what}: {error}")),
        ureq::Error::NativeTls(error) => Exit::unreachable(format!(
            "{what}: no trusted TLS connection: {error}; SSL_CERT_FILE names the file of an authority of your own"
        )),
        ureq::Error::Io(error) => Exit::unreachable(format!("{what}: {error}")),
        error => Exit::unreachable(format!("{what}: {error}")),
    }
}

/// What an unexpected status means.
pub(super) fn refusal(what: &str, status: u16) -> Exit {
    match status {
        401 | 403 => Exit::usage(format!("{what}: not authorised (HTTP status {status})")),
        404 => Exit::usage(format!("{what}: not found (HTTP status 404)")),
        408 | 429 | 500.. => Exit::unreachable(format!("{what}: the server has a fault (HTTP status {status})")),
        status => Exit::usage(format!("{what}: unexpected HTTP status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn all_requests_of_a_client_have_one_end() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let client = Client { end: Instant::now() + Duration::from_millis(50), ..Client::new(true) };
        let ask = || client.send("x", Request::get(&url).body(())).unwrap_err();
        assert!(ask().is_unreachable());
        assert!(Instant::now() >= client.end);
        assert!(ask().message.contains("not done within"));
    }
}
