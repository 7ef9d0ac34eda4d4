// UTF-8. A byte order mark is a character like any other: what is decoded and encoded again is the same bytes.

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/** The text of these bytes. Throws a TypeError where they are not UTF-8. */
export const decode = (bytes) => strict.decode(bytes);

/** The text of these bytes, with a U+FFFD for what is not UTF-8. */
export const decodeLossy = (bytes) => lenient.decode(bytes);

/** The bytes of this text. Half of a surrogate pair becomes U+FFFD. */
export const encode = (text) => encoder.encode(text);

/** The text of these bytes if all of them are ASCII, else null. */
export function decodeAscii(bytes) {
  try {
    const text = decode(bytes);
    return text.length === bytes.length ? text : null;
  } catch {
    return null;
  }
}
