// Records, and what becomes of them.

import { Random, join } from "./random.js";
import { decodeLossy } from "./text.js";

export const PASS = Symbol("PASS");
export const DROP = Symbol("DROP");

/** The timestamp that the boundary writes for none. */
export const NO_TIMESTAMP = -(2 ** 63);

const FIELDS = new Set(["key", "value", "headers", "timestamp", "to"]);

/** A record's header. Its name is kept as bytes, as Kafka does not promise UTF-8. */
export class Header {
  constructor(nameBytes, value) {
    this.nameBytes = nameBytes;
    this.value = value;
  }

  get name() {
    return decodeLossy(this.nameBytes);
  }
}

/** What goes on in a record's place; `Record.emit` makes one. What of the fields is undefined is as in the record. */
export class Output {
  constructor(fields) {
    this.fields = fields;
  }
}

/** The plugin refuses the record. An error, so that it can be thrown as well as returned. */
export class Reject extends Error {
  name = "Reject";
}

export const reject = (reason) => new Reject(reason instanceof Error ? reason.message : String(reason));

/** One record, as it was read. Its own fields are not private, as the engine takes its time to make those that are. */
export class Record {
  constructor(batch, index) {
    this._batch = batch;
    this._index = index;
  }

  get topic() {
    return this._batch.topic;
  }

  get partition() {
    return this._batch.partition;
  }

  get offset() {
    return this._batch.offsets[this._index];
  }

  get timestamp() {
    const timestamp = this._batch.timestamps[this._index];
    return timestamp === NO_TIMESTAMP ? null : timestamp;
  }

  get key() {
    return this._batch.keys.bytes(this._index);
  }

  get value() {
    return this._batch.values.bytes(this._index);
  }

  text() {
    try {
      return this._batch.values.text(this._index);
    } catch {
      throw reject("the value is not UTF-8 text");
    }
  }

  json() {
    const text = this.text();
    try {
      return text === null ? null : JSON.parse(text);
    } catch (error) {
      throw reject(`the value is not JSON: ${error.message}`);
    }
  }

  get headers() {
    return this._batch.headersOf(this._index);
  }

  header(name) {
    return this.headers.findLast((header) => header.name === name);
  }

  now() {
    return this.timestamp ?? 0;
  }

  random() {
    return new Random(join(this._batch.seed(), BigInt(this.offset)));
  }

  emit(fields = {}) {
    for (const name in fields) {
      if (!FIELDS.has(name)) throw new TypeError(`an output has no ${name}: it has ${[...FIELDS].join(", ")}`);
    }
    return new Output(fields);
  }
}
