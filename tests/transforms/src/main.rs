//! Does with each record what its value asks for; copies what asks for nothing.

use std::error::Error;
use std::time::{Duration, Instant, SystemTime};

use redpanda_transform_sdk::{
    BorrowedRecord, Record, RecordHeader, RecordWriter, WriteEvent, WriteOptions, on_record_written,
};

fn main() {
    match std::env::var("START").as_deref() {
        Ok("panic") => panic!("no start"),
        Ok("return") => return,
        Ok("loop") => spin(),
        Ok("nap") => std::thread::sleep(Duration::from_millis(400)),
        _ => {}
    }
    on_record_written(transform);
}

fn transform(event: WriteEvent, writer: &mut RecordWriter) -> Result<(), Box<dyn Error>> {
    let record = &event.record;
    let value = record.value().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let (verb, object) = value.split_once(' ').unwrap_or((value, ""));
    let mut answer = |text: String| writer.write(BorrowedRecord::new(record.key(), Some(text.as_bytes())));
    match verb {
        "drop" => {}
        "twice" => {
            answer("first".into())?;
            answer("second".into())?;
        }
        "to" => writer.write_with_options(record, WriteOptions::to_topic(object))?,
        "variable" => answer(std::env::var(object)?)?,
        "arguments" => answer(std::env::args().collect::<Vec<_>>().join(","))?,
        "files" => answer(format!("{:?}", std::fs::read_dir("/").map(|_| ())))?,
        "time" => answer(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis().to_string())?,
        "wait" => {
            let start = Instant::now();
            std::thread::sleep(Duration::from_secs(3600));
            answer((start.elapsed() >= Duration::from_secs(3600)).to_string())?;
        }
        "say" => {
            println!("{object}");
            answer("said".into())?;
        }
        "header" => {
            let mut record = Record::new(None, None);
            record.add_header(RecordHeader::new(b"a".to_vec(), Some(b"1".to_vec())));
            record.add_header(RecordHeader::new(b"a".to_vec(), None));
            writer.write(&record)?;
        }
        "error" => return Err("not this one".into()),
        "panic" => panic!("boom"),
        "exit" => std::process::exit(3),
        "loop" => spin(),
        "grow" => std::mem::forget(vec![1u8; 1 << 30]),
        "flood" => loop {
            writer.write(record)?;
        },
        "large" => writer.write(BorrowedRecord::new(None, Some(&vec![0; 9 << 20])))?,
        _ => writer.write(record)?,
    }
    Ok(())
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}
