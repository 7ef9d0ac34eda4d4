use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rdkafka_sys as sys;

use crate::wake::Wake;

/// What a queue tells when it stops being empty.
struct Ready {
    ready: AtomicBool,
    wake: Arc<Wake>,
}

unsafe extern "C" fn on_nonempty(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the `Ready` of the queue's owner, which disables this callback before it drops it;
    // librdkafka calls it with the queue's lock held, so that disabling waits for a call under way.
    let ready = unsafe { &*opaque.cast::<Ready>() };
    ready.ready.store(true, SeqCst);
    ready.wake.raise();
}

/// A queue of librdkafka's with its wake-up.
pub(super) struct Queue {
    native: NonNull<sys::rd_kafka_queue_t>,
    ready: Box<Ready>,
}

impl Queue {
    /// Takes ownership of `queue`.
    ///
    /// # Safety
    /// `queue` is null or a reference to a queue that nobody else destroys, and its client outlives this.
    pub(super) unsafe fn new(queue: *mut sys::rd_kafka_queue_t, wake: Arc<Wake>) -> Option<Self> {
        let native = NonNull::new(queue)?;
        let ready = Box::new(Ready { ready: AtomicBool::new(true), wake });
        // SAFETY: the queue is valid, and the boxed `ready` stays where it is until drop disables the callback.
        unsafe {
            let opaque = ptr::from_ref::<Ready>(&ready).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(native.as_ptr(), Some(on_nonempty), opaque);
        }
        Some(Queue { native, ready })
    }

    pub(super) fn native(&self) -> *mut sys::rd_kafka_queue_t {
        self.native.as_ptr()
    }

    /// Whether something came since the last call; reading on until the queue is empty is up to the caller.
    pub(super) fn take_ready(&self) -> bool {
        self.ready.ready.swap(false, SeqCst)
    }

    /// Makes the next [`Queue::take_ready`] true.
    pub(super) fn set_ready(&self) {
        self.ready.ready.store(true, SeqCst);
    }

    /// Raised when something comes.
    pub(super) fn wake(&self) -> &Wake {
        &self.ready.wake
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and ours; after the first call no callback can reach `ready` any more.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.native.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.native.as_ptr());
        }
    }
}

// SAFETY: librdkafka's queues may be used from any thread, and at once; `Ready` is made of types that may too.
unsafe impl Send for Queue {}
unsafe impl Sync for Queue {}
