// What a plugin is, and how it starts.

import { schemaOf, withDefaults } from "./config.js";

export class ConfigError extends Error {
  name = "ConfigError";
}

class Destination {
  constructor(index) {
    this.index = index;
  }
}

export const DEFAULT = new Destination(-1);

/** The names that a result may be sent to. */
export class Outputs {
  constructor(names) {
    this.names = Object.freeze([...names]);
  }

  named(name) {
    const index = this.names.indexOf(name);
    if (index >= 0) return new Destination(index);
    const has = this.names.length > 0 ? `the pipeline has \`${this.names.join("`, `")}\`` : "the pipeline names no outputs";
    throw new ConfigError(`no output is named \`${name}\`: ${has}`);
  }
}

/** What `plugin` makes of what an author says. */
export class Plugin {
  #config;
  #configure;

  constructor({ name, version = "0.0.0", summary = "", config = {}, configure, process }) {
    if (typeof name !== "string" || name === "") throw new TypeError("a plugin has a name: plugin({ name: … })");
    if ((typeof configure === "function") === (typeof process === "function")) {
      throw new TypeError(`${name} has either process, or configure that returns it`);
    }
    this.description = { name, version, summary, configSchema: JSON.stringify(schemaOf(config)) };
    this.#config = config;
    this.#configure = configure ?? (() => process);
  }

  /** Gives what is to be called for each record. */
  configure(config, outputs) {
    const process = this.#configure(withDefaults(this.#config, JSON.parse(config)), new Outputs(outputs));
    if (typeof process !== "function") throw new TypeError("configure returns what is called for each record: a function");
    return process;
  }
}

export const plugin = (definition) => new Plugin(definition);
