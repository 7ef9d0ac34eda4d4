/**
 * Write Sluicegate plugins in JavaScript or TypeScript: one record at a time, while records cross the boundary a batch a call.
 *
 * One thread calls a plugin, and an instance lives until it fails. What it keeps is therefore a cache, never the truth: the
 * same record is to become the same again, whatever came before it.
 */

/** A text, which stands for its UTF-8, or bytes, or null. */
export type Data = string | Uint8Array | ArrayBuffer | null;

/** The record goes on as it came; its bytes never cross back. */
export declare const PASS: unique symbol;
/** Nothing is produced; the record counts as done. */
export declare const DROP: unique symbol;

/** The plugin refuses the record: the stage's failure policy decides what becomes of it, and shows the reason. */
export declare class Reject extends Error {
  private constructor();
}

/** Refuses a record for this reason: to be returned, or thrown. */
export declare function reject(reason: unknown): Reject;

/** What goes on in a record's place; `Record.emit` makes one. */
export declare class Output {
  private constructor();
  private readonly emitted: true;
}

/** What `process` returns. The outputs of an array go on in its order; an empty one drops the record. */
export type Outcome = typeof PASS | typeof DROP | Reject | Output | readonly Output[];

/** A header's name, and its value or null. */
export declare class Header {
  private constructor();
  /** The name, with a U+FFFD for what is not UTF-8. */
  get name(): string;
  /** The name as it came. */
  readonly nameBytes: Uint8Array;
  readonly value: Uint8Array | null;
}

/** What of an output differs from its record; null is null, and for a timestamp none. */
export interface Fields {
  key?: Data;
  value?: Data;
  /** All headers: `[...record.headers, ["seen-by", "me"]]` adds one. */
  headers?: readonly (Header | readonly [name: string | Uint8Array, value: Data])[];
  /** Milliseconds since the Unix epoch. */
  timestamp?: number | bigint | null;
  /** The pipeline's default output, where it is not said. */
  to?: Destination;
}

/** One record, as it was read. Its bytes are borrowed from its batch: copy what is to be kept, and change nothing in them. */
export interface Record {
  /** The topic it was read from. */
  readonly topic: string;
  /** The partition it was read from. */
  readonly partition: number;
  /** Its place in the partition. Increasing, with gaps where the log was compacted. Exact below 2^53. */
  readonly offset: number;
  /** Milliseconds since the Unix epoch; null where the log has none. Exact below 2^53. */
  readonly timestamp: number | null;
  /** The key; null is not the same as empty. */
  readonly key: Uint8Array | null;
  /** The value; null is a tombstone, and not the same as an empty value. */
  readonly value: Uint8Array | null;
  /** The value as a text, null for a tombstone. Throws a `Reject` where it is not UTF-8: a record that is not what the plugin
   * is for is refused, unless the plugin catches that. */
  text(): string | null;
  /** What the value is in JSON, null for a tombstone. Throws a `Reject` where it is no JSON. Numbers are JavaScript's: those
   * beyond 2^53 lose their last digits. */
  json(): any;
  /** All headers, in order and with duplicates. */
  readonly headers: Header[];
  /** The last header of this name, the one that counts where there are several. */
  header(name: string): Header | undefined;
  /** The time at which the record says it was made, in milliseconds since the Unix epoch, for use where a program would look at
   * a clock: it is the same whenever the record is processed. 0 where there is no timestamp. */
  now(): number;
  /** Random numbers that are the same whenever the record is processed, and others in another stage. Each call begins them
   * anew. */
  random(): Random;
  /** An output that goes on in this record's place: to be returned, alone or in an array. What is not said, or undefined, is as
   * in the record. Throws a TypeError for a name that no output has. */
  emit(fields?: Fields): Output;
}

/** Numbers of a record's own, from `Record.random`. They are part of the interface, and stay as they are. Not for secrets. */
export interface Random {
  /** The next number, any of the 2^64. */
  nextU64(): bigint;
  /** The next number below a bound of at most 2^53; 0 where that is 0. */
  below(bound: number): number;
  /** The next number from 0 up to, but never, 1. */
  nextFloat(): number;
}

/** Where an output goes: `DEFAULT`, or what `Outputs.named` has found. */
export declare class Destination {
  private constructor();
  private readonly index: number;
}

/** The pipeline's default output. */
export declare const DEFAULT: Destination;

/** The names that a result may be sent to, as the pipeline gives them under the sink's `outputs:`. */
export interface Outputs {
  /** All names, in the pipeline's order. */
  readonly names: readonly string[];
  /** The destination of this name. Throws a `ConfigError` that says which there are, where there is none. */
  named(name: string): Destination;
}

/** Why a plugin does not start with this configuration, in words for the person who wrote it. Thrown by `configure`, it keeps
 * the pipeline from starting, and is shown. */
export declare class ConfigError extends Error {}

/** A property of a configuration, in JSON Schema (2020-12). With a `default`, which may be null, it may be left out. */
export type Property = {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly items?: Property;
  readonly properties?: Properties;
  readonly additionalProperties?: Property;
  readonly [keyword: string]: unknown;
};
export type Properties = { readonly [name: string]: Property };

/** The values that a property describes. */
export type ValueOf<P extends Property> =
  | (P extends { default: null } ? null : never)
  | (P extends { enum: readonly (infer E)[] } ? E
    : P extends { type: "string" } ? string
    : P extends { type: "integer" | "number" } ? number
    : P extends { type: "boolean" } ? boolean
    : P extends { items: infer I extends Property } ? ValueOf<I>[]
    : P extends { properties: infer O extends Properties } ? ConfigOf<O>
    : P extends { additionalProperties: infer V extends Property } ? { [key: string]: ValueOf<V> }
    : unknown);

/** The configuration that these properties describe. */
export type ConfigOf<P extends Properties> = { -readonly [Name in keyof P]: ValueOf<P[Name]> };

/** What is called for each record, in the order of its partition. An exception fails the record: its kind, its words and its
 * place in the source become the reason. */
export type Process = (record: Record) => Outcome;

/** What a plugin says of itself, and what it does: either `process`, or `configure` that returns it. */
export type Definition<P extends Properties> = {
  name: string;
  version?: string;
  summary?: string;
  /** The properties of the stage's `config:`. The runtime checks a configuration against them before `configure`; what is not
   * named is refused. */
  config?: P;
} & (
  | { process: Process; configure?: never }
  | {
    /** Called once an instance, before its first record. */
    configure: (config: ConfigOf<P>, outputs: Outputs) => Process;
    process?: never;
  }
);

/** Makes a plugin, for its module to export: `export default plugin({ … })`. */
export declare function plugin<const P extends Properties = {}>(definition: Definition<P>): unknown;

/** Writes lines in the runtime's log. Each crosses the boundary at once, so one a record costs more than the record: use `count`
 * for what is usual. `console.log`, `info`, `warn` and so on do the same. */
export declare const log: {
  trace(line: unknown): void;
  debug(line: unknown): void;
  info(line: unknown): void;
  warn(line: unknown): void;
  error(line: unknown): void;
};

/** Adds to the stage's counter `plugin_<name>`: at most 64 of a-z0-9_, and 32 names a plugin. It crosses the boundary once a
 * batch, after its last record; a batch that is run again after that counts again. */
export declare function count(name: string, by?: number): void;
