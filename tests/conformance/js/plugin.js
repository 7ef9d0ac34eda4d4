// Does what each record asks for; ../README.md says how it asks.

import { ConfigError, DROP, PASS, count, log, plugin, reject } from "sluicegate-plugin";

export default plugin({
  name: "conformance",
  version: "0.1.0",
  summary: "Does what each record asks for",
  config: {
    greeting: { type: "string", default: "hello", description: "What greet says." },
    refuse: { type: "string", default: null, description: "Refuse the configuration with these words." },
    panic: { type: "string", default: null, description: "Panic with these words." },
  },
  configure({ greeting, refuse, panic }, outputs) {
    if (panic !== null) throw new Error(panic);
    if (refuse !== null) throw new ConfigError(refuse);
    return (record) => run(record, greeting, outputs);
  },
});

function run(record, greeting, outputs) {
  const program = record.header("do")?.value ?? record.value;
  if (program === null) return PASS;
  let emitted = null;
  let fields = null;
  for (const line of lines(program)) {
    const [word, argument] = cut(line);
    switch (word) {
      case "":
        break;
      case "pass":
        return PASS;
      case "drop":
        return DROP;
      case "reject":
        return reject(text(argument));
      case "panic":
        throw new Error(text(argument));
      case "log": {
        const [level, words] = cut(argument);
        log[level](text(words));
        break;
      }
      case "count": {
        const [name, by] = cut(argument);
        count(name, number(by));
        break;
      }
      case "split":
        emitted = [...(emitted ?? []), ...Array.from({ length: number(argument) }, (_, n) => ({ value: String(n) }))];
        break;
      case "emit":
        fields = {};
        emitted = [...(emitted ?? []), fields];
        break;
      default:
        if (fields === null) return unknown(line);
        set(fields, record, line, greeting, outputs);
    }
  }
  return emitted === null ? PASS : emitted.map((fields) => record.emit(fields));
}

function set(fields, record, line, greeting, outputs) {
  const [word, argument] = cut(line);
  switch (word) {
    case "key":
    case "value":
      fields[word] = argument;
      break;
    case "null":
      fields[text(argument)] = null;
      break;
    case "timestamp":
      fields.timestamp = BigInt(text(argument));
      break;
    case "header": {
      const at = argument.indexOf(EQUALS);
      const header = at < 0 ? [argument, null] : [argument.subarray(0, at), argument.subarray(at + 1)];
      fields.headers = [...(fields.headers ?? record.headers), header];
      break;
    }
    case "clear":
      fields.headers = [];
      break;
    case "to":
      fields.to = destination(outputs, text(argument));
      break;
    case "copy":
      fields.value = copy(record, argument, outputs);
      break;
    case "fill":
      fields.value = "x".repeat(number(argument));
      break;
    case "greet":
      fields.value = `${greeting}, ${text(argument)}`;
      break;
    default:
      throw unknown(line);
  }
}

function destination(outputs, name) {
  try {
    return outputs.named(name);
  } catch (error) {
    throw reject(error);
  }
}

function copy(record, what, outputs) {
  const [word, argument] = cut(what);
  switch (word) {
    case "key":
      return record.key;
    case "value":
      return record.value;
    case "topic":
      return record.topic;
    case "place":
      return `${record.partition}/${record.offset}/${record.timestamp ?? "-"}`;
    case "headers":
      return record.headers.map(({ name, value }) => `${name}${value === null ? "" : `=${text(value)}`};`).join("");
    case "header":
      return record.header(text(argument))?.value ?? null;
    case "outputs":
      return outputs.names.map((name) => `${name},`).join("");
    case "now":
      return String(record.now());
    default:
      return String(record.random().nextU64());
  }
}

const [NEWLINE, SPACE, EQUALS] = [10, 32, 61];

function* lines(program) {
  for (let at = 0; at <= program.length; ) {
    const end = program.indexOf(NEWLINE, at);
    const line = program.subarray(at, end < 0 ? program.length : end);
    yield line;
    at += line.length + 1;
  }
}

/** A line's word, and the rest of it. */
function cut(line) {
  const at = line.indexOf(SPACE);
  return at < 0 ? [text(line), new Uint8Array()] : [text(line.subarray(0, at)), line.subarray(at + 1)];
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const text = (bytes) => decoder.decode(bytes);
const number = (bytes) => Number(text(bytes));
const unknown = (line) => reject(`unknown instruction \`${text(line)}\``);
