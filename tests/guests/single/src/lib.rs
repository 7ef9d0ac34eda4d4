//! One record a call, without an SDK: drops, rejects, routes and splits as the value asks, else upper-cases it.

wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });

use exports::sluicegate::plugin::lifecycle::{self, Description};
use exports::sluicegate::plugin::transform::{self, Header, Input, Outcome, Output};

struct Single;

impl lifecycle::Guest for Single {
    fn describe() -> Description {
        Description {
            name: "single".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: String::new(),
            config_schema: Some("{}".into()),
        }
    }

    fn configure(_: String, _: Vec<String>) -> Result<(), String> {
        Ok(())
    }
}

impl transform::Guest for Single {
    fn process(input: Input) -> Outcome {
        let output = |to, value| Output {
            to,
            timestamp: input.timestamp,
            key: input.key.clone(),
            value,
            headers: input
                .headers
                .iter()
                .map(|Header { key, value }| Header { key: key.clone(), value: value.clone() })
                .collect(),
        };
        match input.value.as_deref() {
            None => Outcome::Emit(vec![output(None, None)]),
            Some(b"drop") => Outcome::Drop,
            Some(b"pass") => Outcome::Pass,
            Some(b"reject") => Outcome::Reject(format!("{}[{}]@{}", input.topic, input.partition, input.offset)),
            Some(b"panic") => panic!("boom"),
            Some(b"loop") => loop {
                std::hint::black_box(1);
            },
            Some(b"large") => Outcome::Emit(vec![output(None, Some(vec![b'x'; 5 << 20]))]),
            Some(b"route") => Outcome::Emit(vec![output(Some(1), Some(b"routed".to_vec()))]),
            Some(b"split") => {
                Outcome::Emit(vec![output(None, Some(b"one".to_vec())), output(Some(0), Some(b"two".to_vec()))])
            }
            Some(value) => Outcome::Emit(vec![output(None, Some(value.to_ascii_uppercase()))]),
        }
    }
}

export!(Single);
