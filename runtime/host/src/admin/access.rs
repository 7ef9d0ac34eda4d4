//! Who may change something.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};

use super::Problem;
use crate::config::Secret;

/// What a proxy adds for whomever it speaks for.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Whether a request that changes something is allowed.
///
/// # Errors
/// Why it is not.
pub(super) fn check(token: Option<&Secret>, from: SocketAddr, headers: &HeaderMap) -> Result<(), Problem> {
    match token {
        Some(token) => check_token(token, headers),
        None => check_place(from, headers),
    }
}

fn check_token(token: &Secret, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    // Compared by their hashes, so that the time it takes says nothing about how much of a guess is right.
    let hash = |text: &str| Sha256::digest(text.trim());
    match given {
        Some((_, given)) if hash(given) == hash(token.reveal()) => Ok(()),
        Some(_) => Err(Problem(StatusCode::FORBIDDEN, "the token is not that of admin.token".into())),
        None => Err(Problem(
            StatusCode::UNAUTHORIZED,
            "changes need the token of admin.token, as 'Authorization: Bearer …'; the commands take it from \
             SLUICEGATE_ADMIN_TOKEN"
                .into(),
        )),
    }
}

/// Without a token: from this machine itself, and neither on behalf of another nor by a page in somebody's browser.
fn check_place(from: SocketAddr, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |why: &str| {
        let message =
            format!("{why}, and no admin.token is set; without one, changes are allowed on this machine alone");
        Err(Problem(StatusCode::FORBIDDEN, message))
    };
    if !from.ip().to_canonical().is_loopback() {
        return refuse(&format!("the request comes from {}", from.ip()));
    }
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return refuse("the request comes through a proxy");
    }
    if headers.contains_key(header::ORIGIN) {
        return refuse("the request comes from a page in a browser");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(token: Option<&str>, from: &str, headers: &[(&'static str, &'static str)]) -> u16 {
        let token = token.map(|token| Secret::from(token.to_owned()));
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        check(token.as_ref(), from.parse().unwrap(), &headers).err().map_or(200, |problem| problem.0.as_u16())
    }

    #[test]
    fn without_a_token_this_machine_alone_may() {
        for here in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(judge(None, here, &[]), 200, "{here}");
        }
        assert_eq!(judge(None, "192.168.0.7:1", &[]), 403);
        assert_eq!(judge(None, "[fe80::1]:1", &[("authorization", "Bearer x")]), 403);
        assert_eq!(judge(None, "127.0.0.1:1", &[("x-forwarded-for", "192.168.0.7")]), 403);
        assert_eq!(judge(None, "127.0.0.1:1", &[("origin", "http://evil.example")]), 403);
    }

    #[test]
    fn with_a_token_whoever_has_it_may() {
        let token = Some("0123456789abcdef");
        assert_eq!(judge(token, "192.168.0.7:1", &[("authorization", "Bearer 0123456789abcdef")]), 200);
        assert_eq!(judge(token, "127.0.0.1:1", &[("authorization", "bearer 0123456789abcdef")]), 200);
        assert_eq!(judge(token, "127.0.0.1:1", &[("authorization", "Bearer 0123456789abcdee")]), 403);
        assert_eq!(judge(token, "127.0.0.1:1", &[("authorization", "Basic 0123456789abcdef")]), 401);
        assert_eq!(judge(token, "127.0.0.1:1", &[]), 401);
    }
}
