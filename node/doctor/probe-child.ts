// One probe of a device, in a process of its own: compiles and runs one matrix product and prints how it went as JSON. What
// a driver does to this process it does to nobody else.
import { GraphBuilder } from "#model/graph/builder.ts";
import { emitOnnx } from "#model/onnx/emit.ts";
import { createSession, hostData, hostTensor } from "#model/runtime/session.ts";
import type { Device } from "#model/types.ts";

const b = new GraphBuilder();
const x = b.input("x", [2, 2]);
const bytes = emitOnnx(b.build({ y: b.matMul(x, x) }));
try {
  const session = await createSession(bytes, { device: process.argv[2] as Device });
  const { y } = await session.run({ x: hostTensor(Float32Array.of(1, 2, 3, 4), [2, 2]) }, { y: null });
  const right = hostData(y!).join() === "7,10,15,22";
  await session.dispose();
  console.log(JSON.stringify(right ? { works: true } : { works: false, reason: "it multiplies wrongly" }));
} catch (error) {
  // The reason alone: which remedy applies is for the doctor to say, who looks at the machine.
  const { message } = error as Error;
  const reason = /is not available \((.*)\); /.exec(message)?.[1] ?? message;
  console.log(JSON.stringify({ works: false, reason }));
}
