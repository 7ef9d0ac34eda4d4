// Random numbers of a record's own: SplitMix64, with the same numbers as in the other SDKs.

import { stageSeed } from "./host.js";
import { encode } from "./text.js";

const GAMMA = 0x9e3779b97f4a7c15n;
const u64 = (number) => BigInt.asUintN(64, number);

export class Random {
  #state;

  constructor(state) {
    this.#state = state;
  }

  nextU64() {
    this.#state = u64(this.#state + GAMMA);
    return mix(this.#state);
  }

  below(bound) {
    return Number((this.nextU64() * BigInt(bound)) >> 64n);
  }

  nextFloat() {
    return Number(this.nextU64() >> 11n) / 2 ** 53;
  }
}

function mix(of) {
  of = u64((of ^ (of >> 30n)) * 0xbf58476d1ce4e5b9n);
  of = u64((of ^ (of >> 27n)) * 0x94d049bb133111ebn);
  return of ^ (of >> 31n);
}

export const join = (seed, value) => mix(u64(seed + GAMMA) ^ value);

/** What the records of a batch have in common. */
export function batchSeed(topic, partition) {
  const bytes = encode(topic);
  const words = new BigUint64Array(Math.ceil(bytes.length / 8));
  new Uint8Array(words.buffer).set(bytes);
  const seed = words.reduce(join, join(stageSeed(), BigInt(bytes.length)));
  return join(seed, BigInt(partition));
}
