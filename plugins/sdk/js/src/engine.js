// What QuickJS lacks of what plugins expect of any engine: TextDecoder, TextEncoder and console. To be evaluated first.
//
// The engine runs loops over bytes a hundred times slower than its built-ins. Base64 is its one way from bytes to a string
// and back that is built in: `atob` makes a character of each byte.

import { log } from "./host.js";

class TextDecoder {
  #fatal;
  #ignoreBOM;

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(label)) throw new RangeError(`there is UTF-8 only, not ${label}`);
    this.#fatal = fatal;
    this.#ignoreBOM = ignoreBOM;
  }

  get encoding() {
    return "utf-8";
  }

  decode(source = new Uint8Array()) {
    const bytes = bytesOf(source);
    const characters = atob(bytes.toBase64());
    if (isAscii(bytes)) return characters;
    const text = this.#fatal ? decodeStrictly(characters) : decodeLeniently(characters);
    return text.startsWith("\ufeff") && !this.#ignoreBOM ? text.slice(1) : text;
  }
}

class TextEncoder {
  get encoding() {
    return "utf-8";
  }

  encode(text = "") {
    const string = String(text);
    try {
      const bytes = Uint8Array.fromBase64(btoa(string));
      if (isAscii(bytes)) return bytes;
    } catch {
      // A character beyond Latin-1.
    }
    return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(string.toWellFormed()))));
  }
}

function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  return new Uint8Array(source);
}

const WORDS = 256;
/** All words of a block or-ed: written out, which takes the engine the fewest steps a byte. */
const orAll = new Function("words", `return ${Array.from({ length: WORDS }, (_, at) => `words[${at}]`).join(" | ")};`);

function isAscii(bytes) {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const blocks = Math.floor(aligned.length / (4 * WORDS));
  let all = 0;
  for (let block = 0; block < blocks; block++) {
    all |= orAll(new Int32Array(aligned.buffer, aligned.byteOffset + block * 4 * WORDS, WORDS));
  }
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
  for (let at = blocks * WORDS; at < words.length; at++) all |= words[at];
  for (let at = words.length * 4; at < aligned.length; at++) all |= aligned[at];
  return (all & 0x80808080) === 0;
}

/** UTF-8, a character a byte: `decodeURIComponent` decodes what `escape` writes as bytes. */
function decodeStrictly(characters) {
  try {
    return decodeURIComponent(escape(characters));
  } catch {
    throw new TypeError("the bytes are not UTF-8");
  }
}

/** The legal sequences of RFC 3629, or else the longest beginning of one, or any other byte. */
const SEQUENCES = new RegExp(
  [
    "[\\x00-\\x7f]+",
    "[\\xc2-\\xdf][\\x80-\\xbf]?",
    "\\xe0(?:[\\xa0-\\xbf][\\x80-\\xbf]?)?",
    "\\xed(?:[\\x80-\\x9f][\\x80-\\xbf]?)?",
    "[\\xe1-\\xef](?:[\\x80-\\xbf][\\x80-\\xbf]?)?",
    "\\xf0(?:[\\x90-\\xbf](?:[\\x80-\\xbf][\\x80-\\xbf]?)?)?",
    "[\\xf1-\\xf3](?:[\\x80-\\xbf](?:[\\x80-\\xbf][\\x80-\\xbf]?)?)?",
    "\\xf4(?:[\\x80-\\x8f](?:[\\x80-\\xbf][\\x80-\\xbf]?)?)?",
    "[\\x80-\\xff]",
  ].join("|"),
  "g",
);

function decodeLeniently(characters) {
  try {
    return decodeStrictly(characters);
  } catch {
    return characters.replace(SEQUENCES, (sequence) => {
      try {
        return decodeStrictly(sequence);
      } catch {
        return "\ufffd";
      }
    });
  }
}

Object.assign(globalThis, { TextDecoder, TextEncoder, console: { ...log, log: log.info } });
