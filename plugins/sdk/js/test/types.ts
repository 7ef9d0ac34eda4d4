// What the types allow, and what they refuse: `npx --package typescript@7.0.2 tsc -p test`.

import { ConfigError, DEFAULT, DROP, PASS, count, log, plugin, reject, type Outcome, type Record } from "sluicegate-plugin";

export default plugin({
  name: "x",
  config: {
    label: { type: "string", default: null },
    above: { type: "integer" },
    mode: { enum: ["a", "b"], default: "a" },
    rules: { type: "array", items: { type: "object", properties: { to: { type: "string" } } } },
    limits: { type: "object", additionalProperties: { type: "number" }, default: {} },
  },
  configure(config, outputs) {
    const label: string | null = config.label;
    const above: number = config.above;
    const mode: "a" | "b" = config.mode;
    const to: string = config.rules[0]!.to;
    const limit: number | undefined = config.limits["x"];
    // @ts-expect-error not a number
    const wrong: number = config.label;
    // @ts-expect-error unknown key
    config.nothing;
    if (above < 0) throw new ConfigError("no");
    return (record) => {
      log.info(`${label} ${mode} ${limit}`);
      count("seen");
      if (record.text() === null) return PASS;
      if (record.timestamp === 0) return DROP;
      if (record.offset === 5) return reject("no");
      if (record.partition) return [record.emit(), record.emit({ key: null, to: DEFAULT })];
      const headers = [...record.headers, ["a", to] as const];
      return record.emit({ value: record.value, headers, to: outputs.named("x"), timestamp: record.now() });
    };
  },
});

export const simple = plugin({ name: "y", process: (record: Record): Outcome => (record.header("a")?.value ? PASS : DROP) });

// @ts-expect-error neither process nor configure
plugin({ name: "z" });
// @ts-expect-error what is no outcome
plugin({ name: "z", process: () => undefined });
// @ts-expect-error a value is no object
plugin({ name: "z", process: (record) => record.emit({ value: {} }) });
