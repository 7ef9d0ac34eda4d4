// What the runtime calls. `tool/build.js` makes a component that starts here.

import { log as logLine } from "sluicegate:plugin/log@0.1.0";
import { count } from "sluicegate:plugin/metrics@0.1.0";
import { stage } from "sluicegate:plugin/seed@0.1.0";

import { processBatch } from "./columns.js";
import { bind, flushCounts, log } from "./host.js";
import { explain } from "./place.js";
import { ConfigError, Plugin } from "./plugin.js";

/** The exports of the component of this plugin. `lines` gives the place of a line of the bundle, as `placeOf` takes it. */
export function component(plugin, lines) {
  if (!(plugin instanceof Plugin)) {
    throw new TypeError("the module of a plugin exports it: export default plugin({ name: …, process: … })");
  }
  bind({ log: logLine, count, stage });
  let process;

  return {
    lifecycle: {
      describe: () => plugin.description,
      configure(config, outputs) {
        try {
          process = plugin.configure(config, outputs);
        } catch (error) {
          // What is thrown as a text is the error of the interface, and anything else a trap.
          if (error instanceof ConfigError) throw error.message.toWellFormed();
          fail(error, lines());
        }
      },
    },
    batchTransform: {
      process(batch) {
        try {
          const outcomes = processBatch(process, batch);
          flushCounts();
          return outcomes;
        } catch (error) {
          fail(error, lines());
        }
      },
    },
  };
}

/** Makes an exception show its own words and its place: the runtime takes the last line of level error as the reason. */
function fail(error, lines) {
  log.error(explain(error, lines));
  throw error;
}
