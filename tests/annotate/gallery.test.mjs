import assert from "node:assert/strict";
import { test } from "node:test";

import { Effort } from "../../alseg/annotate/page/effort.js";
import { visible } from "../../alseg/annotate/page/gallery.js";

const cell = { width: 100, height: 50 };

test("only the cells that are seen exist, and a row more on each side", () => {
  assert.deepEqual(visible(0, 200, 350, 10000, cell), { columns: 3, first: 0, last: 15 });
  assert.deepEqual(visible(5000, 200, 350, 10000, cell), { columns: 3, first: 297, last: 315 });
  assert.deepEqual(visible(1e9, 200, 350, 7, cell), { columns: 3, first: 7, last: 7 });
  assert.deepEqual(visible(0, 200, 20, 2, cell), { columns: 1, first: 0, last: 2 });
  assert.deepEqual(visible(0, 200, 350, 0, cell), { columns: 3, first: 0, last: 0 });
});

test("seconds count while somebody is busy; a long pause is a short one", () => {
  let now = 0;
  const effort = new Effort(() => now, 5000);
  now = 1000;
  effort.alive();
  now = 61_000;
  effort.alive();
  now = 62_500;
  effort.strokes++;
  assert.deepEqual(effort.total(), { seconds: 7.5, strokes: 1, clicks: 0 });
  effort.reset();
  assert.deepEqual(effort.total(), { seconds: 0, strokes: 0, clicks: 0 });
});
