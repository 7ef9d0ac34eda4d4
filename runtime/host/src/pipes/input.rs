use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// So much is read at once; a pipe holds less.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes that are read on a thread of their own, as a read cannot be interrupted; and only when they are asked for, so
/// that no more is taken from a pipe than is worked on.
pub(super) struct Input {
    /// Where the next chunk goes.
    ask: Sender<Vec<u8>>,
    told: Receiver<Chunk>,
    /// The chunk's room, unless it is asked for.
    idle: Option<Vec<u8>>,
}

struct Chunk {
    room: Vec<u8>,
    read: io::Result<usize>,
}

/// What came of asking for more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum More {
    /// There is more.
    Some,
    /// Nothing came yet.
    NotYet,
    /// This was all.
    End,
}

impl Input {
    /// Reads from here. The thread ends with the process, or with the first read after this is dropped.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub(super) fn start(mut from: impl Read + Send + 'static) -> io::Result<Self> {
        let ((ask, asked), (tell, told)) = (channel::<Vec<u8>>(), channel());
        let serve = move || {
            for mut room in asked {
                let read = loop {
                    match from.read(&mut room) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        read => break read,
                    }
                };
                if tell.send(Chunk { room, read }).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("stdin".into()).spawn(serve)?;
        Ok(Input { ask, told, idle: Some(vec![0; CHUNK_BYTES]) })
    }

    /// Appends to `text` what there is, waiting at most `wait` for some.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&mut self, text: &mut Vec<u8>, wait: Duration) -> io::Result<More> {
        if let Some(room) = self.idle.take()
            && self.ask.send(room).is_err()
        {
            return Ok(More::End);
        }
        let Chunk { room, read } = match self.told.recv_timeout(wait) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Timeout) => return Ok(More::NotYet),
            Err(RecvTimeoutError::Disconnected) => return Ok(More::End),
        };
        let length = read?;
        text.extend_from_slice(&room[..length]);
        self.idle = Some(room);
        Ok(if length == 0 { More::End } else { More::Some })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_is_asked_for() {
        let (mut here, there) = io::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
        let mut input = Input::start(there).unwrap();
        let mut text = Vec::new();
        assert_eq!(input.read(&mut text, Duration::ZERO).unwrap(), More::NotYet);
        io::Write::write_all(&mut here, b"one\n").unwrap();
        assert_eq!(input.read(&mut text, Duration::from_secs(60)).unwrap(), More::Some);
        assert_eq!(text, b"one\n");
        drop(here);
        assert_eq!(input.read(&mut text, Duration::from_secs(60)).unwrap(), More::End);
        assert_eq!(text, b"one\n");
    }
}
