//! A real Apache Kafka: one node in KRaft mode on 127.0.0.1, its data in a temporary folder.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::java::java;
use crate::process::{Process, Signal, tail};
use crate::wait::eventually;

const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";
const START_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How often free ports are chosen anew when another process took one before the broker did.
const PORT_TRIES: usize = 3;

/// A Kafka of one node, and its data. Both end with this, or with the test process.
#[derive(Debug)]
pub struct Kafka {
    node: Node,
    listeners: Vec<Listener>,
}

/// A protocol, and where it is spoken.
type Listener = (&'static str, SocketAddr);

impl Kafka {
    /// The broker that the tests of this process share. It cannot be stopped: a test that wants
    /// to do that starts its own.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow!("the shared Kafka did not start: {error}"))
    }

    /// Starts a broker and waits until it serves.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same, with settings that override those of the harness.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_secured(&[], settings)
    }

    /// The same, which listens for these protocols too, such as `SASL_SSL`: [`Kafka::listens`] says where.
    pub fn start_secured(protocols: &[&'static str], settings: &[(&str, &str)]) -> Result<Self> {
        let mut tries = 1;
        loop {
            let mut addresses = free_addresses(2 + protocols.len())?;
            let controller = addresses.pop().context("an address")?;
            let listeners: Vec<Listener> = ["PLAINTEXT"].iter().chain(protocols).copied().zip(addresses).collect();
            let properties = |data: &Path| properties(data, &listeners, controller, settings);
            let mut node = Node::new(listeners[0].1, "768m", properties)?;
            match node.start() {
                Ok(()) => return Ok(Self { node, listeners }),
                Err(_) if tries < PORT_TRIES && node.port_was_taken() => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where clients connect: `127.0.0.1:port`.
    pub fn bootstrap(&self) -> String {
        self.address().to_string()
    }

    /// The same, as an address.
    pub fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// Where it listens for this protocol: `127.0.0.1:port`.
    pub fn listens(&self, protocol: &str) -> Result<String> {
        let listener = self.listeners.iter().find(|listener| listener.0 == protocol);
        Ok(listener.with_context(|| format!("no listener for {protocol}"))?.1.to_string())
    }

    /// The broker's log.
    pub fn log(&self) -> PathBuf {
        self.node.log()
    }

    /// Stops the broker in good order.
    pub fn stop(&mut self) -> Result<()> {
        self.node.stop()
    }

    /// Kills the broker on the spot.
    pub fn kill(&mut self) -> Result<()> {
        self.node.kill()
    }

    /// Sends the broker a signal, such as [`Signal::Stop`] to make it hang.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.node.signal(signal)
    }

    /// Stops the broker if it runs, and starts it on the same port and data.
    pub fn restart(&mut self) -> Result<()> {
        if self.node.runs() {
            self.stop()?;
        }
        self.node.start()
    }
}

/// One node of a Kafka: a process, where it listens, its settings, its data. All end with this, or with the test
/// process.
#[derive(Debug)]
pub struct Node {
    process: Option<Process>,
    address: SocketAddr,
    heap: &'static str,
    folder: TempDir,
}

impl Node {
    /// A node that does not run yet. Its clients connect to `address`; `properties` gives its settings, for the folder
    /// that its data are to be in.
    pub fn new(
        address: SocketAddr,
        heap: &'static str,
        properties: impl FnOnce(&Path) -> Result<String>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluicegate-kafka-").tempdir()?;
        fs::write(folder.path().join("server.properties"), properties(&folder.path().join("data"))?)?;
        Ok(Self { process: None, address, heap, folder })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node's log.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Whether the process is there, if only stopped by a signal.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Starts the node and waits until it serves.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the node.
    pub fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut java = java(&["-Xms128m", &format!("-Xmx{}", self.heap), "-XX:+UseG1GC"])?;
        java.arg("Broker").arg(self.folder.path().join("server.properties")).arg(CLUSTER_ID);
        java.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(Process::spawn(&mut java, self.folder.path())?);
        Ok(())
    }

    /// Waits until the node serves: its clients' port opens only when it is ready for them.
    pub fn wait_ready(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the node does not run")?;
        let address = self.address;
        let ready = eventually(START_WITHIN, "Kafka to listen", || {
            if let Some(status) = process.ended()? {
                bail!("Kafka ended: {status}");
            }
            Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok().map(drop))
        });
        ready.with_context(|| format!("{address}; the end of its log:\n{}", tail(&self.log())))
    }

    /// Stops the node in good order.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the node does not run")?;
        process.signal(Signal::Term)?;
        process.wait(STOP_WITHIN).with_context(|| tail(&self.log()))?;
        Ok(())
    }

    /// Kills the node on the spot.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the node does not run")?;
        process.kill().map(drop)
    }

    /// Sends the node a signal, such as [`Signal::Stop`] to make it hang.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.as_mut().context("the node does not run")?.signal(signal)
    }

    /// Whether the node ended, or will, because another process had one of its ports.
    pub fn port_was_taken(&self) -> bool {
        let log = fs::read_to_string(self.log());
        log.is_ok_and(|log| log.contains("BindException") || log.contains("Address already in use"))
    }
}

/// Addresses on ports that nobody listens on now.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    // All held, so that they differ.
    let bound = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<Vec<_>, _>>()?;
    Ok(bound.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

fn properties(
    data: &Path,
    listeners: &[Listener],
    controller: SocketAddr,
    settings: &[(&str, &str)],
) -> Result<String> {
    let data = data.display();
    let join = |each: &dyn Fn(&Listener) -> String| listeners.iter().map(each).collect::<Vec<_>>().join(",");
    let advertised = join(&|(protocol, address)| format!("{protocol}://{address}"));
    let protocols = join(&|(protocol, _)| format!("{protocol}:{protocol}"));
    let mut properties = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners={advertised},CONTROLLER://{controller}
advertised.listeners={advertised}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"
    );
    for (name, value) in settings {
        writeln!(properties, "{name}={value}")?;
    }
    Ok(properties)
}
