//! Upper-cases a record by the interface of Redpanda Connect's `wasm` processor.
#![no_std]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[link(wasm_import_module = "benthos_wasm")]
unsafe extern "C" {
    /// Address and length of the record, 32 bits each.
    fn v0_msg_as_bytes() -> u64;
    fn v0_msg_set_bytes(at: u32, bytes: u32);
}

static mut BUFFER: [u8; 1 << 20] = [0; 1 << 20];

/// One record at a time is all that it is asked to hold.
#[unsafe(no_mangle)]
pub extern "C" fn allocate(_bytes: u32) -> u32 {
    (&raw mut BUFFER) as u32
}

#[unsafe(no_mangle)]
pub extern "C" fn deallocate(_at: u32, _bytes: u32) {}

#[unsafe(no_mangle)]
pub extern "C" fn process() {
    // SAFETY: the host wrote so many bytes at the address that `allocate` gave it, and calls from one thread.
    unsafe {
        let record = v0_msg_as_bytes();
        let (at, bytes) = ((record >> 32) as u32, record as u32);
        core::slice::from_raw_parts_mut(at as *mut u8, bytes as usize).make_ascii_uppercase();
        v0_msg_set_bytes(at, bytes);
    }
}
