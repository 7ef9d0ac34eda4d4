use std::cell::RefCell;

thread_local! {
    /// What was counted since the last flush. At most a handful of names, so a list is searched faster than a map.
    static COUNTS: RefCell<Vec<(&'static str, u64)>> = const { RefCell::new(Vec::new()) };
}

/// Adds to the stage's counter `plugin_<name>`. A name is at most 64 of `a-z0-9_`, and a plugin has at most 32.
///
/// Counts cross the boundary once a batch, after its last record; a batch that is run again after that counts again.
pub fn count(name: &'static str, by: u64) {
    COUNTS.with_borrow_mut(|counts| match counts.iter_mut().find(|(known, _)| *known == name) {
        Some((_, sum)) => *sum += by,
        None => counts.push((name, by)),
    });
}

/// Hands everything counted to `counter`, and starts again from nothing.
pub(crate) fn flush(mut counter: impl FnMut(&'static str, u64)) {
    COUNTS.with_borrow_mut(|counts| {
        for (name, sum) in counts.drain(..) {
            counter(name, sum);
        }
    });
}
