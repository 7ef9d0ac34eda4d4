use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Method, Uri};

use super::Problem;
use super::changes::words;
use super::tls::Peer;

/// At most one line in this time: whoever tries tokens fills no log.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Requests that were refused because of who asks, or for which name. Shared.
#[derive(Default)]
pub(crate) struct Refusals {
    count: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    /// Those since then.
    untold: u64,
}

impl Refusals {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Counts one, and logs it unless another has just been.
    pub(super) fn note(&self, peer: &Peer, method: &Method, uri: &Uri, Problem(status, why): &Problem) {
        self.count.fetch_add(1, Relaxed);
        let due = self.told.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now());
        if let Some(untold) = due {
            let more = if untold > 0 { format!(" ({untold} others before it are not shown)") } else { String::new() };
            let (path, why) = (words(uri.path()), words(why));
            tracing::warn!(%peer, "admin endpoint: {method} {path} refused ({}): {why}{more}", status.as_u16());
        }
    }
}

impl Told {
    /// Whether a line is due: with how many there were since the last one.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LINE_EVERY) {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_says_how_many_there_were() {
        let (mut told, start) = (Told::default(), Instant::now());
        let due: Vec<_> = [0, 1, 999, 1000, 1001, 9000]
            .map(|milliseconds| told.due(start + Duration::from_millis(milliseconds)))
            .into();
        assert_eq!(due, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
