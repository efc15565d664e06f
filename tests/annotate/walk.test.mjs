import assert from "node:assert/strict";
import { test } from "node:test";

import { Editor, OPEN } from "../../alseg/annotate/page/editor.js";
import { Walk, surroundings } from "../../alseg/annotate/page/walk.js";

const POINTS = [[2, 3], [0, 0], [1, 4]];

/** A walk over an image of 5 x 3, and what says a class of its point. */
function begun() {
  const editor = new Editor(5, 3);
  const walk = new Walk(POINTS, 5);
  const mark = (number, value) => {
    const [row, column] = POINTS[number];
    editor.stroke([{ x: column + 0.5, y: row + 0.5 }], 1, value);
    editor.commit();
    walk.said(number);
  };
  return { editor, walk, mark };
}

test("a walk goes from one point to the next, in the order asked", () => {
  const { editor, walk, mark } = begun();
  assert.equal(walk.at(editor.marks), 0);
  mark(0, 1);
  assert.equal(walk.at(editor.marks), 1);
  walk.said(1, { unknown: true });
  assert.equal(walk.at(editor.marks), 2);
  assert.equal(walk.answered(editor.marks), 2);
  mark(2, 0);
  assert.equal(walk.at(editor.marks), walk.length);
  assert.deepEqual([0, 1, 2].map((n) => walk.value(n, editor.marks)), [1, null, 0]);
});

test("an answer marks its pixel and no other; cannot tell marks none", () => {
  const { editor, walk, mark } = begun();
  mark(0, 1);
  walk.said(1, { unknown: true });
  const expected = new Uint8Array(15).fill(OPEN);
  expected[2 * 5 + 3] = 1;
  assert.deepEqual(editor.marks, expected);
});

test("back takes answers back, last first", () => {
  const { editor, walk, mark } = begun();
  assert.equal(walk.back(editor.marks), null);
  mark(0, 1);
  walk.said(1, { unknown: true });
  mark(2, 1);
  assert.equal(walk.back(editor.marks), 2);
  editor.stroke([{ x: 4.5, y: 1.5 }], 1, OPEN);
  assert.equal(walk.at(editor.marks), 2);
  assert.equal(walk.back(editor.marks), 1);
  assert.equal(walk.at(editor.marks), 1);
  assert.equal(walk.back(editor.marks), 0);
  assert.equal(walk.back(editor.marks), null);
});

test("undo moves the walk, and back then goes on from there", () => {
  const { editor, walk, mark } = begun();
  mark(0, 1);
  mark(1, 1);
  editor.undo();
  assert.equal(walk.at(editor.marks), 1);
  assert.equal(walk.back(editor.marks), 0);
  editor.redo();
  assert.equal(walk.value(1, editor.marks), 1);
});

test("what the brush or a draft says of a point is an answer", () => {
  const marks = new Uint8Array(15).fill(OPEN);
  marks[13] = marks[9] = 0;
  const walk = new Walk(POINTS, 5);
  assert.equal(walk.at(marks), 1);
  assert.equal(walk.answered(marks), 2);
});

test("more points are those that were not asked, and unsure ones stay known as such", () => {
  const all = Array.from({ length: 10 }, (_, k) => [k, 0]);
  const old = new Walk(all.slice(0, 3), 1);
  const more = new Walk([...all.slice(0, 5), ...all.slice(7)], 1, 3);
  assert.deepEqual(more.without(null, 8).points, more.points);
  const left = more.without(old, 4);
  assert.deepEqual(left.points, [[3, 0], [7, 0], [8, 0], [9, 0]]);
  assert.equal(left.unsure, 3);
  assert.deepEqual(new Walk(all, 1).without(old, 2).points, [[3, 0], [4, 0]]);
});

test("what nobody could tell before is not asked, and is still known among those left", () => {
  const marks = new Uint8Array(15).fill(OPEN);
  const walk = new Walk(POINTS, 5, 0, [0, 2]);
  assert.equal(walk.at(marks), 1);
  assert.equal(walk.answered(marks), 2);
  assert.equal(walk.back(marks), null); // it was said before
  const left = walk.without(new Walk([POINTS[0]], 5), 5);
  assert.deepEqual([left.points, [...left.unknown]], [[POINTS[1], POINTS[2]], [1]]);
  assert.deepEqual([...walk.without(null, 1).unknown], [0]);
});

test("the asked pixel is the middle of what the lens shows", () => {
  for (const [width, height] of [[775, 522], [40, 30], [4000, 3000]]) {
    const { x, y, side } = surroundings(width, height, 10, 25);
    assert.equal(side % 2, 1);
    assert.ok(side >= 25 && side <= 123);
    assert.deepEqual([x + (side - 1) / 2, y + (side - 1) / 2], [25, 10]);
  }
});
