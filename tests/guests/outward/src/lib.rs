//! Wants the network, which no plugin is given.

wit_bindgen::generate!({ path: "../../../wit", world: "plugin" });

use exports::sluicegate::plugin::lifecycle::{self, Description};
use exports::sluicegate::plugin::transform::{self, Input, Outcome};

struct Outward;

impl lifecycle::Guest for Outward {
    fn describe() -> Description {
        Description { name: "outward".into(), version: "0".into(), summary: String::new(), config_schema: None }
    }

    fn configure(config: String, _: Vec<String>) -> Result<(), String> {
        std::net::TcpStream::connect(config).map(drop).map_err(|error| error.to_string())
    }
}

impl transform::Guest for Outward {
    fn process(_: Input) -> Outcome {
        Outcome::Pass
    }
}

export!(Outward);
