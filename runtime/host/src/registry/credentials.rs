//! What a registry is told of who asks, where it wants to know.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_auth::ChallengeParser;
use serde::Deserialize;

use super::docker;
use super::http::{self, Client};
use crate::exit::Exit;

/// Tokens of large registries have some kilobytes.
const TOKEN_BYTES_MAX: u64 = 256 << 10;

/// How a registry asks who is there.
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The first challenge of a known kind among the values of `WWW-Authenticate`.
    pub(super) fn of<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        headers.flat_map(ChallengeParser::new).flatten().find_map(|challenge| {
            let parameter = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            match challenge.scheme.to_ascii_lowercase().as_str() {
                "basic" => Some(Challenge::Basic),
                "bearer" => Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service") }),
                _ => None,
            }
        })
    }

    /// The value of `Authorization` that answers it. `scope` says what for, as registries spell it.
    pub(super) fn meet(self, client: &Client, registry: &str, scope: &str) -> Result<String, Exit> {
        let basic = docker::login(registry)?
            .map(|login| format!("Basic {}", STANDARD.encode(format!("{}:{}", login.name, login.password))));
        match self {
            Challenge::Basic => {
                basic.ok_or_else(|| Exit::usage(format!("{registry} wants to know who asks: docker login {registry}")))
            }
            Challenge::Bearer { realm, service } => {
                let token = token(client, &realm, service.as_deref(), scope, basic.as_deref())?;
                Ok(format!("Bearer {token}"))
            }
        }
    }
}

/// Some registries give one, some the other, some both.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn token(
    client: &Client,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    basic: Option<&str>,
) -> Result<String, Exit> {
    let mut request = client.get(realm)?.query("scope", scope);
    if let Some(service) = service {
        request = request.query("service", service);
    }
    if let Some(basic) = basic {
        request = request.header("Authorization", basic);
    }
    let response = request.call().map_err(|error| http::failure(realm, &error))?;
    match response.status().as_u16() {
        200 => {}
        401 | 403 => {
            let message = format!("{realm} gives no token for {scope}: log in again (docker login), or ask for access");
            return Err(Exit::usage(message));
        }
        status => return Err(http::refusal(realm, status)),
    }
    let answer = http::body(response, TOKEN_BYTES_MAX, realm, "")?;
    let given = serde_json::from_slice(&answer).ok().and_then(|token: Token| token.token.or(token.access_token));
    given.ok_or_else(|| Exit::usage(format!("{realm} gives no token")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_that_we_can_meet_is_found() {
        let of = |header: &'static str| Challenge::of([header].into_iter());
        assert!(matches!(of(r#"Basic realm="x""#), Some(Challenge::Basic)));
        assert!(matches!(
            of(r#"Negotiate, bearer realm="https://auth.example.com/token",service="reg,istry",scope="repository:x:pull""#),
            Some(Challenge::Bearer { realm, service })
                if realm == "https://auth.example.com/token" && service.as_deref() == Some("reg,istry")
        ));
        assert!(of("Digest realm=x").is_none() && of("\"").is_none() && of("Bearer service=x").is_none());
    }
}
