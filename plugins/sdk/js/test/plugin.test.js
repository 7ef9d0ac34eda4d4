import assert from "node:assert/strict";
import { test } from "node:test";

import { processBatch } from "../src/columns.js";
import { schemaOf, withDefaults } from "../src/config.js";
import { explain } from "../src/place.js";
import { Outputs } from "../src/plugin.js";
import { DEFAULT, DROP, PASS, log, plugin, reject } from "../src/index.js";

const bytes = (text) => new TextEncoder().encode(text);
const text = (data) => new TextDecoder().decode(data);

/** A column of texts, bytes and nulls. */
function column(values) {
  const all = values.map((value) => (typeof value === "string" ? bytes(value) : value));
  const lengths = all.map((value) => (value === null ? -1 : value.length));
  return { data: Uint8Array.from(all.flatMap((value) => [...(value ?? [])])), lengths };
}

function run(process, values, { headers = [], timestamps = values.map(() => 5) } = {}) {
  return processBatch(process, {
    topic: "trades.größe",
    partition: 3,
    offsets: values.map((_, index) => 70 + index),
    timestamps,
    keys: column(values.map(() => null)),
    values: column(values),
    headers: {
      counts: headers.map((of) => of.length),
      keys: column(headers.flat().map(([name]) => name)),
      values: column(headers.flat().map(([, value]) => value)),
    },
  });
}

test("every outcome", () => {
  const outcomes = (record) => ({
    p: PASS,
    d: DROP,
    r: reject("no"),
    e: record.emit({ value: "xy" }),
  });
  const each = (record) => outcomes(record)[record.text()] ?? [record.emit({ value: null }), record.emit()];
  const made = run(each, ["p", "d", "r", "e", null]);
  assert.deepEqual([...made.outcomes], [-1, 0, -2, 1, 2]);
  assert.deepEqual(made.reasons, ["no"]);
  assert.equal(text(made.values.data), "xy");
  assert.deepEqual([...made.values.lengths], [2, -1, -2]);
  assert.deepEqual([...made.keys.lengths], [-2, -2, -2]);
  assert.deepEqual([made.to.length, made.timestamps.length, made.headers.counts.length], [0, 0, 0]);
});

test("a rejection may be thrown", () => {
  const made = run((record) => record.emit({ value: JSON.stringify(record.json()) }), ["{}", "{", new Uint8Array([255])]);
  assert.deepEqual([...made.outcomes], [1, -2, -2]);
  assert.match(made.reasons[0], /^the value is not JSON: /);
  assert.equal(made.reasons[1], "the value is not UTF-8 text");
});

test("half of a surrogate pair crosses nowhere", (t) => {
  assert.deepEqual(run(() => reject("\ud83d!"), ["x"]).reasons, ["\ufffd!"]);
  const said = t.mock.method(console, "log", () => {});
  log.info("\ud83d!");
  assert.deepEqual(said.mock.calls[0].arguments, ["info: \ufffd!"]);
});

test("any other exception goes on", () => {
  const fails = () => {
    throw new RangeError("too far");
  };
  assert.throws(() => run(fails, ["x"]), RangeError);
});

test("texts of every kind come out as they went in", () => {
  const values = ["ascii", "größe", "", "値", "\ufeffmark", null, "😀"];
  const made = run((record) => record.emit({ value: record.text(), key: record.value }), values);
  const expected = column(values);
  for (const of of [made.values, made.keys]) {
    assert.deepEqual(of.data, expected.data);
    assert.deepEqual([...of.lengths], expected.lengths);
  }
});

test("bytes that are not UTF-8, beside texts", () => {
  const made = run((record) => record.emit({ value: record.partition === 3 && record.value, key: "ü" }), [
    new Uint8Array([128, 0, 255]),
    "ä",
  ]);
  assert.deepEqual([...made.values.data], [128, 0, 255, ...bytes("ä")]);
  assert.deepEqual([...made.keys.lengths], [2, 2]);
});

test("headers, in order and with duplicates", () => {
  const headers = [[["a", "1"], ["b", null], ["a", ""]], [], [[new Uint8Array([255]), "x"]]];
  const add = (record) => record.emit({ headers: [...record.headers, ["last", record.header("a")?.value ?? null]] });
  const made = run(add, ["x", "y", "z"], { headers });
  assert.deepEqual([...made.headers.counts], [4, 1, 2]);
  assert.deepEqual([...made.headers.keys.data], [...bytes("abalastlast"), 255, ...bytes("last")]);
  assert.deepEqual([...made.headers.values.lengths], [1, -1, 0, 0, -1, 1, -1]);
});

test("timestamps and destinations are left out where none is set", () => {
  const outputs = new Outputs(["large"]);
  const to = [outputs.named("large"), DEFAULT, undefined];
  const timestamps = [null, undefined, 1700000000000];
  const set = (record) => {
    const index = record.offset - 70;
    return record.emit({ to: to[index], timestamp: timestamps[index] });
  };
  const made = run(set, ["x", "y", "z"]);
  assert.deepEqual([...made.to], [0, -1, -1]);
  assert.deepEqual([...made.timestamps], [-(1n << 63n), 5n, 1700000000000n]);
});

test("each output inherits the timestamp of its own record", () => {
  const outcomes = [DROP, (record) => [record.emit(), record.emit({ timestamp: 7 })], PASS, (record) => record.emit()];
  const each = (record) => {
    const outcome = outcomes[record.offset - 70];
    return typeof outcome === "function" ? outcome(record) : outcome;
  };
  const made = run(each, ["a", "b", "c", "d"], { timestamps: [1, 2, 3, 4] });
  assert.deepEqual([...made.timestamps], [2n, 7n, 4n]);
});

test("a timestamp that is not known exactly is not written", () => {
  const nanoseconds = { timestamps: [1_700_000_000_000_000_000] };
  assert.deepEqual([...run((record) => record.emit(), ["x"], nanoseconds).timestamps], []);
  const set = (record) => [record.emit(), record.emit({ timestamp: 1n << 60n })];
  assert.deepEqual([...run(set, ["x"]).timestamps], [5n, 1n << 60n]);
  assert.throws(() => run(set, ["x"], nanoseconds), RangeError);
  assert.throws(() => run((record) => record.emit({ timestamp: 1.5 }), ["x"]), /1.5 is no timestamp/);
});

test("what is no outcome, or no value, is named", () => {
  const refused = [
    [() => undefined, "process returned undefined: return PASS"],
    [async () => PASS, "it cannot be async"],
    [() => [PASS], "an array with Symbol(PASS) in it"],
    [(record) => record.emit({ value: { a: 1 } }), "not an object (Object); JSON.stringify"],
    [(record) => record.emit({ value: 5 }), "a text, bytes or null, not 5"],
    [(record) => record.emit({ header: [] }), "an output has no header: it has key, value, headers"],
  ];
  for (const [process, words] of refused) {
    assert.throws(() => run(process, ["x"]), (error) => error instanceof TypeError && error.message.includes(words));
  }
});

test("chance is the same as in the other SDKs", () => {
  const made = run((record) => record.emit({ value: String(record.random().nextU64()) }), ["x"]);
  assert.equal(text(made.values.data), "18286076289792028226");
});

test("bounds of chance", () => {
  run((record) => {
    const random = record.random();
    assert.equal(random.below(0), 0);
    const drawn = Array.from({ length: 600 }, () => random.below(6));
    assert.deepEqual([...new Set(drawn)].sort(), [0, 1, 2, 3, 4, 5]);
    const float = random.nextFloat();
    assert.ok(float >= 0 && float < 1);
    return PASS;
  }, ["x"]);
});

const rules = {
  label: { type: "string", default: null },
  rules: { type: "array", items: { type: "object", properties: { above: { type: "number" }, to: { type: "string", default: "large" } } } },
};

test("the schema is that of the properties", () => {
  const schema = schemaOf(rules);
  assert.deepEqual(schema.required, ["rules"]);
  assert.equal(schema.additionalProperties, false);
  assert.deepEqual(schema.properties.rules.items.required, ["above"]);
  assert.equal(schemaOf({}).required, undefined);
});

test("defaults are filled in at every depth", () => {
  assert.deepEqual(withDefaults(rules, { rules: [{ above: 3 }] }), { label: null, rules: [{ above: 3, to: "large" }] });
});

test("a plugin is configured, and gives what is called for each record", () => {
  const made = plugin({
    name: "p",
    config: rules,
    configure: ({ label }, outputs) => (record) => record.emit({ value: label, to: outputs.named("b") }),
  });
  const process = made.configure('{"rules":[],"label":"x"}', ["a", "b"]);
  assert.deepEqual([...run(process, ["v"]).to], [1]);
  assert.throws(() => made.configure('{"rules":[]}', [])({ emit() {} }), { name: "ConfigError", message: /names no outputs/ });
});

test("definitions that make no plugin are refused", () => {
  assert.throws(() => plugin({ process: () => PASS }), /a plugin has a name/);
  assert.throws(() => plugin({ name: "p" }), /either process, or configure/);
  assert.throws(() => plugin({ name: "p", configure: () => undefined }).configure("{}", []), /a function/);
});

test("a failure tells its kind, the author's line and its words", () => {
  const map = { sources: ["plugin.js"], lines: [null, [0, 12], null] };
  const failed = (stack) => Object.assign(new RangeError("böse"), { stack });
  const stack = "    at parse (native)\n    at text (componentize-qjs:user.js:1:3)\n    at process (componentize-qjs:user.js:2:9)\n";
  assert.equal(explain(failed(stack), map), "RangeError at plugin.js:12: böse");
  assert.equal(explain(failed(""), map), "RangeError at an unknown place: böse");
  assert.equal(explain("words", map), "thrown: words");
});
