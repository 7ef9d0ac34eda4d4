//! The guest's memory. Every address comes from the guest, and is checked.

use wasmtime::{Caller, Trap};

use super::guest::State;

/// The memory, and the store's data beside it. Before the module is instantiated it has none, and every access is out of
/// bounds.
pub(super) fn split<'a>(caller: &'a mut Caller<'_, State>) -> (&'a mut [u8], &'a mut State) {
    match caller.data().memory {
        Some(memory) => memory.data_and_store_mut(caller),
        None => (&mut [], caller.data_mut()),
    }
}

/// `size` bytes at `address`.
pub(super) fn bytes(memory: &[u8], address: i32, size: i32) -> Result<&[u8], Trap> {
    let start = offset(address);
    start.checked_add(offset(size)).and_then(|end| memory.get(start..end)).ok_or(Trap::MemoryOutOfBounds)
}

/// `size` bytes at `address`, to write to.
pub(super) fn bytes_mut(memory: &mut [u8], address: i32, size: usize) -> Result<&mut [u8], Trap> {
    let start = offset(address);
    start.checked_add(size).and_then(|end| memory.get_mut(start..end)).ok_or(Trap::MemoryOutOfBounds)
}

/// Writes a number's little-endian bytes.
pub(super) fn put<const N: usize>(memory: &mut [u8], address: i32, bytes: [u8; N]) -> Result<(), Trap> {
    bytes_mut(memory, address, N)?.copy_from_slice(&bytes);
    Ok(())
}

/// Reads a number's little-endian bytes.
pub(super) fn get<const N: usize>(memory: &[u8], address: i32) -> Result<[u8; N], Trap> {
    let start = offset(address);
    memory.get(start..).and_then(|rest| rest.first_chunk()).copied().ok_or(Trap::MemoryOutOfBounds)
}

/// Addresses and sizes are unsigned, though Wasm passes them as i32.
pub(super) fn offset(address: i32) -> usize {
    address as u32 as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_leaves_the_memory() {
        let mut memory = *b"abcd";
        assert_eq!(bytes(&memory, 1, 3), Ok(&b"bcd"[..]));
        assert_eq!(bytes(&memory, 4, 0), Ok(&b""[..]));
        for (address, size) in [(1, 4), (5, 0), (-1, 1), (0, -1), (-1, -1), (i32::MIN, i32::MIN)] {
            assert_eq!(bytes(&memory, address, size), Err(Trap::MemoryOutOfBounds), "{address} {size}");
        }
        assert_eq!(get::<4>(&memory, 0), Ok(*b"abcd"));
        assert!(get::<4>(&memory, 1).is_err() && get::<1>(&memory, -1).is_err());
        assert!(put(&mut memory, 1, [0; 4]).is_err() && put(&mut memory, -4, [0; 4]).is_err());
        put(&mut memory, 2, *b"xy").unwrap();
        assert_eq!(&memory, b"abxy");
    }
}
