//! TLS of the endpoint, by the OpenSSL that librdkafka links.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::serve::Listener;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::ssl::{
    Ssl, SslAcceptor, SslAcceptorBuilder, SslMethod, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509VerifyResult};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_openssl::SslStream;

use super::connections::Tasks;
use crate::config::AdminTls;
use crate::files::Stamp;
use crate::pem;

/// The most handshakes at a time.
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 22;
/// For whoever does not speak TLS.
const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\
    {\"error\":\"this endpoint speaks TLS: ask it by https://\"}";

/// Accepts connections once their handshake is done. A slow one holds up nobody else.
pub(super) struct TlsListener {
    tcp: TcpListener,
    certificates: Certificates,
    handshakes: JoinSet<Option<Secured>>,
    /// Those that are under way.
    bounded: Tasks,
}

type Secured = (SslStream<TcpStream>, Peer);

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, certificates: Certificates) -> Self {
        TlsListener { tcp, certificates, handshakes: JoinSet::new(), bounded: Tasks::new(HANDSHAKES_MAX) }
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        let acceptor = self.certificates.current().clone();
        self.bounded.add(self.handshakes.spawn(async move {
            let done = tokio::time::timeout(HANDSHAKE_WITHIN, shake_hands(&acceptor, stream, address)).await;
            let failed = |error: anyhow::Error| tracing::debug!("admin endpoint: {address}: no handshake: {error}");
            done.unwrap_or_else(|late| Err(late.into())).map_err(failed).ok()
        }));
    }
}

impl Listener for TlsListener {
    type Io = SslStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> Secured {
        loop {
            tokio::select! {
                biased;
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(secured)) = done {
                        return secured;
                    }
                }
                (stream, address) = Listener::accept(&mut self.tcp) => self.begin(stream, address),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        self.tcp.local_addr().map(Peer::from)
    }
}

async fn shake_hands(acceptor: &SslAcceptor, stream: TcpStream, address: SocketAddr) -> anyhow::Result<Secured> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        // Read first: closing with something unread would take the answer back.
        stream.try_read(&mut [0; 4096])?;
        stream.try_write(USE_HTTPS)?;
        anyhow::bail!("it does not speak TLS");
    }
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    let shown = Shown::of(stream.ssl());
    Ok((stream, Peer { address, shown }))
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) shown: Shown,
}

/// The certificate that a client showed.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    Nothing,
    /// One that an authority of admin.tls.client-ca signed, of this name.
    Trusted(String),
    /// One that is not accepted, and why.
    Refused(&'static str),
}

/// Without TLS nobody shows anything.
impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Peer { address, shown: Shown::Nothing }
    }
}

/// As the history has it.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Shown::Trusted(name) = &self.shown {
            write!(f, "{name} at ")?;
        }
        write!(f, "{}", self.address.ip())
    }
}

impl Shown {
    fn of(ssl: &SslRef) -> Self {
        match (ssl.peer_certificate(), ssl.verify_result()) {
            (None, _) => Shown::Nothing,
            (Some(certificate), X509VerifyResult::OK) => Shown::Trusted(name(&certificate)),
            (Some(_), fault) => Shown::Refused(fault.error_string()),
        }
    }
}

/// Its common name; else the first of its other names, as workloads have them.
fn name(certificate: &X509) -> String {
    let common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next();
    let common = common.and_then(|entry| entry.data().to_string().ok()).map(|name| format!("CN={name}"));
    let other = || {
        let names = certificate.subject_alt_names()?;
        names.iter().find_map(|name| name.uri().or(name.email()).or(name.dnsname()).map(|name| format!("SAN={name}")))
    };
    common.or_else(other).unwrap_or_else(|| "a certificate without a name".into())
}

/// The endpoint's certificates, as their files have them.
pub(super) struct Certificates {
    files: AdminTls,
    stamps: Vec<Option<Stamp>>,
    acceptor: SslAcceptor,
    /// What was wrong with the last renewal.
    complaint: Option<String>,
}

/// What is wrong with a file of admin.tls.
#[derive(Debug)]
pub(super) struct Fault {
    /// The key that names it.
    pub(super) key: &'static str,
    pub(super) message: String,
}

impl Certificates {
    /// # Errors
    /// The first file that is no good.
    pub(super) fn read(files: AdminTls) -> Result<Self, Fault> {
        // Before the files are read: what changes meanwhile is read again.
        let stamps = stamps(&files);
        Ok(Certificates { acceptor: acceptor(&files)?, files, stamps, complaint: None })
    }

    /// For the next connection: read again if a file has changed. If the new files are no good, the ones before stay in use
    /// and each connection tries again, as the other half of a renewal may be under way.
    fn current(&mut self) -> &SslAcceptor {
        if stamps(&self.files) != self.stamps {
            match Certificates::read(self.files.clone()) {
                Ok(renewed) => {
                    tracing::info!("admin.tls: changed files are taken up");
                    *self = renewed;
                }
                Err(Fault { key, message }) => self.complain(format!("admin.tls.{key}: {message}")),
            }
        }
        &self.acceptor
    }

    fn complain(&mut self, complaint: String) {
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::warn!("{complaint}; what was read before goes on");
            self.complaint = Some(complaint);
        }
    }
}

fn stamps(files: &AdminTls) -> Vec<Option<Stamp>> {
    files.files().map(|(_, file)| Stamp::of(file)).collect()
}

fn acceptor(files: &AdminTls) -> Result<SslAcceptor, Fault> {
    let fault = |key| move |message| Fault { key, message };
    let chain = pem::certificates(&files.certificate).map_err(fault("certificate"))?;
    let key = pem::private_key(&files.key).map_err(fault("key"))?;
    let said = |error: ErrorStack| format!("{}: {}", files.certificate.display(), pem::reason(&error));
    let mut builder = with_chain(chain).map_err(said).map_err(fault("certificate"))?;
    builder.set_private_key(&key).and_then(|()| builder.check_private_key()).map_err(|error| Fault {
        key: "key",
        message: format!("{} is not the key of the certificate: {}", files.key.display(), pem::reason(&error)),
    })?;
    if let Some(file) = &files.client_ca {
        let authorities = pem::certificates(file).map_err(fault("client-ca"))?;
        ask_for_certificate(&mut builder, authorities).map_err(|error| Fault {
            key: "client-ca",
            message: format!("{}: {}", file.display(), pem::reason(&error)),
        })?;
    }
    Ok(builder.build())
}

/// TLS 1.2 at least, with this chain; no session is resumed, so that each connection is judged by the files of its time.
fn with_chain(chain: Vec<X509>) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
    builder.set_num_tickets(0)?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    let mut chain = chain.into_iter();
    if let Some(own) = chain.next() {
        builder.set_certificate(&own)?;
    }
    chain.try_for_each(|link| builder.add_extra_chain_cert(link))?;
    Ok(builder)
}

/// Asks clients for a certificate of these authorities.
fn ask_for_certificate(builder: &mut SslAcceptorBuilder, authorities: Vec<X509>) -> Result<(), ErrorStack> {
    let (mut store, mut names) = (X509StoreBuilder::new()?, Stack::new()?);
    // An authority may itself be signed by one that is not trusted here.
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    for authority in authorities {
        names.push(authority.subject_name().to_owned()?)?;
        store.add_cert(authority)?;
    }
    builder.set_verify_cert_store(store.build())?;
    builder.set_client_ca_list(names);
    // A certificate that is no good ends no handshake: looking takes none, and a change is refused in words. What is
    // wrong with it stays in the connection's verify_result.
    builder.set_verify_callback(SslVerifyMode::PEER, |_, _| {
        // Left in its queue, OpenSSL would take it for a fault of the handshake.
        drop(ErrorStack::get());
        true
    });
    Ok(())
}
