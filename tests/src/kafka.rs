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
}

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
        let mut tries = 1;
        loop {
            let (port, controller) = free_ports()?;
            let address = ([127, 0, 0, 1], port).into();
            let mut node = Node::new(address, "768m", |data| properties(data, port, controller, settings))?;
            match node.start() {
                Ok(()) => return Ok(Self { node }),
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

/// Two ports that nobody listens on now, for clients and for the controller.
fn free_ports() -> Result<(u16, u16)> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let (first, second) = (bind()?, bind()?); // Both held, so that they differ.
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn properties(data: &Path, port: u16, controller: u16, settings: &[(&str, &str)]) -> Result<String> {
    let data = data.display();
    let mut properties = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
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
