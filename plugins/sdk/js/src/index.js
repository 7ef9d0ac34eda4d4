// Write Sluicegate plugins in JavaScript or TypeScript: one record at a time, while records cross the boundary a batch a
// call. What each name promises is said in ../index.d.ts.

export { count, log } from "./host.js";
export { ConfigError, DEFAULT, plugin } from "./plugin.js";
export { DROP, Header, PASS, reject } from "./record.js";
