import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Editor,
  OPEN,
  countValues,
  decodeRuns,
  encodeRuns,
  fillPolygon,
  paintSegment,
  proposedObject,
  region,
  sameColour,
} from "../../alseg/annotate/page/editor.js";

const drawn = (marks, width) => {
  const rows = [];
  for (let at = 0; at < marks.length; at += width) {
    rows.push([...marks.subarray(at, at + width)].map((v) => (v === OPEN ? "." : v)).join(""));
  }
  return rows;
};
const blank = (width, height) => new Uint8Array(width * height).fill(OPEN);

/** Whole numbers from a seed (xorshift): the same at each run. */
const dice = (seed) => {
  let state = seed + 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
};

test("a dot of each width, by hand", () => {
  const dot = (brush, x, y) => {
    const marks = blank(8, 8);
    paintSegment(marks, 8, 8, { x, y }, { x, y }, brush, 1);
    return drawn(marks, 8);
  };
  const empty = "........";
  assert.deepEqual(dot(1, 2.99, 3.01).slice(2, 5), [empty, "..1.....", empty]);
  assert.deepEqual(dot(2, 3.2, 3.9).slice(2, 6), [empty, "..11....", "..11....", empty]);
  assert.deepEqual(dot(3, 3.5, 3.5).slice(1, 6), [
    empty, "..111...", "..111...", "..111...", empty,
  ]);
  assert.deepEqual(dot(4, 4, 4).slice(1, 7), [
    empty, "...11...", "..1111..", "..1111..", "...11...", empty,
  ]);
  assert.deepEqual(dot(5, 3.5, 3.5).slice(0, 7), [
    empty, "..111...", ".11111..", ".11111..", ".11111..", "..111...", empty,
  ]);
});

test("a line of width 1 and of width 3, by hand", () => {
  const marks = blank(8, 8);
  paintSegment(marks, 8, 8, { x: 0.5, y: 0.5 }, { x: 4.5, y: 2.5 }, 1, 2);
  assert.deepEqual(drawn(marks, 8).slice(0, 4), [
    "22......", ".222....", "...22...", "........",
  ]);
  const wide = blank(8, 8);
  paintSegment(wide, 8, 8, { x: 1.5, y: 4.5 }, { x: 6.5, y: 4.5 }, 3, 0);
  assert.deepEqual(drawn(wide, 8).slice(2), [
    "........", "00000000", "00000000", "00000000", "........", "........",
  ]);
});

test("strokes are the pixels within half a brush of the segment", () => {
  const roll = dice(1);
  for (let round = 0; round < 400; round++) {
    const [width, height, brush] = [1 + roll(30), 1 + roll(30), 1 + roll(12)];
    const point = () => ({ x: roll(400) / 10 - 5, y: roll(400) / 10 - 5 });
    const [a, b] = [point(), point()];
    const marks = blank(width, height);
    const box = paintSegment(marks, width, height, a, b, brush, 1);
    // Distances by the projection on the segment, in pixels; snapped as is written down.
    const snap = (v) => (brush % 2 ? Math.floor(v) + 0.5 : Math.round(v));
    const [ax, ay, bx, by] = [snap(a.x), snap(a.y), snap(b.x), snap(b.y)];
    const long = (bx - ax) ** 2 + (by - ay) ** 2;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
        const t = long ? Math.max(0, Math.min(1, (px * (bx - ax) + py * (by - ay)) / long)) : 0;
        const distance = Math.hypot(px - t * (bx - ax), py - t * (by - ay));
        if (Math.abs(distance - brush / 2) < 1e-9) continue; // rounding decides in this sum
        const painted = marks[y * width + x] === 1;
        assert.equal(painted, distance < brush / 2, `${x} ${y} of ${JSON.stringify({ a, b, brush })}`);
        if (painted) assert.ok(box.x0 <= x && x < box.x1 && box.y0 <= y && y < box.y1);
      }
    }
  }
});

test("a stroke has no gaps, whatever its direction", () => {
  const roll = dice(2);
  for (let round = 0; round < 100; round++) {
    const marks = blank(40, 40);
    const point = () => ({ x: roll(40), y: roll(40) });
    const [a, b] = [point(), point()];
    paintSegment(marks, 40, 40, a, b, 1, 1);
    const reached = new Set([a.y * 40 + a.x]);
    for (const i of reached) {
      for (const j of [-41, -40, -39, -1, 1, 39, 40, 41]) if (marks[i + j] === 1) reached.add(i + j);
    }
    assert.ok(reached.has(b.y * 40 + b.x));
    assert.equal(reached.size, countValues(marks)[1]);
  }
});

test("a polygon, by hand, and the hole of one that crosses itself", () => {
  const marks = blank(8, 8);
  const corners = [[1, 1], [6, 1], [1, 6]].map(([x, y]) => ({ x, y }));
  fillPolygon(marks, 8, 8, corners, 1);
  // The slanted edge is x + y = 7: centres on it are outside, those before it inside.
  assert.deepEqual(drawn(marks, 8), [
    "........", ".1111...", ".111....", ".11.....", ".1......", "........", "........", "........",
  ]);
  const twice = [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0], [2, 2], [6, 2], [6, 6], [2, 6], [2, 2]];
  const ring = blank(8, 8);
  fillPolygon(ring, 8, 8, twice.map(([x, y]) => ({ x, y })), 1);
  assert.deepEqual(drawn(ring, 8).slice(1, 4), ["11111111", "11....11", "11....11"]);
  assert.equal(fillPolygon(ring, 8, 8, corners.slice(0, 2), 1), null);
});

test("a polygon is the pixels from whose centre a ray crosses it an odd number of times", () => {
  const roll = dice(3);
  for (let round = 0; round < 300; round++) {
    const [width, height] = [1 + roll(25), 1 + roll(25)];
    const corners = Array.from({ length: 3 + roll(8) }, () => ({
      x: roll(300) / 10 - 2,
      y: roll(300) / 10 - 2,
    }));
    const marks = blank(width, height);
    fillPolygon(marks, width, height, corners, 1);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let odd = false;
        let close = false;
        corners.forEach((p, i) => {
          const q = corners[(i + 1) % corners.length];
          if (p.y > y + 0.5 === q.y > y + 0.5) return;
          const cut = p.x + ((q.x - p.x) * (y + 0.5 - p.y)) / (q.y - p.y);
          close ||= Math.abs(cut - (x + 0.5)) < 1e-9;
          if (cut > x + 0.5) odd = !odd;
        });
        if (!close) assert.equal(marks[y * width + x] === 1, odd);
      }
    }
  }
});

/** The pixels of a region, 1 inside. */
function inside(found, size) {
  const pixels = new Uint8Array(size);
  for (let k = 0; k < found.taken.length; k += 2) pixels.fill(1, ...found.taken.subarray(k, k + 2));
  return [...pixels];
}

test("a region is what single steps reach", () => {
  const roll = dice(4);
  for (let round = 0; round < 300; round++) {
    const [width, height] = [1 + roll(20), 1 + roll(20)];
    const free = Uint8Array.from({ length: width * height }, () => (roll(10) < 6 ? 1 : 0));
    const [x, y] = [roll(width), roll(height)];
    const found = region(width, height, x, y, (i) => free[i] === 1);
    const reached = new Set(free[y * width + x] ? [y * width + x] : []);
    for (const i of reached) {
      const column = i % width;
      const steps = [i - width, i + width];
      if (column > 0) steps.push(i - 1);
      if (column < width - 1) steps.push(i + 1);
      for (const j of steps) if (free[j]) reached.add(j);
    }
    if (!reached.size) {
      assert.equal(found, null);
      continue;
    }
    assert.equal(found.size, reached.size);
    inside(found, width * height).forEach((value, i) => assert.equal(value === 1, reached.has(i)));
    const columns = [...reached].map((i) => i % width);
    const rows = [...reached].map((i) => Math.floor(i / width));
    assert.deepEqual(found.box, {
      x0: Math.min(...columns),
      y0: Math.min(...rows),
      x1: Math.max(...columns) + 1,
      y1: Math.max(...rows) + 1,
    });
  }
  assert.equal(region(4, 4, -1, 0, () => true), null);
  assert.equal(region(4, 4, 0, 4, () => true), null);
});

test("flood by colour: within the tolerance in each channel, of the seed's colour", () => {
  const greys = [10, 12, 15, 10];
  const rgba = new Uint8ClampedArray(greys.flatMap((v) => [v, v, v, 255]));
  assert.deepEqual(inside(sameColour(rgba, 4, 1, 0, 0, 2), 4), [1, 1, 0, 0]);
  assert.deepEqual(inside(sameColour(rgba, 4, 1, 0, 0, 5), 4), [1, 1, 1, 1]);
  rgba[5] = 200; // the green of the second pixel
  assert.deepEqual(inside(sameColour(rgba, 4, 1, 0, 0, 5), 4), [1, 0, 0, 0]);
});

test("a proposed object is taken and dropped, and what was said before stays", () => {
  const proposal = Uint8Array.from([
    200, 200, 0, 0,
    200, 127, 0, 128,
    0, 0, 0, 255,
  ]);
  const editor = new Editor(4, 3);
  assert.equal(proposedObject(proposal, 4, 3, 2, 0, 128), null);
  const object = proposedObject(proposal, 4, 3, 0, 0, 128);
  assert.equal(object.size, 3);
  editor.stroke([{ x: 1, y: 0 }], 1, 2);
  editor.commit();
  editor.fill(object, 1, { openOnly: true });
  assert.deepEqual(drawn(editor.marks, 4), ["12..", "1...", "...."]);
  editor.commit();
  editor.fill(object, 0, { openOnly: true }); // all of it was said: changed as a whole
  assert.deepEqual(drawn(editor.marks, 4), ["00..", "0...", "...."]);
  editor.fill(null, 1);
  editor.complete(proposal, 128, 1);
  assert.deepEqual(drawn(editor.marks, 4), ["0000", "0001", "0001"]);
});

test("complete without a proposal is background, and one step", () => {
  const editor = new Editor(3, 1, Uint8Array.from([OPEN, 2, OPEN]));
  editor.complete(null, 128, 1);
  assert.equal(editor.commit(), true);
  assert.deepEqual([...editor.marks], [0, 2, 0]);
  editor.undo();
  assert.deepEqual([...editor.marks], [OPEN, 2, OPEN]);
});

test("run lengths come back as they went", () => {
  const roll = dice(5);
  for (let round = 0; round < 300; round++) {
    const parts = Array.from({ length: roll(12) }, () =>
      new Uint8Array(1 + roll(round % 9 ? 5 : 70000)).fill(roll(256)),
    );
    const bytes = Uint8Array.from(parts.flatMap((part) => [...part]));
    assert.deepEqual(decodeRuns(encodeRuns(bytes), bytes.length), bytes);
  }
  assert.deepEqual([...encodeRuns(new Uint8Array(300).fill(7))], [7, 0b10101100, 0b10]);
  assert.throws(() => decodeRuns(Uint8Array.of(1, 5), 4), /longer than 4/);
  assert.throws(() => decodeRuns(Uint8Array.of(1, 5), 6), /hold 5 bytes, not 6/);
});

/** One change of any kind, committed or left open. */
const change = (editor, roll) => {
  const point = () => ({ x: roll(200) / 10, y: roll(200) / 10 });
  const value = [0, 1, 2, OPEN][roll(4)];
  [
    () => editor.stroke([point(), point(), point()], 1 + roll(6), value),
    () => editor.polygon([point(), point(), point(), point()], value),
    () => {
      const { width, height, marks } = editor;
      const [x, y] = [roll(width), roll(height)];
      const same = marks[y * width + x];
      editor.fill(region(width, height, x, y, (i) => marks[i] === same), value);
    },
    () => editor.replace(Uint8Array.from(editor.marks, () => roll(3))),
  ][roll(roll(7) ? 3 : 4)](); // `replace` is rare: it changes everything
};

test("undo and redo give each state again, byte by byte", () => {
  for (let seed = 0; seed < 40; seed++) {
    const roll = dice(seed);
    const editor = new Editor(1 + roll(20), 1 + roll(20));
    const states = [editor.marks.slice()];
    for (let i = 0; i < 30; i++) {
      change(editor, roll);
      if (editor.commit()) states.push(editor.marks.slice());
      else assert.deepEqual(editor.marks, states.at(-1));
      assert.deepEqual(editor.counts, countValues(editor.marks));
    }
    for (let at = states.length - 1; at > 0; at--) {
      assert.deepEqual(editor.marks, states[at]);
      if (roll(3) === 0) change(editor, roll); // left open: undo takes it back first
      assert.equal(editor.undo(), true);
    }
    assert.deepEqual(editor.marks, states[0]);
    assert.equal(editor.undo(), false);
    for (let at = 1; at < states.length; at++) {
      assert.equal(editor.redo(), true);
      assert.deepEqual(editor.marks, states[at]);
      assert.deepEqual(editor.counts, countValues(editor.marks));
    }
    assert.equal(editor.redo(), false);
  }
});

test("a step over several tiles comes back, and counts with it", () => {
  const editor = new Editor(300, 200);
  editor.stroke([{ x: 10, y: 10 }, { x: 290, y: 190 }], 30, 1);
  editor.commit();
  const first = editor.marks.slice();
  editor.polygon([{ x: 0, y: 0 }, { x: 300, y: 0 }, { x: 150, y: 200 }], 2);
  editor.revert();
  assert.deepEqual(editor.marks, first);
  editor.polygon([{ x: 0, y: 0 }, { x: 300, y: 0 }, { x: 150, y: 200 }], 2);
  editor.commit();
  const second = editor.marks.slice();
  for (const [step, marks] of [["undo", first], ["redo", second], ["undo", first]]) {
    editor[step]();
    assert.deepEqual(editor.marks, marks);
    assert.deepEqual(editor.counts, countValues(marks));
  }
  editor.undo();
  assert.equal(editor.marked, 0);
  assert.deepEqual(editor.takeDirty(), { x0: 0, y0: 0, x1: 300, y1: 200 });
});

test("a new step forgets what was undone; revert takes back what is no step yet", () => {
  const editor = new Editor(4, 4);
  editor.stroke([{ x: 0, y: 0 }], 1, 1);
  editor.commit();
  editor.undo();
  assert.ok(editor.canRedo);
  editor.stroke([{ x: 3, y: 3 }], 1, 2);
  editor.revert();
  assert.ok(editor.canRedo);
  assert.equal(editor.marked, 0);
  assert.equal(editor.commit(), false);
  editor.stroke([{ x: 3, y: 3 }], 1, 2);
  editor.commit();
  assert.equal(editor.canRedo, false);
  assert.equal(editor.marked, 1);
});

test("the dirty box holds every change once", () => {
  const editor = new Editor(50, 40);
  assert.deepEqual(editor.takeDirty(), { x0: 0, y0: 0, x1: 50, y1: 40 });
  assert.equal(editor.takeDirty(), null);
  editor.stroke([{ x: 10.5, y: 20.5 }, { x: 12.5, y: 20.5 }], 3, 1);
  assert.deepEqual(editor.takeDirty(), { x0: 9, y0: 19, x1: 14, y1: 22 });
  editor.stroke([{ x: -100, y: -100 }], 3, 1);
  assert.equal(editor.takeDirty(), null);
  editor.commit();
  editor.undo();
  assert.deepEqual(editor.takeDirty(), { x0: 9, y0: 19, x1: 14, y1: 22 });
});

test("marks of another size are refused, and those given are not changed", () => {
  assert.throws(() => new Editor(4, 4, new Uint8Array(15)), /16 bytes, got 15/);
  const given = new Uint8Array(16);
  const editor = new Editor(4, 4, given);
  assert.throws(() => editor.replace(new Uint8Array(3)), /16 bytes, got 3/);
  editor.stroke([{ x: 1, y: 1 }], 9, 3);
  assert.equal(given.every((v) => v === 0), true);
});

test("a stroke on an image of 4 000 x 3 000 is a matter of milliseconds", () => {
  const editor = new Editor(4000, 3000);
  const start = performance.now();
  for (let i = 0; i < 100; i++) {
    editor.stroke([{ x: 100 + 30 * i, y: 500 + 10 * i }, { x: 130 + 30 * i, y: 510 + 10 * i }], 41, 1);
  }
  // A frame is 16 ms; a hundred moves of the pen in it on an idle machine. Ten times that is a hang.
  assert.ok(performance.now() - start < 1000);
  editor.commit();
});

test("with a clip no tool marks anything beyond it", () => {
  const clip = { x0: 3, y0: 2, x1: 8, y1: 6 };
  const all = () => region(12, 9, 0, 0, () => true);
  const tools = {
    stroke: (e) => e.stroke([{ x: 0, y: 0 }, { x: 12, y: 9 }, { x: 12, y: 0 }], 4, 1),
    erase: (e) => e.stroke([{ x: 6, y: 4 }], 30, OPEN),
    polygon: (e) => e.polygon([{ x: -9, y: -9 }, { x: 40, y: -9 }, { x: 40, y: 40 }, { x: -9, y: 40 }], 1),
    fill: (e) => e.fill(all(), 1),
    take: (e) => e.fill(all(), 1, { openOnly: true }),
    paint: (e) => e.paint((marks) => marks.fill(1) && e.whole),
    complete: (e) => e.complete(new Uint8Array(108).fill(200), 128, 1),
    clear: (e) => e.clear(0),
  };
  for (const [name, use] of Object.entries(tools)) {
    const before = new Uint8Array(108).map((_, i) => (i % 5 ? OPEN : 0));
    const editor = new Editor(12, 9, before);
    const free = new Editor(12, 9, before);
    editor.clip = clip;
    use(editor);
    use(free);
    const expected = before.slice();
    for (let y = clip.y0; y < clip.y1; y++) {
      for (let x = clip.x0; x < clip.x1; x++) expected[y * 12 + x] = free.marks[y * 12 + x];
    }
    assert.deepEqual(editor.marks, expected, name);
    assert.ok(editor.commit(), name);
    assert.deepEqual(editor.counts, countValues(editor.marks), name);
    editor.undo();
    assert.deepEqual(editor.marks, before, name);
  }
});

test("a clip beyond what is drawn leaves nothing, and nothing to undo", () => {
  const editor = new Editor(12, 9);
  editor.clip = { x0: 8, y0: 6, x1: 12, y1: 9 };
  editor.stroke([{ x: 1, y: 1 }], 3, 1);
  editor.fill(region(12, 9, 0, 0, (i) => i < 24), 1);
  assert.equal(editor.commit(), false);
  assert.equal(editor.marked, 0);
});

test("whether more than background is marked is asked of the clip alone", () => {
  const editor = new Editor(4, 2, new Uint8Array([1, OPEN, 0, OPEN, 1, OPEN, OPEN, 0]));
  assert.equal(editor.holdsMore, true);
  editor.clip = { x0: 1, y0: 0, x1: 4, y1: 2 };
  assert.equal(editor.holdsMore, false);
});
