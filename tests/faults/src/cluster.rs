//! A Kafka of three nodes on 127.0.0.1. Each broker has two listeners: one for the other brokers and for whoever judges,
//! and one whose advertised address is a door of the [`Network`], for the program.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sluicegate_tests::client::Client;
use sluicegate_tests::kafka::Node;
use sluicegate_tests::process::Signal;
use sluicegate_tests::wait::eventually;

use crate::network::{Network, Weather};

/// How many nodes there are: with one down, two replicas are in sync, and that is enough to go on.
pub const NODES: usize = 3;
const HEAP: &str = "320m";
const IN_SYNC_WITHIN: Duration = Duration::from_secs(120);

/// The nodes, and the network before them.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    network: Network,
    doors: Vec<SocketAddr>,
}

/// The addresses of one node.
#[derive(Debug, Clone, Copy)]
struct Ports {
    direct: u16,
    doored: u16,
    controller: u16,
}

impl Cluster {
    /// Starts all nodes and waits until they serve.
    pub fn start(seed: u64) -> Result<Self> {
        let network = Network::new(seed);
        let ports = ports()?;
        let doors = ports.iter().map(|ports| network.open(local(ports.doored))).collect::<Result<Vec<_>>>()?;
        let node = |(index, door): (usize, &SocketAddr)| {
            let address = local(ports[index].direct);
            Node::new(address, HEAP, |data| Ok(properties(data, index, &ports, *door)))
        };
        let mut nodes = doors.iter().enumerate().map(node).collect::<Result<Vec<_>>>()?;
        nodes.iter_mut().try_for_each(Node::launch)?;
        nodes.iter_mut().try_for_each(Node::wait_ready)?;
        Ok(Self { nodes, network, doors })
    }

    /// Where those connect who judge.
    pub fn direct(&self) -> String {
        list(self.nodes.iter().map(Node::address))
    }

    /// Where the program connects.
    pub fn doors(&self) -> String {
        list(self.doors.iter().copied())
    }

    /// What is between the program and the brokers.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A node, by its number from 0.
    pub fn node(&mut self, number: usize) -> Result<&mut Node> {
        self.nodes.get_mut(number).context("no such node")
    }

    /// Ends whatever a fault left behind.
    pub fn heal(&mut self) -> Result<()> {
        self.network.set(Weather::default());
        for node in &mut self.nodes {
            if node.runs() {
                node.signal(Signal::Cont)?;
            } else {
                node.launch()?;
            }
        }
        // One alone would wait for the others.
        self.nodes.iter_mut().try_for_each(Node::wait_ready)
    }

    /// Keeps what the brokers have said in this folder.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for (number, node) in self.nodes.iter().enumerate() {
            fs::copy(node.log(), folder.join(format!("broker-{number}.log")))?;
        }
        Ok(())
    }

    /// Waits until every partition has all its replicas again.
    pub fn wait_in_sync(&self, client: &Client) -> Result<()> {
        eventually(IN_SYNC_WITHIN, "all replicas to be in sync", || {
            // While brokers come and go an answer may be missing.
            Ok(client.out_of_sync().ok().filter(|count| *count == 0).map(drop))
        })
    }
}

fn list(addresses: impl Iterator<Item = SocketAddr>) -> String {
    addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Ports that nobody listens on now, below those that systems give to outgoing connections: a node must get its own back
/// after a restart.
fn ports() -> Result<[Ports; NODES]> {
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    let mut free = (first..first + 1_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let mut port = || free.next().context("no port is free");
    let mut three = || anyhow::Ok(Ports { direct: port()?, doored: port()?, controller: port()? });
    Ok([three()?, three()?, three()?])
}

fn properties(data: &Path, index: usize, ports: &[Ports; NODES], door: SocketAddr) -> String {
    let id = index + 1;
    let Ports { direct, doored, controller } = ports[index];
    let voters = ports.iter().enumerate().map(|(index, ports)| format!("{}@127.0.0.1:{}", index + 1, ports.controller));
    let voters = voters.collect::<Vec<_>>().join(",");
    let data = data.display();
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=DIRECT://127.0.0.1:{direct},DOOR://127.0.0.1:{doored},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=DIRECT://127.0.0.1:{direct},DOOR://{door}
listener.security.protocol.map=DIRECT:PLAINTEXT,DOOR:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=DIRECT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=6
transaction.state.log.num.partitions=6
share.coordinator.state.topic.num.partitions=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=3000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
"
    )
}
