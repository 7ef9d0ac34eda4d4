use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What is kept of one call's standard error, in bytes: its end.
const TAIL_BYTES_MAX: usize = 2 << 10;
/// What a guest may write at once, in bytes.
const WRITE_BYTES_MAX: usize = 4 << 10;

/// The end of what a plugin has written to standard error since this was last taken. The runtimes of languages put the
/// words of a panic there, so that even a plugin without an SDK fails with a reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stderr {
    tail: Arc<Mutex<Vec<u8>>>,
}

impl Stderr {
    /// Adds what a plugin writes.
    pub(crate) fn append(&self, bytes: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        let excess = tail.len().saturating_sub(TAIL_BYTES_MAX);
        tail.drain(..excess);
    }

    /// Takes what was written, as one line; none if nothing was.
    pub(crate) fn take(&self) -> Option<String> {
        let tail = std::mem::take(&mut *self.tail.lock().unwrap_or_else(PoisonError::into_inner));
        let text = String::from_utf8_lossy(&tail);
        // Rust's advice about RUST_BACKTRACE is of no use where nobody can set it.
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: run with"));
        let line = lines.collect::<Vec<_>>().join(" ");
        (!line.is_empty()).then_some(line)
    }
}

impl IsTerminal for Stderr {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stderr {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this, which plugins do not get.
        StdoutStream::async_stream(&std::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stderr {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.append(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stderr {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_panic_are_one_line() {
        let mut stderr = Stderr::default();
        assert_eq!(stderr.take(), None);
        stderr.write(Bytes::from_static(b"\nthread panicked at lib.rs:3:5:\nboom\nnote: run with `RUST_")).unwrap();
        stderr.write(Bytes::from_static(b"BACKTRACE=1`\n")).unwrap();
        assert_eq!(stderr.take().as_deref(), Some("thread panicked at lib.rs:3:5: boom"));
        stderr.write(Bytes::from(vec![b'x'; 9000])).unwrap();
        assert_eq!(stderr.take().map(|line| line.len()), Some(TAIL_BYTES_MAX));
    }
}
