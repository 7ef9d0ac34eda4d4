// The columns that cross the boundary: `batch` and `outcomes` of wit/plugin.wit. Bytes come as a Uint8Array, and lists of other
// numbers as arrays; typed arrays go back, which are copied at once.

import { batchSeed } from "./random.js";
import { DROP, Header, NO_TIMESTAMP, Output, PASS, Record, Reject } from "./record.js";
import { decode, decodeAscii, encode } from "./text.js";

const NULL = -1;
const INHERITED = -2;

/** One batch: every record through `process`, and what came of it in columns. */
export function processBatch(process, columns) {
  const batch = new Batch(columns);
  const records = batch.offsets.length;
  const outcomes = new Int32Array(records);
  const reasons = [];
  const outputs = [];
  for (let index = 0; index < records; index++) {
    let outcome;
    try {
      outcome = process(new Record(batch, index));
    } catch (thrown) {
      if (!(thrown instanceof Reject)) throw thrown;
      outcome = thrown;
    }
    if (outcome === PASS) {
      outcomes[index] = -1;
    } else if (outcome instanceof Output) {
      outputs.push(outcome);
      outcomes[index] = 1;
    } else if (outcome === DROP) {
      outcomes[index] = 0;
    } else if (outcome instanceof Reject) {
      outcomes[index] = -2;
      reasons.push(outcome.message.toWellFormed());
    } else {
      outcomes[index] = addAll(outcome, outputs);
    }
  }
  return { outcomes, reasons, ...columnsOf(outputs, outcomes, batch) };
}

/** Consecutive records of one partition. */
class Batch {
  #columns;
  #headers;
  #seed;

  constructor(columns) {
    this.#columns = columns;
    this.topic = columns.topic;
    // The engine gives the upper half of 32 bits as negative numbers.
    this.partition = columns.partition >>> 0;
    this.offsets = columns.offsets;
    this.timestamps = columns.timestamps;
    this.keys = new Strings(columns.keys);
    this.values = new Strings(columns.values);
  }

  headersOf(index) {
    // Found when the first record asks: most plugins never do.
    this.#headers ??= new HeaderReader(this.#columns.headers);
    return this.#headers.of(index);
  }

  seed() {
    this.#seed ??= batchSeed(this.topic, this.partition);
    return this.#seed;
  }
}

class HeaderReader {
  #starts;
  #counts;
  #names;
  #values;

  constructor({ counts, keys, values }) {
    this.#counts = counts;
    this.#starts = startsOf(counts);
    this.#names = new Strings(keys);
    this.#values = new Strings(values);
  }

  of(index) {
    const start = this.#starts[index] ?? 0;
    const header = (_, at) => new Header(this.#names.bytes(start + at) ?? new Uint8Array(), this.#values.bytes(start + at));
    return Array.from({ length: this.#counts[index] ?? 0 }, header);
  }
}

/** Byte strings that lie end to end. */
class Strings {
  constructor({ data, lengths }) {
    this.data = data;
    this.lengths = lengths;
    // Both are found when the first is asked for.
    this.starts = undefined;
    this.ascii = undefined;
  }

  bytes(index) {
    const length = this.lengths[index];
    if (length < 0) return null;
    this.starts ??= startsOf(this.lengths);
    const start = this.starts[index];
    return this.data.subarray(start, start + length);
  }

  /** Throws a TypeError where it is not UTF-8. */
  text(index) {
    const length = this.lengths[index];
    if (length < 0) return null;
    this.starts ??= startsOf(this.lengths);
    const start = this.starts[index];
    // Of ASCII, bytes and characters have the same places: all is decoded at once, and each text is a slice of that.
    if (this.ascii === undefined) this.ascii = decodeAscii(this.data);
    if (this.ascii !== null) return this.ascii.slice(start, start + length);
    return decode(this.data.subarray(start, start + length));
  }
}

/** Where each begins of those that lie end to end; a null takes no place. */
function startsOf(lengths) {
  const starts = new Int32Array(lengths.length);
  let at = 0;
  for (let index = 0; index < lengths.length; index++) {
    starts[index] = at;
    if (lengths[index] > 0) at += lengths[index];
  }
  return starts;
}

/** Adds the outputs of an array, and gives their number. */
function addAll(outcome, outputs) {
  if (!Array.isArray(outcome)) {
    throw new TypeError(`process returned ${shown(outcome)}: return PASS, DROP, reject(…), record.emit(…) or an array of those`);
  }
  for (const output of outcome) {
    if (!(output instanceof Output)) {
      throw new TypeError(`process returned an array with ${shown(output)} in it: outputs are what record.emit gives`);
    }
    outputs.push(output);
  }
  return outcome.length;
}

/** What is in outputs, column by column. Columns in which no output differs from its record stay empty. */
function columnsOf(outputs, outcomes, batch) {
  const [keys, values] = [[], []];
  let [hasHeaders, hasTimestamps, hasTo] = [false, false, false];
  for (let index = 0; index < outputs.length; index++) {
    const fields = outputs[index].fields;
    keys[index] = fields.key;
    values[index] = fields.value;
    if (fields.headers !== undefined) hasHeaders = true;
    if (fields.timestamp !== undefined) hasTimestamps = true;
    if (fields.to !== undefined) hasTo = true;
  }
  return {
    to: Int32Array.from(hasTo ? outputs : [], ({ fields }) => fields.to?.index ?? -1),
    timestamps: new BigInt64Array(hasTimestamps ? timestampsOf(outputs, outcomes, batch) : []),
    keys: columnOf(keys),
    values: columnOf(values),
    headers: headersOf(hasHeaders ? outputs : []),
  };
}

function headersOf(outputs) {
  const all = outputs.flatMap(({ fields }) => fields.headers ?? []);
  const pairs = all.map((header) => (header instanceof Header ? [header.nameBytes, header.value] : header));
  return {
    counts: Int32Array.from(outputs, ({ fields }) => fields.headers?.length ?? INHERITED),
    keys: columnOf(pairs.map(([name]) => name)),
    values: columnOf(pairs.map(([, value]) => value ?? null)),
  };
}

/** Lays texts and bytes end to end. */
function columnOf(values) {
  const lengths = new Int32Array(values.length).fill(INHERITED);
  const parts = [];
  let hasBytes = false;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (value === undefined) continue;
    if (value === null) {
      lengths[index] = NULL;
    } else if (typeof value === "string") {
      lengths[index] = value.length;
      parts.push(value);
    } else {
      hasBytes = true;
      const bytes = bytesOf(value);
      lengths[index] = bytes.length;
      parts.push(bytes);
    }
  }
  if (!hasBytes) {
    const text = parts.join("");
    const data = encode(text);
    // As many bytes as characters: all of it is ASCII, and the lengths are those of the bytes.
    if (data.length === text.length) return { data, lengths };
  }
  return { data: concatenate(parts, lengths), lengths };
}

/** The bytes of all parts. Writes the lengths of those that were texts anew. */
function concatenate(parts, lengths) {
  const encoded = parts.map((part) => (typeof part === "string" ? encode(part) : part));
  const data = new Uint8Array(encoded.reduce((sum, part) => sum + part.length, 0));
  let [at, next] = [0, 0];
  for (let index = 0; index < lengths.length; index++) {
    if (lengths[index] < 0) continue;
    const part = encoded[next++];
    data.set(part, at);
    at += part.length;
    lengths[index] = part.length;
  }
  return data;
}

function bytesOf(value) {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`a key or value is a text, bytes or null, not ${shown(value)}; JSON.stringify makes a text`);
}

/** The one column that has no word for "as in the record". */
function timestampsOf(outputs, outcomes, batch) {
  const inherited = batch.timestamps.flatMap((timestamp, index) => Array(Math.max(outcomes[index], 0)).fill(timestamp));
  return outputs.map(({ fields }, index) => {
    const timestamp = fields.timestamp === undefined ? inherited[index] : fields.timestamp;
    return wholeOf(timestamp ?? NO_TIMESTAMP);
  });
}

/** Numbers are whole up to 2^53: what the record has beyond is not known well enough to be written again. */
function wholeOf(timestamp) {
  if (typeof timestamp === "bigint" || timestamp === NO_TIMESTAMP || Number.isSafeInteger(timestamp)) return BigInt(timestamp);
  throw new RangeError(`${timestamp} is no timestamp: whole milliseconds, in a number below 2^53 or in a bigint`);
}

function shown(value) {
  if (value instanceof Promise) return "a promise (there is nothing to wait for in a plugin: it cannot be async)";
  return value instanceof Object ? `an object (${value.constructor?.name ?? "of no class"})` : String(value);
}
