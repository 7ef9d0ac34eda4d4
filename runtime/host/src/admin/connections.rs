//! Connections to the endpoint. Whoever opens many of them, or says nothing, keeps nobody out, and takes from the Kafka
//! clients of the same process no descriptor that they need.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::tls::Peer;

/// How much of a request each connection holds before it is understood; a longer head is refused. Hyper's own default is 400
/// KiB.
const BUFFER_BYTES_MAX: usize = 16 << 10;

/// What the endpoint allows. Nobody scrapes every 20 seconds, so no scrape comes just as its connection ends.
pub(super) const BOUNDS: Bounds = Bounds { connections_max: 256, head_within: Duration::from_secs(20) };

/// What strangers may use of the process.
pub(super) struct Bounds {
    /// The most connections at a time.
    pub(super) connections_max: usize,
    /// How long a connection may take to send the head of a request, at its beginning and after each answer.
    pub(super) head_within: Duration,
}

/// Answers whoever connects, for as long as it is polled.
pub(super) async fn serve<L>(mut listener: L, router: Router, bounds: Bounds)
where
    L: Listener,
    L::Addr: Into<Peer>,
{
    let mut connections = Tasks::new(bounds.connections_max);
    loop {
        let (io, from) = listener.accept().await;
        let peer: Peer = from.into();
        let router = router.clone().layer(Extension(ConnectInfo(peer)));
        connections.add(tokio::spawn(answer(io, router, bounds.head_within)).abort_handle());
    }
}

/// One connection, to its end.
async fn answer<Io>(io: Io, router: Router, head_within: Duration)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Of this version alone: to wait for what tells versions apart has no bound.
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(head_within).max_buf_size(BUFFER_BYTES_MAX);
    if let Err(error) = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(router)).await {
        tracing::debug!("admin endpoint: a connection ended: {error}");
    }
}

/// Tasks that each deal with a connection, the oldest first.
pub(super) struct Tasks {
    max: usize,
    order: VecDeque<AbortHandle>,
}

impl Tasks {
    pub(super) fn new(max: usize) -> Self {
        Tasks { max, order: VecDeque::new() }
    }

    /// Adds one. Where there are too many, the oldest has had its chance and is ended.
    pub(super) fn add(&mut self, task: AbortHandle) {
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= self.max
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        self.order.push_back(task);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use axum::routing::get;
    use tokio::net::TcpListener;
    use tokio::runtime::Runtime;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    fn start(bounds: Bounds) -> (Runtime, SocketAddr) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let address = listener.local_addr().unwrap();
        let name = |ConnectInfo(peer): ConnectInfo<Peer>| async move { format!("you are {peer}") };
        runtime.spawn(serve(listener, Router::new().route("/", get(name)), bounds));
        (runtime, address)
    }

    /// A connection that says this to begin with.
    fn connect(address: SocketAddr, said: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream
    }

    /// What comes until the other side ends the connection.
    fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_connection_that_does_not_say_what_it_wants_ends() {
        let bounds = Bounds { connections_max: 8, head_within: Duration::from_secs(1) };
        let (_runtime, address) = start(bounds);
        let (silent, slow) = (connect(address, ""), connect(address, "GET / HTTP/1.1\r\nHost: a"));
        let kept = connect(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((rest(silent), rest(slow)), (String::new(), String::new()));
        let answer = rest(kept);
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("you are 127.0.0.1"), "{answer}");
    }

    #[test]
    fn a_head_that_does_not_end_is_not_held() {
        let (_runtime, address) = start(Bounds { connections_max: 8, head_within: Duration::from_secs(3600) });
        let head = |bytes| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(bytes));
        let answer = rest(connect(address, &head(BUFFER_BYTES_MAX)));
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        let answer = rest(connect(address, &(head(BUFFER_BYTES_MAX / 2) + "\r\nConnection: close\r\n\r\n")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    #[test]
    fn where_there_are_too_many_the_oldest_ends() {
        let bounds = Bounds { connections_max: 2, head_within: Duration::from_secs(3600) };
        let (_runtime, address) = start(bounds);
        let (oldest, mut other) = (connect(address, ""), connect(address, ""));
        let asked = "GET / HTTP/1.0\r\n\r\n";
        assert!(rest(connect(address, asked)).contains("200 OK"));
        assert_eq!(rest(oldest), "");
        other.write_all(asked.as_bytes()).unwrap();
        assert!(rest(other).contains("200 OK"));
    }
}
