//! Upper-cases the ASCII letters of every value. The plugin to read first: it does next to nothing, and does it fully.

use sluicegate_plugin::prelude::*;

struct Uppercase;

impl Plugin for Uppercase {
    type Config = NoConfig;

    fn configure(_: NoConfig, _: &Outputs) -> Result<Self, Error> {
        Ok(Uppercase)
    }

    fn process(&mut self, record: Record<'_>) -> Outcome {
        // A tombstone has no value to change: it goes on as it came.
        let Some(value) = record.value() else { return Outcome::Pass };
        let mut output = record.emit();
        // Straight into the column that goes back: no allocation, and a loop that the compiler turns into SIMD.
        output.write_value().extend(value.iter().map(u8::to_ascii_uppercase));
        output.done()
    }
}

sluicegate_plugin::export!(Uppercase);

#[cfg(test)]
mod tests {
    use super::Uppercase;
    use sluicegate_plugin::testing::{Input, Outcome, run};

    #[test]
    fn cases() {
        cases::run::<Uppercase>();
    }

    #[test]
    fn bytes_beyond_ascii_stay() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let outcomes = run::<Uppercase>("{}", &[], [Input::new().value(&every_byte)]).unwrap();
        let Outcome::Emit(outputs) = &outcomes[0] else { panic!("emits") };
        assert_eq!(outputs[0].value, Some(every_byte.to_ascii_uppercase()));
    }
}
