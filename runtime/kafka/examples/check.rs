//! scratch: check <brokers> <alo|eos> <key=value,...> <records> <workers> <churn|straight>
use sluicegate_core::*; use sluicegate_kafka::*; use std::collections::BTreeMap; use std::sync::Arc; use std::time::*; use std::thread;
struct Real(Instant);
impl Clock for Real { fn now(&self) -> Duration { self.0.elapsed() } fn unix_ms(&self) -> i64 { 0 } fn sleep(&self, t: Duration) { thread::sleep(t) } }
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 }
fn main() {
    let a: Vec<String> = std::env::args().collect(); let b = a[1].clone(); let d = if a[2] == "eos" { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce };
    let props: BTreeMap<String, String> = a[3].split(',').filter(|s| !s.is_empty()).map(|s| s.split_once('=').unwrap()).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let n: u64 = a[4].parse().unwrap(); let w: usize = a[5].parse().unwrap(); let churn = a[6] == "churn"; let parts = 4;
    let cc = ClientConfig { brokers: b.clone(), properties: BTreeMap::new() }; let topics = Topics::new(&cc).unwrap(); let id = std::process::id(); let (tin, tout) = (format!("in-{id}"), format!("out-{id}"));
    let t = Instant::now(); topics.create(&tin, parts, 1, &[("retention.ms", "-1"), ("max.message.bytes", "4000000")]).unwrap(); topics.create(&tout, parts, 1, &[("retention.ms", "-1"), ("max.message.bytes", "4000000")]).unwrap(); println!("create {:?}", t.elapsed());
    let load = |from: u64, to: u64| { let mut wr = Writer::new(&cc, &tin).unwrap(); let mut v = vec![b'x'; 200]; for i in from..to { let s = format!("{i:020}"); v[..20].copy_from_slice(s.as_bytes()); wr.write(&Produce { partition: Some((i % 4) as u32), key: Some(s.as_bytes()), value: Some(&v), ..Default::default() }).unwrap(); } wr.flush(Duration::from_secs(60)).unwrap(); };
    let all: Arc<std::sync::Mutex<Vec<Arc<Meters>>>> = Arc::default();
    let member = |k: usize| { let (b, tin, tout, props) = (b.clone(), tin.clone(), tout.clone(), props.clone()); let stop = Arc::new(Stop::default()); let s2 = stop.clone(); let all = all.clone();
        let h = thread::spawn(move || { loop {
            let src = KafkaSourceConfig { brokers: b.clone(), topics: vec![tin.clone()], group: tin.clone(), start: Start::Earliest, properties: props.clone(), batch_records: 512, batch_bytes: 1 << 20, queue_bytes: 64 << 20 };
            let snk = KafkaSinkConfig { brokers: b.clone(), topic: tout.clone(), outputs: vec![], dead_letter: None, partition: PartitionBy::Same, id_header: None, pipeline: "c".into(), properties: BTreeMap::new(), delivery: d, transactional_id: format!("{tin}-{k}"), queue_bytes: 64 << 20 };
            let t = Instant::now(); let c = connect(&src, &snk); let c = match c { Ok(c) => c, Err(e) => { println!("connect {:?} {e}", e.kind); thread::sleep(Duration::from_millis(500)); if s2.requested() { return; } continue } }; println!("worker {k} connected in {:?}, bytes_per_output {}", t.elapsed(), c.bytes_per_output);
            let set = WorkerSettings { pipeline: "c".into(), delivery: d, commit: CommitEvery { interval: Duration::from_millis(100), records: 100000, bytes: 64 << 20 }, budget: 64 << 20, drain: Duration::from_secs(10) };
            let meters = Arc::new(Meters::new([])); all.lock().unwrap().push(meters.clone()); let r = Worker::new(set, Box::new(c.source), vec![], Box::new(c.sink), Box::new(c.transaction), Box::new(Real(Instant::now())), meters.clone()).run(&s2);
            println!("worker {k} ended after {:?}: {r:?}; {:?} commits {}", t.elapsed(), meters.tally(), meters.commits()); if r.is_ok() { return; } } }); (stop, h) };
    let count = |want: u64| { let mut r = Reader::new(&cc, &tout, true).unwrap(); let mut batch = Batch::default(); let mut seen: Vec<Vec<u64>> = vec![vec![]; 4]; let end = Instant::now() + Duration::from_secs(120); let mut k = 0;
        while Instant::now() < end && (k < want || !r.at_end()) { if r.read(&mut batch, Duration::from_millis(100)).unwrap() { for row in batch.rows() { seen[batch.partition.number as usize].push(std::str::from_utf8(row.key.unwrap()).unwrap().parse().unwrap()); k += 1; } } } seen };
    if churn {
        let mut ms = vec![]; let parts_n = n / 8; load(0, parts_n);
        for i in 0..8u64 { ms.push(member(i as usize)); thread::sleep(Duration::from_millis(800)); if i > 0 { load(parts_n * i, parts_n * (i + 1)); } if i % 3 == 2 { let (s, h): (Arc<Stop>, thread::JoinHandle<()>) = ms.remove(0); s.request(); h.join().unwrap(); } }
        let seen = count(parts_n * 8); for (s, _) in &ms { s.request(); } for (_, h) in ms { h.join().unwrap(); }
        for (p, s) in seen.iter().enumerate() { let ordered = s.windows(2).all(|w| w[0] < w[1]); println!("partition {p}: {} of {} ordered-unique {ordered}", s.len(), parts_n * 8 / 4); }
    } else {
        load(0, n); let (c0, t0) = (cpu(), Instant::now()); let ms: Vec<_> = (0..w).map(member).collect();
        loop { let done: u64 = all.lock().unwrap().iter().map(|m| m.tally().outputs).sum(); if done >= n { break; } thread::sleep(Duration::from_millis(20)); }
        let (c1, t1) = (cpu(), t0.elapsed()); thread::sleep(Duration::from_secs(1)); let i0 = cpu(); thread::sleep(Duration::from_secs(10)); let idle = cpu() - i0;
        for (s, _) in &ms { s.request(); } for (_, h) in ms { let t = Instant::now(); h.join().unwrap(); println!("joined {:?}", t.elapsed()); }
        println!("{} records in {t1:?}: {:.0}/s, cpu {:.3} us/record, idle cpu {:.2}%", n, n as f64 / t1.as_secs_f64(), (c1 - c0) / n as f64 * 1e6, idle * 10.0);
        let seen = count(n); for (p, s) in seen.iter().enumerate() { println!("partition {p}: {} ordered-unique {}", s.len(), s.windows(2).all(|w| w[0] < w[1])); }
    }
}
