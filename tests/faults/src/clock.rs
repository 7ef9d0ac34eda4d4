//! The time of day, as the program's logs tell it.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A time of day, in UTC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Clock(Duration);

impl Clock {
    /// Now.
    pub fn now() -> Self {
        Self(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{:03}", self.0.subsec_millis())
    }
}
