"""loop.py BROKERS INPUT OUTPUT at-least-once|exactly-once COMMIT_MS LINGER_MS: upper-cases values, until it is killed."""

import sys
import time

from confluent_kafka import Consumer, Producer

brokers, source, sink, delivery, commit_ms, linger_ms = sys.argv[1:]
transactional = delivery == "exactly-once"
interval, linger = int(commit_ms) / 1000, int(linger_ms) / 1000

consumer = Consumer({
    "bootstrap.servers": brokers,
    "group.id": sink,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "queued.min.messages": 200_000,
    "fetch.queue.backoff.ms": 5,
})
consumer.subscribe([source])
settings = {
    "bootstrap.servers": brokers,
    "enable.idempotence": True,
    "linger.ms": linger_ms,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 1_000_000,
}
producer = Producer(settings | ({"transactional.id": sink} if transactional else {}))
if transactional:
    producer.init_transactions()

begun = None
while True:
    records = consumer.consume(1000, linger)
    if records and begun is None:
        begun = time.monotonic()
        if transactional:
            producer.begin_transaction()
    for record in records:
        if record.error():
            raise SystemExit(record.error())
        value = record.value().upper()
        while True:
            try:
                producer.produce(sink, value, record.key())
                break
            except BufferError:
                producer.poll(0.01)
    producer.poll(0)
    if begun is not None and time.monotonic() - begun >= interval:
        positions = consumer.position(consumer.assignment())
        if transactional:
            producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
            producer.commit_transaction()
        else:
            producer.flush()
            consumer.commit(offsets=[p for p in positions if p.offset >= 0], asynchronous=False)
        begun = None
