use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluicegate_local::{Log, NewRecord, Writer};

use crate::exit::Exit;

/// Writes trades at a steady rate, on a thread of its own.
pub(super) struct Producer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

const PAUSE: Duration = Duration::from_millis(20);
/// One record in so many is no JSON: what becomes of it is part of the show.
const BROKEN_EVERY: u64 = 5000;

impl Producer {
    pub(super) fn start(log: &Log, rate: u32) -> Result<Self, Exit> {
        let mut writer = Writer::open(log, "trades")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let produce = move || {
            let (start, mut written) = (Instant::now(), 0u64);
            while !stopped.load(Relaxed) {
                let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                if let Err(error) =
                    (written..due).try_for_each(|id| write(&mut writer, id)).and_then(|()| writer.flush())
                {
                    tracing::error!("demo producer: {error}");
                    return;
                }
                written = written.max(due);
                std::thread::sleep(PAUSE);
            }
        };
        let thread = std::thread::Builder::new().name("demo-producer".into()).spawn(produce)?;
        Ok(Producer { stop, thread })
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Relaxed);
        // Its own error is in the log already.
        let _ = self.thread.join();
    }
}

fn write(writer: &mut Writer, id: u64) -> Result<(), sluicegate_core::Error> {
    let symbol = ["ACME", "GLOBEX", "INITECH", "UMBRELLA", "HOOLI"][(id % 5) as usize];
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let (quantity, cents, account) = (1 + mixed % 1000, 100 + mixed % 90_000, mixed % 1_000_000);
    let price = format!("{}.{:02}", cents / 100, cents % 100);
    let value = match id % BROKEN_EVERY {
        4999 => format!("trade {id} of {symbol}: a line that is no JSON"),
        _ => format!(
            r#"{{"id":{id},"symbol":"{symbol}","quantity":{quantity},"price":{price},"account":"DE{account:06}"}}"#
        ),
    };
    writer.send(&NewRecord { key: Some(symbol.as_bytes()), value: Some(value.as_bytes()), ..NewRecord::default() })?;
    Ok(())
}
