import assert from "node:assert/strict";
import { test } from "node:test";

// The platform's own, to compare with.
const { TextDecoder: Decoder, TextEncoder: Encoder, console } = globalThis;
// What QuickJS has, and Node.js only from 25 on.
Uint8Array.prototype.toBase64 ??= function toBase64() {
  return Buffer.from(this).toString("base64");
};
Uint8Array.fromBase64 ??= (text) => new Uint8Array(Buffer.from(text, "base64"));
await import("../src/engine.js");
const { TextDecoder, TextEncoder } = globalThis;
Object.assign(globalThis, { TextDecoder: Decoder, TextEncoder: Encoder, console });

/** Random numbers that are the same in each run. */
let state = 1;
function below(bound) {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return Math.floor((state / 2 ** 32) * bound);
}

const list = (length, item) => Array.from({ length }, item);
const EDGES = [0x61, 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xef, 0xbb, 0xbf, 0xf0, 0x90, 0xf4, 0x8f, 0xf5, 0xff];
const BYTES = [() => below(128), () => below(256), () => EDGES[below(EDGES.length)]];
const UNITS = [() => below(128), () => below(300), () => [0x61, 0xe9, 0xd83d, 0xde00, 0x20ac, 0xffff][below(6)]];

test("bytes are decoded as the platform decodes them", () => {
  const attempt = (decoder, bytes) => {
    try {
      return decoder.decode(bytes);
    } catch (error) {
      return error instanceof TypeError;
    }
  };
  for (let run = 0; run < 3000; run++) {
    const bytes = Uint8Array.from(list(below(90), BYTES[run % 3])).subarray(below(3));
    for (const fatal of [true, false]) {
      for (const ignoreBOM of [true, false]) {
        const [ours, theirs] = [TextDecoder, Decoder].map((Of) => attempt(new Of("utf-8", { fatal, ignoreBOM }), bytes));
        assert.equal(ours, theirs, Buffer.from(bytes).toString("hex"));
      }
    }
  }
});

test("texts are encoded as the platform encodes them", () => {
  for (let run = 0; run < 3000; run++) {
    const text = String.fromCharCode(...list(below(90), UNITS[run % 3]));
    assert.deepEqual(new TextEncoder().encode(text), new Encoder().encode(text), JSON.stringify(text));
  }
});

test("there is UTF-8 only", () => {
  assert.throws(() => new TextDecoder("latin1"), RangeError);
  assert.equal(new TextDecoder("UTF8").encoding, "utf-8");
  assert.equal(new TextDecoder().decode(new Uint8Array([104, 105]).buffer), "hi");
});
