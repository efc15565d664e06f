import assert from "node:assert/strict";
import { test } from "node:test";

import { freeColor, wrongNames } from "../../alseg/annotate/page/classes.js";
import { filter, isDeep, query, restored } from "../../alseg/annotate/page/window.js";

test("a new class gets a colour that no other has, as long as there is one", () => {
  const taken = [];
  for (let k = 0; k < 9; k++) taken.push(freeColor(taken));
  assert.equal(new Set(taken).size, 7);
  assert.equal(freeColor(["#ffc800"]), "#00e5ff");
});

test("names of classes are there, and different", () => {
  assert.equal(wrongNames(["gland", "lumen"]), "");
  assert.match(wrongNames(["gland", " "]), /needs a name/);
  assert.match(wrongNames(["gland", "Gland "]), /two classes of the name gland/);
  assert.match(wrongNames(["Background"]), /background/);
});

const HOW = restored(null);

test("only deep images are asked for by window and channels", () => {
  assert.equal(query({ bits: 8, channels: 3 }, { ...HOW, low: 5, channels: [0] }), "");
  assert.equal(query({}, { ...HOW, low: 5 }), "");
  assert.equal(query({ bits: 16, channels: 1 }, HOW), "");
  assert.equal(query({ bits: 16, channels: 1 }, { ...HOW, high: 90 }), "low=0.1&high=90");
  assert.equal(query({ bits: 8, channels: 5 }, { ...HOW, channels: [4, 1, 0] }), "channels=4,1,0");
  assert.equal(query({ bits: 8, channels: 2 }, { ...HOW, channels: [4, 1, 0] }), "");
  assert.deepEqual([isDeep({ bits: 16 }), isDeep({ channels: 2 }), isDeep({ channels: 1 })], [true, true, false]);
});

test("what was kept is taken as far as it is one of ours", () => {
  assert.deepEqual(restored('{"brightness": 150, "low": 1, "high": 99, "channels": [2]}'), {
    brightness: 150, contrast: 100, low: 1, high: 99, channels: [2],
  });
  for (const text of ["", "[]", "{", "null", '{"low": 9, "high": 3}', '{"channels": [1, 2]}', '{"brightness": "x"}']) {
    assert.deepEqual(restored(text), HOW);
  }
});

test("brightness and contrast", () => {
  assert.equal(filter(HOW), "");
  assert.equal(filter({ brightness: 150, contrast: 80 }), "brightness(150%) contrast(80%)");
});
