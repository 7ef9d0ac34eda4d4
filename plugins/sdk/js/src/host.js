// What the runtime gives: a log, counters, and a seed. Where there is none, as in a plugin's own tests, lines are printed,
// and the seed is that of the stage `test` of the pipeline `test`, as `sluicegate test` gives it.

let runtime = {
  log: (level, line) => console.log(`${level}: ${line}`),
  count: () => {},
  stage: () => 0x194182447c1357,
};

/** Puts the runtime's functions in the place of those for tests. */
export function bind(imports) {
  runtime = imports;
}

// The boundary takes no half of a surrogate pair.
const level = (name) => (line) => runtime.log(name, String(line).toWellFormed());

export const log = {
  trace: level("trace"),
  debug: level("debug"),
  info: level("info"),
  warn: level("warn"),
  error: level("error"),
};

const counts = new Map();

export function count(name, by = 1) {
  counts.set(name, (counts.get(name) ?? 0) + by);
}

export function flushCounts() {
  for (const [name, by] of counts) runtime.count(String(name).toWellFormed(), by);
  counts.clear();
}

/** A number below 2^53. */
export const stageSeed = () => BigInt(runtime.stage());
