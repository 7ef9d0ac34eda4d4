// From the stack of an error to the place in an author's sources.

/** An error in one line: its kind, where the author's own code was when it was made, and its words. */
export function explain(error, map) {
  if (!(error instanceof Error)) return `thrown: ${String(error)}`;
  return `${error.name} at ${placeOf(String(error.stack), map)}: ${error.message}`;
}

/**
 * The first place in a stack that is the author's: `plugin.js:12`. `lines` has, for each line of the bundle, the index of a
 * source in `sources` and the line there, or null where the author wrote neither.
 */
export function placeOf(stack, { sources, lines }) {
  for (const frame of stack.split("\n")) {
    const [, line] = /:(\d+):\d+\)?$/.exec(frame) ?? [];
    const place = lines[line - 1];
    if (place) return `${sources[place[0]]}:${place[1]}`;
  }
  return "an unknown place";
}
