// Runs a model with FRN nodes on an input that counts 0, 0.01, 0.02 ..., or on a file of float32,
// and prints what comes out.
//
//   npm install
//   node run_frn.mjs MODEL.onnx [INPUT]
//
// onnxruntime-node registers no custom ops: it runs a portable file's body, or primitives. The
// model's first input is float32; open dimensions are 1.

import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";

const [model, input] = process.argv.slice(2);
if (model === undefined) {
  console.error("usage: node run_frn.mjs MODEL.onnx [INPUT]");
  process.exit(2);
}
try {
  const session = await ort.InferenceSession.create(model);
  const dims = session.inputMetadata[0].shape.map((dim) => (dim > 0 ? dim : 1));
  const count = dims.reduce((product, dim) => product * dim, 1);
  const x =
    input === undefined
      ? Float32Array.from({ length: count }, (_, i) => Math.fround(0.01) * i)
      : new Float32Array(Uint8Array.from(await readFile(input)).buffer);
  const y = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", x, dims) });
  console.log(Array.from(y[session.outputNames[0]].data).join("\n"));
} catch (error) {
  console.error(`run_frn: ${error.message}`);
  process.exit(1);
}
