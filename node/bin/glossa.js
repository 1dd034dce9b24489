#!/usr/bin/env node
// Launches the command line. Plain JavaScript, so that an old Node can say what it lacks instead of failing on a type.
// The sources are TypeScript that Node strips by itself, which every Node from the minimum below on does unasked.
const minimum = [22, 18];
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major < minimum[0] || (major === minimum[0] && minor < minimum[1])) {
  process.stderr.write(
    `glossa needs Node ${minimum.join(".")} or newer and this is Node ${process.versions.node}; ` +
      "run it as `npx glossa` or `npm run glossa --`, which use the Node that `npm ci` has installed.\n",
  );
  process.exitCode = 78;
} else {
  const { main } = await import("../cli/main.ts");
  await main(process.argv.slice(2));
}
