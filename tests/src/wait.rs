//! Waiting: the one place in the harness that polls.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE_FIRST: Duration = Duration::from_millis(5);
const PAUSE_LAST: Duration = Duration::from_millis(200);

/// Polls `condition` until it gives a value, and returns that. An error of the condition ends the
/// wait at once; so does the deadline, with an error that says what was waited for. The condition
/// is asked at least once, and once more after the deadline has passed.
pub fn eventually<T>(within: Duration, what: &str, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        let late = start.elapsed() >= within;
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if late {
            bail!("waited {within:?} in vain for {what}");
        }
        thread::sleep(pause.min(within.saturating_sub(start.elapsed())));
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_the_wait() -> Result<()> {
        let mut asked = 0;
        let value = eventually(Duration::from_secs(10), "three", || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        })?;
        assert_eq!(value, 3);
        Ok(())
    }

    #[test]
    fn the_deadline_names_what_was_waited_for() {
        let waited = eventually(Duration::from_millis(20), "the moon", || Ok(None::<()>));
        let error = waited.expect_err("nothing came").to_string();
        assert!(error.contains("the moon"), "{error}");
    }

    #[test]
    fn an_error_ends_the_wait_at_once() {
        let waited = eventually(Duration::from_secs(3600), "anything", || -> Result<Option<()>> { bail!("broken") });
        assert_eq!(waited.expect_err("an error").to_string(), "broken");
    }
}
