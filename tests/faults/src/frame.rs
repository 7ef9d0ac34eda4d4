//! As much of Kafka's wire format as it takes to know a request: a frame is four bytes of length and its body; a
//! request's body begins with what it asks for, its version, its number and the name of its client.

use std::io::{self, Read};

/// Above what any broker or client here takes.
const BYTES_MAX: usize = 256 << 20;
const HEADER: usize = 4;

/// What a request asks for, as far as faults care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Outputs.
    Produce,
    /// Offsets, without a transaction.
    OffsetCommit,
    /// Offsets, in a transaction.
    TxnOffsetCommit,
    /// The end of a transaction, by commit or abort.
    EndTxn,
    /// Anything else.
    Other,
}

impl From<i16> for Api {
    fn from(key: i16) -> Self {
        match key {
            0 => Self::Produce,
            8 => Self::OffsetCommit,
            26 => Self::EndTxn,
            28 => Self::TxnOffsetCommit,
            _ => Self::Other,
        }
    }
}

/// A request or an answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// The next frame; none where the stream ends.
    pub fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut length = [0; HEADER];
        if stream.read(&mut length[..1])? == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut length[1..])?;
        let body = u32::from_be_bytes(length) as usize;
        if body > BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {body} bytes")));
        }
        let mut bytes = vec![0; HEADER + body];
        bytes[..HEADER].copy_from_slice(&length);
        stream.read_exact(&mut bytes[HEADER..])?;
        Ok(Some(Self(bytes)))
    }

    /// All of it, as it goes over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What this request asks for.
    pub fn api(&self) -> Api {
        self.number(HEADER).map_or(Api::Other, Api::from)
    }

    /// Who sent this request, by its own word.
    pub fn client(&self) -> &str {
        const AT: usize = HEADER + 8;
        let length = self.number(AT).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let name = self.0.get(AT + 2..AT + 2 + length).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    fn number(&self, at: usize) -> Option<i16> {
        let bytes = self.0.get(at..at + 2)?;
        Some(i16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(api: i16, client: &str) -> Vec<u8> {
        let mut body = [&api.to_be_bytes()[..], &[0, 1, 0, 0, 0, 7]].concat();
        body.extend(i16::try_from(client.len()).expect("a short name").to_be_bytes());
        body.extend(client.as_bytes());
        [&u32::try_from(body.len()).expect("a short body").to_be_bytes()[..], &body].concat()
    }

    #[test]
    fn a_request_tells_what_it_asks_and_who_asks() -> io::Result<()> {
        let stream = [request(26, "a"), request(0, "bb"), request(3, "")].concat();
        let mut rest = &stream[..];
        let mut seen = Vec::new();
        while let Some(frame) = Frame::read(&mut rest)? {
            seen.push((frame.api(), frame.client().to_owned()));
        }
        let expected = [(Api::EndTxn, "a"), (Api::Produce, "bb"), (Api::Other, "")];
        assert_eq!(seen, expected.map(|(api, client)| (api, client.to_owned())));
        Ok(())
    }

    #[test]
    fn a_stream_that_was_cut_is_an_error() {
        let whole = request(26, "a");
        for length in 1..whole.len() {
            assert!(Frame::read(&mut &whole[..length]).is_err());
        }
        assert!(Frame::read(&mut &u32::MAX.to_be_bytes()[..]).is_err(), "too large");
    }
}
