// Does to every record what its configuration says: the same in each language, for benches/src/bin/languages.rs.

import { PASS, plugin } from "sluicegate-plugin";

const tasks = {
  pass: () => PASS,
  rewrite: (record) => record.emit({ value: record.text().toUpperCase() }),
  json: (record) => record.emit({ value: JSON.stringify({ ...record.json(), symbol: "ACME" }) }),
};

export default plugin({
  name: "bench",
  version: "0.1.0",
  summary: "Does what its configuration says",
  config: { task: { enum: Object.keys(tasks) } },
  configure: ({ task }) => tasks[task],
});
