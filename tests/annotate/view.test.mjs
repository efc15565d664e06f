import assert from "node:assert/strict";
import { test } from "node:test";

import { OPEN } from "../../alseg/annotate/page/editor.js";
import {
  fitted,
  palette,
  screenBox,
  tints,
  toImage,
  toScreen,
  word,
  zoomed,
} from "../../alseg/annotate/page/view.js";

test("an image is fitted into the middle", () => {
  assert.deepEqual(fitted(100, 50, 220, 300, 10), { scale: 2, x: 10, y: 100 });
  assert.equal(fitted(2, 2, 1000, 1000).scale, 64);
  assert.ok(fitted(100, 100, 10, 10, 12).scale > 0);
});

test("zoom keeps what is under the pointer, and stops at its limits", () => {
  const before = { scale: 1.5, x: 20, y: -30 };
  const pointer = { x: 77, y: 41 };
  const under = toImage(before, pointer);
  for (const factor of [0.25, 1.1, 7]) {
    const now = toScreen(zoomed(before, pointer.x, pointer.y, factor), under);
    assert.ok(Math.hypot(now.x - pointer.x, now.y - pointer.y) < 1e-9);
  }
  assert.equal(zoomed(before, 0, 0, 1e9).scale, 64);
  assert.equal(zoomed(before, 0, 0, 1e-9, 0.5).scale, 0.5);
});

test("image to screen and back", () => {
  const transform = { scale: 3, x: -7.5, y: 12 };
  assert.deepEqual(toScreen(transform, { x: 2, y: 4 }), { x: -1.5, y: 24 });
  assert.deepEqual(toImage(transform, { x: -1.5, y: 24 }), { x: 2, y: 4 });
  assert.deepEqual(screenBox(transform, { x0: 2, y0: 4, x1: 3, y1: 5 }), {
    x: -3, y: 23, width: 6, height: 5,
  });
});

test("colours are words of red, green, blue and alpha in memory", () => {
  const bytes = new Uint8Array(Uint32Array.of(word("#0a80ff", 200)).buffer);
  assert.deepEqual([...bytes], [0x0a, 0x80, 0xff, 200]);
});

test("marks are filled, proposals outlined, what nobody said is clear", () => {
  const colors = palette(
    [{ value: 0, color: "#000010" }, { value: 1, color: "#00ff00" }, { value: 2, color: "#ff0000" }],
    1,
  );
  const _ = OPEN;
  const image = {
    width: 4,
    height: 4,
    threshold: 100,
    proposal: Uint8Array.from([0, 0, 0, 0, 255, 100, 99, 0, 255, 255, 255, 0, 255, 255, 255, 0]),
    marks: Uint8Array.from([0, 2, _, _, _, _, _, _, _, _, 1, _, _, _, _, _]),
  };
  const [b, r, g] = [0, 2, 1].map((value) => colors.filled[value]);
  const [e, i] = [colors.edge[1], colors.inner[1]];
  assert.notEqual(e, i);
  assert.deepEqual(
    [...tints(image, { x0: 0, y0: 0, x1: 4, y1: 4 }, colors)],
    [b, r, 0, 0, e, e, 0, 0, e, i, g, 0, e, e, e, 0],
  );
  assert.deepEqual([...tints(image, { x0: 1, y0: 2, x1: 3, y1: 3 }, colors)], [i, g]);
  const kinds = Uint8Array.from(image.proposal, (_, at) => (at % 4 < 2 ? 1 : 2));
  const [e2] = [colors.edge[2]]; // where two classes meet, both have an edge
  assert.deepEqual(
    [...tints({ ...image, kinds }, { x0: 0, y0: 2, x1: 4, y1: 4 }, colors)],
    [e, e, g, 0, e, e, e2, 0],
  );
  assert.deepEqual(
    [...tints({ ...image, proposal: null }, { x0: 0, y0: 1, x1: 2, y1: 2 }, colors)],
    [0, 0],
  );
});

test("a sample tints every which pixel as if there were no others", () => {
  const [width, height, step] = [10, 7, 3];
  const marks = new Uint8Array(width * height).fill(OPEN);
  marks[3 * width + 6] = 0;
  marks[1] = 1; // between two that are taken
  const proposal = new Uint8Array(width * height).fill(200);
  proposal[6 * width + 9] = 0;
  const colors = palette([{ value: 0, color: "#112233" }, { value: 1, color: "#ffffff" }], 1);
  const image = { marks, width, height, proposal, threshold: 128 };
  const box = { x0: 0, y0: 0, x1: width, y1: height };
  const [inner, edge, { filled }] = [colors.inner[1], colors.edge[1], colors];
  assert.deepEqual(
    [...tints(image, box, colors, step)],
    [edge, edge, edge, edge, edge, inner, filled[0], edge, edge, edge, edge, 0],
  );
  assert.deepEqual(tints(image, box, colors), tints(image, box, colors, 1));
});
