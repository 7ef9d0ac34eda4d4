//! Requests to servers elsewhere: bounded in time, in size and in redirects.

use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, config::RedirectAuthHeaders};

use crate::exit::Exit;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A request and its whole answer: time for the largest plugin at half a megabyte a second.
const DONE_WITHIN: Duration = Duration::from_secs(300);
const REDIRECTS_MAX: u32 = 5;

/// What sends requests. TLS is OpenSSL's, as librdkafka's is, with the roots of the system or of `SSL_CERT_FILE`.
/// Without `plain`, nothing is asked without TLS, wherever redirects lead.
pub(super) fn agent(plain: bool) -> Agent {
    let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
    let mut config = Agent::config_builder()
        .tls_config(tls)
        .https_only(!plain)
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .timeout_connect(Some(CONNECT_WITHIN))
        .timeout_recv_response(Some(ANSWER_WITHIN))
        .timeout_global(Some(DONE_WITHIN))
        .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")));
    if plain {
        // On this machine or near it, and a proxy would see all of it.
        config = config.proxy(None);
    }
    config.build().into()
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
