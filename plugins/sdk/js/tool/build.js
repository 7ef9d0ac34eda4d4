// Makes the component of a project: `node build.js <project> <plugin.wit> <out.wasm>`. `sluicegate build` runs it.
//
// The module that package.json calls `main`, in JavaScript or TypeScript, is bundled with what it imports and with the SDK;
// then the engine runs the bundle once, and is written down as it is after that.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { componentize } from "componentize-qjs";
import * as esbuild from "esbuild";

import { placeOf } from "../src/place.js";
import { linesOf } from "./lines.js";

const BUNDLE = "bundle.js";
/** What the bundle calls its own table of lines. */
const LINES = "__sluicegateLines";

const entry = (main) => `
import "sluicegate-plugin/engine";
import plugin from ${JSON.stringify(`./${main}`)};
import { component } from "sluicegate-plugin/component";
export const { lifecycle, batchTransform } = component(plugin, () => ${LINES});
`;

async function bundle(project, main) {
  const { outputFiles } = await esbuild.build({
    absWorkingDir: project,
    stdin: { contents: entry(main), resolveDir: project, sourcefile: "entry.js" },
    outfile: join(project, BUNDLE),
    write: false,
    bundle: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2022",
    external: ["sluicegate:*"],
    sourcemap: "external",
    sourcesContent: false,
    logLevel: "error",
  });
  const [map, code] = outputFiles.sort((a, b) => b.path.length - a.path.length).map((file) => file.text);
  const isAuthors = (source) => source !== "entry.js" && !source.includes("node_modules/");
  const lines = linesOf(JSON.parse(map), isAuthors);
  return { code: `${code}\nconst ${LINES} = ${JSON.stringify(lines)};\n`, lines };
}

async function component({ code, lines }, witPath) {
  try {
    // What the engine sees of WASI is fixed by the runtime, unless a stage allows more.
    return (await componentize({ witPath, jsSource: code, world: "batch-plugin", sync: true })).component;
  } catch (error) {
    const words = error.message.split("\n")[0].replace(/^.*module evaluation: /, "");
    throw new Error(`the module fails as it is loaded, at ${placeOf(error.message, lines)}: ${words}`);
  }
}

const [project, wit, out] = process.argv.slice(2);
try {
  const { main } = JSON.parse(await readFile(join(project, "package.json"), "utf8"));
  if (typeof main !== "string") throw new Error('package.json does not say which module the plugin is: "main": "plugin.js"');
  await writeFile(out, await component(await bundle(project, main), wit));
} catch (error) {
  // esbuild has said what is wrong with a source, and where.
  if (!error.errors) console.error(error.message);
  process.exitCode = 1;
}
