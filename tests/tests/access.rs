//! A secured Kafka, as `docs/operate.md` says under "Access": TLS, mutual TLS, and SASL by PLAIN and SCRAM, in everything that
//! speaks to one.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sluicegate_tests::client::Client;
use sluicegate_tests::kafka::Kafka;
use sluicegate_tests::pipeline::Pipeline;
use sluicegate_tests::plugins::plugin;
use sluicegate_tests::program::{Output, RUN_WITHIN, done, free_address, sluicegate};
use sluicegate_tests::record::Record;
use sluicegate_tests::wait::eventually;
use sluicegate_tests::web::Authority;
use tempfile::TempDir;

const DONE_WITHIN: Duration = Duration::from_secs(60);
const USER: &str = "trades";
const PASSWORD: &str = "open-sesame";
const WRONG: &str = "a wrong one";

#[test]
fn mutual_tls() -> Result<()> {
    let secured = secured()?;
    let (certificate, key) = (secured.file("client.crt"), secured.file("client.key"));
    let shown = [("ssl.certificate.location", certificate.as_str()), ("ssl.key.location", &key)];
    goes_through(secured, "mutual", "SSL", &shown)?;
    let stranger = sluicegate(secured.command(&["topics", "list"], "SSL", &[])?)?.run()?;
    ensure!(stranger.code != Some(0), "who shows no certificate was let in: {stranger:?}");
    Ok(())
}

#[test]
fn sasl_by_scram() -> Result<()> {
    goes_through(secured()?, "scram", "SASL_SSL", &login("SCRAM-SHA-512", PASSWORD))
}

#[test]
fn sasl_by_plain() -> Result<()> {
    goes_through(secured()?, "plain", "SASL_SSL", &login("PLAIN", PASSWORD))
}

#[test]
fn a_wrong_password_is_told() -> Result<()> {
    let secured = secured()?;
    let told = |refused: &Output| {
        ensure!(refused.code == Some(2) && refused.stderr.contains("SASL authentication error"), "{refused:?}");
        ensure!(!refused.stderr.contains(WRONG), "the password is told: {}", refused.stderr);
        Ok(())
    };
    for mechanism in ["SCRAM-SHA-512", "PLAIN"] {
        let wrong = login(mechanism, WRONG);
        for command in [&["topics", "list"][..], &["produce", "any"], &["consume", "any"]] {
            let refused = sluicegate(secured.command(command, "SASL_SSL", &wrong)?)?.input("{}\n").run()?;
            told(&refused).with_context(|| format!("{command:?} by {mechanism}"))?;
        }
        let refused = secured.pipeline("refused", "SASL_SSL", &wrong)?.start(free_address()?)?.wait(RUN_WITHIN)?;
        told(&refused).with_context(|| format!("run by {mechanism}"))?;
    }
    Ok(())
}

/// The broker asks for a new login every two seconds, and a client that it refuses then loses its connection.
#[test]
fn a_login_that_is_refused_for_a_while_ends_no_pipeline() -> Result<()> {
    const LATER: &str = "later";
    let secured = secured()?;
    let (client, source) = (&secured.client, "later.in");
    client.admit(LATER, PASSWORD)?;
    client.create_topic(source, 1, &[])?;
    client.create_topic("later.out", 1, &[])?;
    let access = [("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", LATER), ("sasl.password", PASSWORD)];
    let running = secured.pipeline(LATER, "SASL_SSL", &access)?.run()?;
    client.admit(LATER, WRONG)?;
    eventually(DONE_WITHIN, "a refusal", || Ok(running.stderr()?.contains("SASL authentication error").then_some(())))?;
    client.admit(LATER, PASSWORD)?;
    client.produce(source, &[Record::new("k", "v")])?;
    client.wait_until_consumed(LATER, source, DONE_WITHIN)?;
    running.end()
}

fn login<'a>(mechanism: &'a str, password: &'a str) -> [(&'static str, &'a str); 3] {
    [("sasl.mechanism", mechanism), ("sasl.username", USER), ("sasl.password", password)]
}

/// Topics are made, a record is written, made another by a pipeline, and read, all by the program and by this listener.
fn goes_through(secured: &Secured, name: &str, protocol: &str, properties: &[(&str, &str)]) -> Result<()> {
    let (source, sink) = (format!("{name}.in"), format!("{name}.out"));
    let run = |args: &[&str], input: &str| {
        done(sluicegate(secured.command(args, protocol, properties)?)?.input(input).run()?)
            .with_context(|| format!("{args:?}"))
    };
    run(&["topics", "create", &source], "")?;
    run(&["topics", "create", &sink], "")?;
    run(&["produce", &source], "{\"value\": \"through\"}\n")?;
    let running = secured.pipeline(name, protocol, properties)?.run()?;
    secured.client.wait_until_consumed(name, &source, DONE_WITHIN)?;
    running.end()?;
    let seen = run(&["consume", &sink], "")?;
    ensure!(seen.lines().count() == 1 && seen.contains("THROUGH"), "{seen}");
    Ok(())
}

/// A Kafka with a listener for each protocol, the files of whoever may speak to it, and a client that need not ask.
struct Secured {
    kafka: Kafka,
    client: Client,
    folder: TempDir,
}

fn secured() -> Result<&'static Secured> {
    static SECURED: OnceLock<Result<Secured, String>> = OnceLock::new();
    let secured = SECURED.get_or_init(|| Secured::start().map_err(|error| format!("{error:#}")));
    secured.as_ref().map_err(|error| anyhow!("no secured Kafka: {error}"))
}

impl Secured {
    fn start() -> Result<Self> {
        let (folder, authority) = (tempfile::tempdir()?, Authority::new()?);
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (server, client) = (authority.server(&["127.0.0.1"])?, authority.client(USER)?);
        fs::write(file("ca.crt"), authority.pem())?;
        fs::write(file("server.pem"), server.key + &server.certificate)?;
        fs::write(file("client.crt"), client.certificate)?;
        fs::write(file("client.key"), client.key)?;
        let module = "org.apache.kafka.common.security";
        let plain = format!("{module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";");
        let scram = format!("{module}.scram.ScramLoginModule required;");
        let settings = [
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", &file("server.pem")),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &file("ca.crt")),
            ("listener.name.ssl.ssl.client.auth", "required"),
            ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512"),
            ("listener.name.sasl_ssl.plain.sasl.jaas.config", &plain),
            ("listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config", &scram),
            ("listener.name.sasl_ssl.scram-sha-512.connections.max.reauth.ms", "2000"),
        ];
        let kafka = Kafka::start_secured(&["SSL", "SASL_SSL"], &settings)?;
        let client = Client::connect(&kafka)?;
        client.admit(USER, PASSWORD)?;
        Ok(Secured { kafka, client, folder })
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What it takes to speak to a listener.
    fn properties(&self, protocol: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let (authority, pair) =
            (self.file("ca.crt"), |(key, value): &(&str, &str)| (key.to_string(), value.to_string()));
        let own = [("security.protocol", protocol), ("ssl.ca.location", authority.as_str())];
        own.iter().chain(more).map(pair).collect()
    }

    /// A command's arguments.
    fn command(&self, args: &[&str], protocol: &str, properties: &[(&str, &str)]) -> Result<Vec<String>> {
        let brokers = self.kafka.listens(protocol)?;
        let own = args.iter().copied().chain(["--brokers", &brokers]).map(str::to_owned);
        let given = self.properties(protocol, properties).into_iter();
        let given = given.flat_map(|(key, value)| ["-X".to_owned(), format!("{key}={value}")]);
        Ok(own.chain(given).collect())
    }

    /// From `<name>.in` to `<name>.out`, with the properties written once, as the page has it.
    fn pipeline(&self, name: &str, protocol: &str, properties: &[(&str, &str)]) -> Result<Pipeline> {
        let given = self.properties(protocol, properties).into_iter();
        let given: String = given.map(|(key, value)| format!("      {key}: '{value}'\n")).collect();
        Pipeline::new(&format!(
            "name: {name}\n\
             source:\n  kafka:\n    brokers: '{}'\n    topics: [{name}.in]\n    properties: &access\n{given}\
             stages: [{{ plugin: {} }}]\n\
             sink: {{ kafka: {{ topic: {name}.out, properties: *access }} }}\n\
             workers: 1\n",
            self.kafka.listens(protocol)?,
            plugin("uppercase")?.display()
        ))
    }
}
