import assert from "node:assert/strict";
import { test } from "node:test";

import { answered, finished, percent } from "../../alseg/annotate/page/dom.js";

test("what was answered in part is told apart", () => {
  const all = { n_images: 100 };
  assert.equal(answered({ ...all, n_done: 15, n_part: 0 }), "15 of 100 answered");
  assert.equal(answered({ ...all, n_done: 15, n_part: 4 }), "15 of 100 answered, 4 of them in part");
  assert.equal(answered({ ...all, n_done: 3, n_part: 3 }), "3 of 100 answered, in part");
  assert.equal(answered({ ...all, n_done: 0 }), "0 of 100 answered");
  assert.equal(finished({ n_part: 0 }), "Every image has an answer.");
  assert.equal(finished({ n_part: 7 }), "Every image has an answer; 7 in part alone.");
});

test("small shares have a digit more", () => {
  assert.deepEqual([0, 0.004, 0.5].map(percent), ["0 %", "0.4 %", "50 %"]);
});
