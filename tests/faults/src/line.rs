use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use socket2::SockRef;

use crate::frame::Api;
use crate::network::Way;

/// How long a broker may take to accept a connection; a stopped one's kernel does so for it.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// One connection of the program to a broker.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) client: TcpStream,
    pub(crate) broker: TcpStream,
    /// Requests without an answer yet: a broker answers in their order.
    pub(crate) open: Mutex<VecDeque<Asked>>,
    cut: AtomicBool,
}

/// What a request is, and whose; an answer has neither.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) api: Api,
    pub(crate) client: String,
}

impl Line {
    pub(crate) fn new(client: TcpStream, broker: SocketAddr) -> io::Result<Self> {
        let broker = TcpStream::connect_timeout(&broker, CONNECT_WITHIN)?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        Ok(Self { client, broker, open: Mutex::default(), cut: AtomicBool::new(false) })
    }

    /// Whether it was reset.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(SeqCst)
    }

    /// One way has ended. A stream that ended in good order may still go on the other way. Whoever is told may have
    /// gone already.
    pub(crate) fn end(&self, way: Way, well: bool) {
        if self.is_cut() {
            return; // They hear of a reset instead.
        }
        let (from, to) = match way {
            Way::Request => (&self.client, &self.broker),
            Way::Answer => (&self.broker, &self.client),
        };
        let _gone = to.shutdown(if well { Shutdown::Write } else { Shutdown::Both });
        if !well {
            let _gone = from.shutdown(Shutdown::Both);
        }
    }

    /// A socket that is closed without lingering is reset; it is closed once the threads that read from it have heard
    /// the end, which this tells them and nobody else.
    pub(crate) fn reset(&self) {
        self.cut.store(true, SeqCst);
        for stream in [&self.client, &self.broker] {
            let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            let _gone = stream.shutdown(Shutdown::Read);
        }
    }
}
