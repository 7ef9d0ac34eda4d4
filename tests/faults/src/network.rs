//! The network between the program and the brokers: a door before each broker, through which every request and every
//! answer passes, whole. It can be slow, hold everything back, cut all lines, and stop the one frame that is asked for.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use sluicegate_tests::random::Random;

use crate::frame::{Api, Frame};
use crate::line::{Asked, Line};

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the program to a broker.
    Request,
    /// From a broker to the program.
    Answer,
}

/// What the network does to every frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Each frame takes at least this long.
    pub delay: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// No request goes on.
    pub hold_requests: bool,
    /// No answer goes on.
    pub hold_answers: bool,
}

/// The doors before all brokers. They stay open until the process ends.
#[derive(Debug, Clone)]
pub struct Network(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    weather: Mutex<Weather>,
    changed: Condvar,
    trap: Mutex<Option<Trap>>,
    lines: Mutex<Vec<Weak<Line>>>,
    random: Mutex<Random>,
}

/// Waits for one frame.
#[derive(Debug)]
struct Trap {
    what: What,
    caught: SyncSender<Caught>,
}

#[derive(Debug)]
enum What {
    Any(Way, Asked),
    AnswerOn(Weak<Line>),
}

impl What {
    fn is(&self, line: &Arc<Line>, way: Way, asked: &Asked) -> bool {
        match self {
            Self::Any(wanted, for_what) => *wanted == way && for_what == asked,
            Self::AnswerOn(wanted) => way == Way::Answer && wanted.as_ptr() == Arc::as_ptr(line),
        }
    }
}

/// A frame that was stopped. Its line waits until it is let go; if this is dropped instead, the frame is gone and its
/// line is cut.
#[derive(Debug)]
pub struct Caught {
    line: Arc<Line>,
    let_go: SyncSender<()>,
}

impl Caught {
    /// The program loses this connection; the broker does not know yet.
    pub fn cut_client(&self) -> Result<()> {
        Ok(self.line.client.shutdown(Shutdown::Both)?)
    }

    /// The frame goes on.
    pub fn let_go(self) -> Result<()> {
        Ok(self.let_go.send(())?)
    }

    /// The request goes on; its answer is stopped in turn.
    pub fn let_go_and_catch_answer(self, network: &Network) -> Result<Receiver<Caught>> {
        let (caught, receiver) = sync_channel(1);
        let what = What::AnswerOn(Arc::downgrade(&self.line));
        *lock(&network.0.trap) = Some(Trap { what, caught });
        self.let_go()?;
        Ok(receiver)
    }
}

impl Network {
    /// A network without doors, whose jitter this seed decides.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            weather: Mutex::default(),
            changed: Condvar::new(),
            trap: Mutex::default(),
            lines: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
        }))
    }

    /// Opens a door before this broker, and gives its address.
    pub fn open(&self, broker: SocketAddr) -> Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let door = listener.local_addr()?;
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name("door".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                // A broker that is down shows as a connection that ends at once.
                if let Ok(line) = Line::new(client, broker) {
                    shared.serve(&Arc::new(line));
                }
            }
        })?;
        Ok(door)
    }

    /// Changes the weather, for what is held at the moment too.
    pub fn set(&self, weather: Weather) {
        *lock(&self.0.weather) = weather;
        self.0.changed.notify_all();
    }

    /// Cuts all lines by a reset. What is held is gone.
    pub fn reset(&self) {
        for line in lock(&self.0.lines).drain(..).filter_map(|line| line.upgrade()) {
            line.reset();
        }
        self.0.changed.notify_all();
    }

    /// Stops the next frame of this client that is such a request, or the answer to one.
    pub fn catch(&self, api: Api, way: Way, client: &str) -> Receiver<Caught> {
        let (caught, receiver) = sync_channel(1);
        let what = What::Any(way, Asked { api, client: client.to_owned() });
        *lock(&self.0.trap) = Some(Trap { what, caught });
        receiver
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, line: &Arc<Line>) {
        let mut lines = lock(&self.lines);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
        for way in [Way::Request, Way::Answer] {
            let (shared, line) = (Arc::clone(self), Arc::clone(line));
            thread::spawn(move || {
                let ended = shared.pass_all(&line, way);
                line.end(way, ended.is_ok());
            });
        }
    }

    fn pass_all(&self, line: &Arc<Line>, way: Way) -> Result<()> {
        let (mut from, mut to) = match way {
            Way::Request => (&line.client, &line.broker),
            Way::Answer => (&line.broker, &line.client),
        };
        while let Some(frame) = Frame::read(&mut from)? {
            let asked = match way {
                Way::Request => Asked { api: frame.api(), client: frame.client().to_owned() },
                Way::Answer => lock(&line.open).pop_front().context("an answer to nothing")?,
            };
            self.wait_out(line, way)?;
            self.stop_if_caught(line, way, &asked)?;
            if way == Way::Request {
                lock(&line.open).push_back(asked);
            }
            to.write_all(frame.bytes())?;
        }
        Ok(())
    }

    fn wait_out(&self, line: &Line, way: Way) -> Result<()> {
        let Weather { delay, jitter, .. } = *lock(&self.weather);
        if !(delay + jitter).is_zero() {
            let more = lock(&self.random).below(jitter.as_micros() as u64 + 1);
            thread::sleep(delay + Duration::from_micros(more));
        }
        let held = |weather: &mut Weather| match way {
            Way::Request => weather.hold_requests,
            Way::Answer => weather.hold_answers,
        };
        let held = |weather: &mut Weather| held(weather) && !line.is_cut();
        drop(self.changed.wait_while(lock(&self.weather), held));
        anyhow::ensure!(!line.is_cut(), "the line was cut");
        Ok(())
    }

    fn stop_if_caught(&self, line: &Arc<Line>, way: Way, asked: &Asked) -> Result<()> {
        let Some(trap) = lock(&self.trap).take_if(|trap| trap.what.is(line, way, asked)) else {
            return Ok(());
        };
        let (let_go, verdict) = sync_channel(1);
        if trap.caught.send(Caught { line: Arc::clone(line), let_go }).is_ok() {
            verdict.recv().context("the frame was dropped")?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    /// Long enough for a frame to pass a door, had it been let.
    const A_WHILE: Duration = Duration::from_millis(100);

    /// A frame with this key and client, as requests have.
    fn frame(api: i16, client: &str) -> Vec<u8> {
        let mut body = [&api.to_be_bytes()[..], &[0; 6]].concat();
        body.extend(i16::try_from(client.len()).expect("a short name").to_be_bytes());
        body.extend(client.as_bytes());
        [&u32::try_from(body.len()).expect("a short body").to_be_bytes()[..], &body].concat()
    }

    /// A door before a broker that answers each request by the request itself, and tells of it.
    fn echo(network: &Network) -> Result<(TcpStream, Receiver<Frame>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let door = network.open(listener.local_addr()?)?;
        let (seen, receiver) = sync_channel(100);
        thread::spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            while let Some(frame) = Frame::read(&mut stream)? {
                seen.send(frame.clone())?;
                stream.write_all(frame.bytes())?;
            }
            Ok(())
        });
        let client = TcpStream::connect(door)?;
        client.set_read_timeout(Some(SOON))?;
        Ok((client, receiver))
    }

    fn answer(mut client: &TcpStream) -> Result<Vec<u8>> {
        let frame = Frame::read(&mut client)?;
        Ok(frame.context("the end")?.bytes().to_vec())
    }

    #[test]
    fn frames_pass_both_ways_and_take_their_time() -> Result<()> {
        let network = Network::new(1);
        let (mut client, _seen) = echo(&network)?;
        client.write_all(&[frame(0, "a"), frame(26, "a")].concat())?;
        assert_eq!((answer(&client)?, answer(&client)?), (frame(0, "a"), frame(26, "a")));
        network.set(Weather { delay: A_WHILE, ..Weather::default() });
        let start = Instant::now();
        client.write_all(&frame(3, "a"))?;
        assert_eq!(answer(&client)?, frame(3, "a"));
        assert!(start.elapsed() >= 2 * A_WHILE);
        Ok(())
    }

    #[test]
    fn what_is_held_goes_on_later() -> Result<()> {
        let network = Network::new(1);
        let (mut client, seen) = echo(&network)?;
        network.set(Weather { hold_answers: true, ..Weather::default() });
        client.write_all(&frame(0, "a"))?;
        assert_eq!(seen.recv_timeout(SOON)?.bytes(), frame(0, "a"));
        client.set_read_timeout(Some(A_WHILE))?;
        assert!(answer(&client).is_err());
        client.set_read_timeout(Some(SOON))?;
        network.set(Weather::default());
        assert_eq!(answer(&client)?, frame(0, "a"));
        Ok(())
    }

    #[test]
    fn a_request_is_caught_and_gone_if_nobody_lets_it_go() -> Result<()> {
        let network = Network::new(1);
        let (mut client, seen) = echo(&network)?;
        let trap = network.catch(Api::EndTxn, Way::Request, "b");
        client.write_all(&[frame(26, "a"), frame(0, "b"), frame(26, "b"), frame(26, "b")].concat())?;
        let caught = trap.recv_timeout(SOON)?;
        let arrived = [seen.recv_timeout(SOON)?, seen.recv_timeout(SOON)?];
        assert_eq!(arrived.map(|frame| frame.bytes().to_vec()), [frame(26, "a"), frame(0, "b")]);
        drop(caught);
        assert!(seen.recv_timeout(SOON).is_err(), "the line was cut");
        Ok(())
    }

    #[test]
    fn an_answer_is_caught_on_its_own_line() -> Result<()> {
        let network = Network::new(1);
        let (mut client, seen) = echo(&network)?;
        let trap = network.catch(Api::EndTxn, Way::Request, "a");
        client.write_all(&frame(26, "a"))?;
        let trap = trap.recv_timeout(SOON)?.let_go_and_catch_answer(&network)?;
        let caught = trap.recv_timeout(SOON)?;
        assert_eq!(seen.recv_timeout(SOON)?.bytes(), frame(26, "a"));
        caught.let_go()?;
        assert_eq!(answer(&client)?, frame(26, "a"));
        Ok(())
    }

    #[test]
    fn a_request_arrives_though_its_client_was_cut_off() -> Result<()> {
        let network = Network::new(1);
        let (mut client, seen) = echo(&network)?;
        let trap = network.catch(Api::EndTxn, Way::Request, "a");
        client.write_all(&frame(26, "a"))?;
        let caught = trap.recv_timeout(SOON)?;
        caught.cut_client()?;
        assert!(answer(&client).is_err());
        assert!(seen.try_recv().is_err());
        let answer = caught.let_go_and_catch_answer(&network)?;
        answer.recv_timeout(SOON)?;
        assert_eq!(seen.recv_timeout(SOON)?.bytes(), frame(26, "a"));
        Ok(())
    }

    #[test]
    fn a_reset_is_one() -> Result<()> {
        let network = Network::new(1);
        let (mut client, seen) = echo(&network)?;
        client.write_all(&frame(0, "a"))?;
        answer(&client)?;
        network.set(Weather { hold_requests: true, ..Weather::default() });
        client.write_all(&frame(0, "a"))?;
        network.reset();
        let error = Frame::read(&mut client).expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        network.set(Weather::default());
        seen.recv_timeout(SOON)?;
        assert!(seen.recv_timeout(SOON).is_err(), "what was held is gone");
        Ok(())
    }
}
