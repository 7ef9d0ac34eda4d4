// Source maps, by line: whose line a line of the bundle was.

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/**
 * For each line of a bundle the author's source and the line in it, as `placeOf` of ../src/place.js takes them. `map` is a
 * source map (ECMA-426) as JSON gives it; `isAuthors` says which sources count.
 */
export function linesOf({ sources, mappings }, isAuthors) {
  let [source, line] = [0, 0];
  const lines = mappings.split(";").map((segments) => {
    let first = null;
    for (const segment of segments.split(",").filter(Boolean)) {
      const [, sourceStep, lineStep] = numbersOf(segment);
      // A segment without a source belongs to the bundler.
      if (sourceStep === undefined) continue;
      source += sourceStep;
      line += lineStep;
      first ??= isAuthors(sources[source]) ? [source, line + 1] : null;
    }
    return first;
  });
  return { sources, lines };
}

/** Numbers in base 64, five bits a digit, the least first, and the sign as the least bit. */
function numbersOf(segment) {
  const numbers = [];
  let [number, shift] = [0, 0];
  for (const digit of segment) {
    const bits = DIGITS.indexOf(digit);
    number |= (bits & 31) << shift;
    shift += 5;
    if (bits & 32) continue;
    numbers.push(number & 1 ? -(number >>> 1) : number >>> 1);
    [number, shift] = [0, 0];
  }
  return numbers;
}
