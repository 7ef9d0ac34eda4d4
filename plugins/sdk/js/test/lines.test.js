import assert from "node:assert/strict";
import { test } from "node:test";

import { linesOf } from "../tool/lines.js";

test("lines of the bundle have their places in the author's sources", () => {
  // Line 1 is the bundler's; 2 is line 1 of plugin.ts, 3 is line 18 of it, 4 is the SDK's, and 5 is line 17 again.
  const mappings = ";AAAA;AAiBE,SAAS;ACjBX;ADgBA";
  const map = { sources: ["plugin.ts", "node_modules/x.js"], mappings };
  const { sources, lines } = linesOf(map, (source) => !source.startsWith("node_modules/"));
  assert.deepEqual(sources, map.sources);
  assert.deepEqual(lines, [null, [0, 1], [0, 18], null, [0, 17]]);
});
