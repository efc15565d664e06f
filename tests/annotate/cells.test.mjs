import assert from "node:assert/strict";
import { test } from "node:test";

import { boxes, cellAt, covered, met, outline, paintCell } from "../../alseg/annotate/page/cells.js";

// Three superpixels on 4 x 2 places.
const CELLS = { labels: new Uint16Array([0, 0, 1, 1, 0, 2, 2, 1]), across: 4, down: 2 };

test("each pixel of an image falls into one place, in order", () => {
  for (const [small, n] of [[4, 4], [4, 10], [640, 775], [3, 7], [7, 3]]) {
    let next = 0;
    for (let at = 0; at < small; at++) {
      const [first, end] = covered(at, small, n);
      assert.equal(first, next);
      next = Math.max(next, end);
    }
    assert.equal(next, n);
  }
});

test("boxes hold their superpixels", () => {
  assert.deepEqual(boxes(CELLS), [
    { x0: 0, y0: 0, x1: 2, y1: 2 },
    { x0: 2, y0: 0, x1: 4, y1: 2 },
    { x0: 1, y0: 1, x1: 3, y1: 2 },
  ]);
});

test("superpixels, painted one by one, cover the image once, each its own pixels", () => {
  for (const [width, height] of [[4, 2], [11, 7], [8, 4], [3, 2]]) {
    const marks = new Uint8Array(width * height).fill(255);
    let painted = 0;
    boxes(CELLS).forEach((box, label) => {
      const before = marks.slice();
      const changed = paintCell(marks, width, height, CELLS, box, label, label);
      for (let i = 0; i < marks.length; i++) {
        const [x, y] = [i % width, Math.floor(i / width)];
        const here = cellAt(CELLS, width, height, x, y) === label;
        assert.equal(marks[i], here ? label : before[i]);
        if (!here) continue;
        painted++;
        assert.ok(x >= changed.x0 && x < changed.x1 && y >= changed.y0 && y < changed.y1);
      }
    });
    assert.equal(painted, width * height);
  }
});

test("a quick move misses none on its way", () => {
  const way = (a, b) => [...met(CELLS, 8, 4, { x: a[0], y: a[1] }, { x: b[0], y: b[1] })];
  assert.deepEqual(way([0.5, 3.5], [7.5, 3.5]), [0, 2, 1]);
  assert.deepEqual(way([0.5, 0.5], [0.5, 0.5]), [0]);
  assert.deepEqual(way([-20, 0.5], [-5, 0.5]), []);
});

test("beyond the edge is no superpixel", () => {
  assert.equal(cellAt(CELLS, 8, 4, -1, 0), null);
  assert.equal(cellAt(CELLS, 8, 4, 8, 0), null);
  assert.equal(cellAt(CELLS, 8, 4, 7, 3), 1);
});

test("an outline goes around, and between pixels of one superpixel is none", () => {
  const [, , box] = boxes(CELLS);
  assert.equal(outline(CELLS, box, 2), "M1 1h1M1 2h1M1 1v1M2 1h1M2 2h1M3 1v1");
});
