// Draws, makes the 8 by 8 pixels that the demo's network was trained on, and shows what it answers.

import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

const SIDE = 8; // of the network's input, in cells
const FINE = 8; // pixels to the side of a cell, of which the network gets the mean
const PEN = 1.4; // the width of a line in cells, as in the digits it was trained on

const element = (id) => document.getElementById(id);
const pad = element("pad").getContext("2d");
const strokes = []; // lists of points {x, y}, in pixels of the pad
ort.env.wasm.numThreads = 1; // more ask for headers that a plain server does not send
const loading = ort.InferenceSession.create("digits.onnx");

// Lines through the points, moved and then scaled.
function draw(context, width, { scale, left, top }) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = getComputedStyle(document.body).color;
  for (const points of strokes) {
    const [first, ...rest] = points.map((p) => [(p.x - left) * scale, (p.y - top) * scale]);
    context.beginPath();
    context.moveTo(...first);
    context.lineTo(...first); // a point alone is a dot
    for (const next of rest) context.lineTo(...next);
    context.stroke();
  }
}

// The drawing as large as it fits and in the middle, as the network's digits are: 0 to 1, by row.
function pixels() {
  const points = strokes.flat();
  const [left, top] = ["x", "y"].map((axis) => Math.min(...points.map((p) => p[axis])));
  const [right, bottom] = ["x", "y"].map((axis) => Math.max(...points.map((p) => p[axis])));
  const size = SIDE * FINE;
  const room = (SIDE - PEN) * FINE;
  const scale = room / Math.max(right - left, bottom - top, 1);
  const fine = new OffscreenCanvas(size, size).getContext("2d");
  draw(fine, PEN * FINE, {
    scale,
    left: (left + right) / 2 - size / 2 / scale,
    top: (top + bottom) / 2 - size / 2 / scale,
  });
  const alpha = fine.getImageData(0, 0, size, size).data.filter((_, i) => i % 4 === 3);
  const cells = new Float32Array(SIDE * SIDE);
  alpha.forEach((value, i) => {
    const cell = Math.floor(i / size / FINE) * SIDE + Math.floor((i % size) / FINE);
    cells[cell] += value / 255 / FINE ** 2;
  });
  return cells;
}

async function read() {
  const x = pixels();
  const grey = Uint8ClampedArray.from({ length: 4 * x.length }, (_, i) =>
    i % 4 === 3 ? 255 : 255 * (1 - x[i >> 2]),
  );
  element("seen").getContext("2d").putImageData(new ImageData(grey, SIDE), 0, 0);
  const drawn = strokes.length;
  const session = await loading;
  const image = new ort.Tensor("float32", x, [1, SIDE, SIDE, 1]);
  const found = await session.run({ [session.inputNames[0]]: image });
  if (strokes.length === drawn) show(found[session.outputNames[0]].data); // else it is of the past
}

function show(probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  element("answer").textContent = best < 0 ? "" : best;
  [...element("bars").children].forEach((row, digit) => {
    const share = probabilities[digit] ?? 0;
    row.querySelector("b").style.width = `${100 * share}%`;
    row.lastChild.textContent = probabilities.length ? `${(100 * share).toFixed(1)} %` : "";
  });
}

function repaint() {
  pad.clearRect(0, 0, pad.canvas.width, pad.canvas.height);
  draw(pad, 22, { scale: 1, left: 0, top: 0 });
}

function fail(error) {
  element("problem").hidden = false;
  element("problem").textContent = `${error.message}; how to begin stands at the top of index.html`;
}

function point(event) {
  const box = pad.canvas.getBoundingClientRect();
  const scale = pad.canvas.width / box.width;
  return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
}

pad.canvas.addEventListener("pointerdown", (event) => {
  pad.canvas.setPointerCapture(event.pointerId);
  strokes.push([point(event)]);
  repaint();
});
pad.canvas.addEventListener("pointermove", (event) => {
  if (!pad.canvas.hasPointerCapture(event.pointerId)) return;
  strokes.at(-1).push(point(event));
  repaint();
});
pad.canvas.addEventListener("pointerup", () => {
  if (strokes.length > 0) read().catch(fail);
});
element("clear").addEventListener("click", () => {
  strokes.length = 0;
  repaint();
  element("seen").getContext("2d").clearRect(0, 0, SIDE, SIDE);
  show([]);
});

element("bars").innerHTML = Array.from(
  { length: 10 },
  (_, digit) => `<li><span>${digit}</span><span class="bar"><b></b></span><span></span></li>`,
).join("");
loading.catch(fail);
