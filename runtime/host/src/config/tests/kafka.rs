use super::*;

/// The message for EXAMPLE with these properties of the source.
fn of_source(properties: &str) -> String {
    let of_source = format!("    properties: {{ {properties} }}  ");
    complaint("    properties: {}  ", &of_source)
}

#[test]
fn a_property_that_librdkafka_does_not_take_is_refused_without_its_value() {
    let error = of_source("no.such: hunter2");
    assert!(error.starts_with("8:19: property 'no.such' cannot be set: No such configuration property"), "{error}");
    for (property, words) in [
        ("fetch.min.bytes: '${PASSWORD}'", "'fetch.min.bytes' cannot be set: Invalid value"),
        ("security.protocol: '${PASSWORD}'", "'security.protocol' cannot be set: Invalid value"),
        ("debug: 'broker,${PASSWORD}'", "'debug' cannot be set: Invalid value"),
        ("socket.timeout.ms: '${PIN}000000'", "'socket.timeout.ms' cannot be set: Configuration property"),
    ] {
        let error = of_source(property);
        assert!(error.contains(words), "{error}");
        assert!(!error.contains("hunter2") && !error.contains("42000000"), "{error}");
    }
}

#[test]
fn a_property_that_does_nothing_is_refused() {
    assert!(of_source("statistics.interval.ms: 1000").contains("nothing reads librdkafka's statistics"));
    let error = of_source("group.protocol: consumer, session.timeout.ms: 6000");
    assert!(
        error.starts_with("8:45: property 'session.timeout.ms' cannot be set: with `group.protocol: consumer`"),
        "{error}"
    );
    good(&EXAMPLE.replacen("properties: {}", "properties: { session.timeout.ms: 6000 }", 1));
}

#[test]
fn a_plugin_ends_before_its_transaction_does() {
    let deadline = |text: &str| EXAMPLE.replacen("deadline: 100ms", &format!("deadline: {text}"), 1);
    let error = complaint("deadline: 100ms", "deadline: 31s");
    let expected = "13:30: deadline is 31s; exactly once, the most is half of transaction.timeout.ms: 30s";
    assert!(error.starts_with(expected), "{error}");
    good(&deadline("30s"));
    good(&deadline("60s").replacen("delivery: exactly-once", "delivery: at-least-once", 1));
    let longer =
        deadline("60s").replace("properties: {}\ndead", "properties: { transaction.timeout.ms: 120000 }\ndead");
    good(&longer);
    good(&SMALL.replacen("plugins/redact.wasm }", "plugins/redact.wasm, limits: { deadline: 60s } }", 1));
}
