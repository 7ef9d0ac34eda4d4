//! Plain HTTP requests to a server on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

const DEADLINE: Duration = Duration::from_secs(30);

/// What an endpoint answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header `Location`, if there is one.
    pub location: Option<String>,
    /// The body.
    pub body: String,
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> Result<Response> {
    request(address, "GET", path, "")
}

/// `GET path`, of this media type.
pub fn get_as(address: SocketAddr, path: &str, accept: &str) -> Result<Response> {
    send(address, "GET", path, &[&format!("Accept: {accept}")], b"")
}

/// `method path` with a JSON body, or none where it is empty.
pub fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Response> {
    send(address, method, path, &["Content-Type: application/json"], body.as_bytes())
}

/// `method path` with these header lines and this body.
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    // HTTP/1.0: the answer is not chunked, and ends where the connection does.
    let length = body.len();
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .with_context(|| format!("{method} {path}: not an HTTP response: {answer:?}"))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let location = headers.find(|(name, _)| name.eq_ignore_ascii_case("location")).map(|(_, value)| value.to_owned());
    Some(Response { status, location, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_response_is_taken_apart() -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let server = thread::spawn(move || -> Result<String> {
            let (mut stream, _) = listener.accept()?;
            let mut lines = BufReader::new(stream.try_clone()?).lines();
            let first = lines.next().context("a request")??;
            for line in lines {
                if line?.is_empty() {
                    break;
                }
            }
            stream.write_all(b"HTTP/1.0 503 Service Unavailable\r\nlocation: /b\r\n\r\nnot yet\n")?;
            Ok(first)
        });
        let response = get(address, "/ready")?;
        assert_eq!(response, Response { status: 503, location: Some("/b".into()), body: "not yet\n".into() });
        assert_eq!(server.join().expect("the server thread")?, "GET /ready HTTP/1.0");
        Ok(())
    }
}
