//! Web servers that answer as a test says, with TLS or without: those that no real registry would be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use native_tls::{Identity, TlsAcceptor};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

const DEADLINE: Duration = Duration::from_secs(10);

/// What a server was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, say.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// What it said of who asks.
    pub authorization: Option<String>,
}

/// What a server answers.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers but the length.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// 200 and these bytes.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Answer { status: 200, body: body.into(), ..Answer::default() }
    }

    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Answer { status, ..Answer::default() }
    }

    /// The same, with one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A server on 127.0.0.1. It ends with the test process.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Web {
    /// A server without TLS.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Result<Self> {
        Self::serve(None, answer)
    }

    /// A server with a certificate of this authority's, for `localhost`.
    pub fn start_tls(
        authority: &Authority,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::serve(Some(authority.acceptor()?), answer)
    }

    fn serve(tls: Option<TlsAcceptor>, answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, asked) = (listener.local_addr()?, Arc::<AtomicUsize>::default());
        let (answer, count) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, answer, count) = (tls.clone(), Arc::clone(&answer), Arc::clone(&count));
                // A client that goes away, or trusts nobody, ends its own connection only.
                thread::spawn(move || -> Result<()> {
                    stream.set_read_timeout(Some(DEADLINE))?;
                    stream.set_write_timeout(Some(DEADLINE))?;
                    match tls {
                        Some(tls) => reply(tls.accept(stream)?, &*answer, &count),
                        None => reply(stream, &*answer, &count),
                    }
                });
            }
        });
        Ok(Web { address, asked })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it got.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

/// One request and its answer, after which the connection ends.
fn reply(stream: impl Read + Write, answer: &dyn Fn(&Request) -> Answer, asked: &AtomicUsize) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first().context("a request")?.split(' ').map(str::to_owned);
    let (method, path) = (first.next().context("a method")?, first.next().context("a path")?);
    let authorization = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
    });
    asked.fetch_add(1, SeqCst);
    let Answer { status, headers, body } = answer(&Request { method: method.clone(), path, authorization });
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status} As the test says\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
    headers.iter().try_for_each(|(name, value)| write!(stream, "{name}: {value}\r\n"))?;
    stream.write_all(b"\r\n")?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    Ok(stream.flush()?)
}

/// An authority that issues certificates, which nobody trusts unless told to.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        // Not the name that certificates have unless told otherwise, or they would seem to have issued themselves.
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its own certificate, as a PEM file.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server at these names and addresses, and no client's.
    pub fn server(&self, names: &[&str]) -> Result<Issued> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.issue(CertificateParams::new(names)?, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client of this name, and no server's.
    pub fn client(&self, name: &str) -> Result<Issued> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Result<Issued> {
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn acceptor(&self) -> Result<TlsAcceptor> {
        let Issued { certificate, key } = self.server(&["localhost"])?;
        Ok(TlsAcceptor::new(Identity::from_pkcs8(certificate.as_bytes(), key.as_bytes())?)?)
    }
}

/// A certificate and its key, as PEM files.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key, in PKCS #8.
    pub key: String,
}
