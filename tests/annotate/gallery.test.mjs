import assert from "node:assert/strict";
import { test } from "node:test";

import { inWords } from "../../alseg/annotate/page/compare.js";
import { Effort } from "../../alseg/annotate/page/effort.js";
import { Few, moved, ordered, overlaid, visible } from "../../alseg/annotate/page/gallery.js";
import { sentence } from "../../alseg/annotate/page/predicting.js";

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
  assert.deepEqual(effort.total(), { seconds: 7.5, strokes: 1, clicks: 0, points: 0 });
  effort.reset();
  assert.deepEqual(effort.total(), { seconds: 0, strokes: 0, clicks: 0, points: 0 });
});

test("keys move within a grid, and stay in it", () => {
  const to = (key, at) => moved(key, at, 4, 10, 2); // rows 0-3, 4-7, 8-9
  assert.equal(to("ArrowRight", 3), 4);
  assert.equal(to("ArrowLeft", 0), 0);
  assert.equal(to("ArrowRight", 9), 9);
  assert.equal(to("ArrowDown", 1), 5);
  assert.equal(to("ArrowDown", 7), 9); // the last row is shorter
  assert.equal(to("ArrowDown", 8), 8);
  assert.equal(to("ArrowUp", 2), 2);
  assert.equal(to("ArrowUp", 9), 5);
  assert.equal(to("PageDown", 0), 8);
  assert.equal(to("PageDown", 5), 9);
  assert.equal(to("PageUp", 6), 0);
  assert.equal(to("Home", 7), 0);
  assert.equal(to("End", 2), 9);
  assert.equal(to("a", 2), null);
  assert.equal(moved("End", 0, 4, 0, 2), null);
});

test("what lies over a thumbnail is there", () => {
  const image = (state, proposal) => ({ state, proposal });
  assert.equal(overlaid(image("done", false), "mask"), "mask");
  assert.equal(overlaid(image("open", true), "mask"), null);
  assert.equal(overlaid(image("open", true), "proposal"), "proposal");
  assert.equal(overlaid(image("marked", true), "difference"), "difference");
  assert.equal(overlaid(image("marked", false), "difference"), null);
  assert.equal(overlaid(image("unreadable", true), "proposal"), null);
  assert.equal(overlaid(image("done", true), "none"), null);
});

test("few jobs run at once, in their order, and none that was given up", async () => {
  const few = new Few(2);
  const begun = [];
  const ends = [];
  const job = (name) => () => {
    begun.push(name);
    return new Promise((resolve) => ends.push(() => resolve(name)));
  };
  const stop = new AbortController();
  const first = few.run(job("a"));
  const second = few.run(job("b"));
  const third = few.run(job("c"), stop.signal);
  const fourth = few.run(job("d"));
  await new Promise(setImmediate);
  assert.deepEqual(begun, ["a", "b"]);
  stop.abort();
  ends[0]();
  await assert.rejects(third, { name: "AbortError" });
  assert.equal(await first, "a");
  await new Promise(setImmediate);
  assert.deepEqual(begun, ["a", "b", "d"]);
  ends[1]();
  ends[2]();
  assert.deepEqual(await Promise.all([second, fourth]), ["b", "d"]);
  await assert.rejects(few.run(() => Promise.reject(new Error("no"))), { message: "no" });
  assert.equal(await few.run(() => 3), 3); // a job that failed has made room
});

test("Dice in words says of how much it is", () => {
  const classes = [{ name: "gland", dice: 0.5 }, { name: "lumen", dice: 1 }];
  assert.equal(inWords({ dice: null, classes: [], marked: 0 }), "");
  assert.equal(
    inWords({ dice: 0.75, classes, marked: 1 }),
    "Dice 0.75 over the image (gland 0.50, lumen 1.00)",
  );
  const part = { dice: 0.5, classes: classes.slice(0, 1), marked: 0.0416 };
  assert.equal(inWords(part), "Dice 0.50 over the 4.2 % that is marked");
});

test("the button that predicts says why not, how far, and where", () => {
  const standing = {
    ready: true, why: "", running: false, done: 0, total: 0, out: null, error: null,
  };
  assert.deepEqual(sentence(standing), { enabled: true, text: "" });
  const not = { ...standing, ready: false, why: "No mask is known yet." };
  assert.deepEqual(sentence(not), { enabled: false, text: "No mask is known yet." });
  const fits = { ...standing, running: true };
  assert.equal(sentence(fits).text, "Predicting: the model is fitted first");
  const runs = { ...fits, done: 3, total: 20 };
  assert.deepEqual(sentence(runs), { enabled: false, text: "Predicting: 3 of 20 images" });
  assert.equal(sentence({ ...standing, out: "/a/b" }).text, "The masks are in /a/b");
  const half = { ...standing, out: "/a/b", why: "Press again." };
  assert.deepEqual(sentence(half), { enabled: true, text: "Press again." });
  assert.deepEqual(sentence({ ...standing, error: "Full." }), { enabled: true, text: "Full." });
});

test("a list by uncertainty says which models it is of", () => {
  assert.equal(ordered({ newest: 5, older: 0, none: 0 }), "5 by the newest versions of the model.");
  const mixed = ordered({ newest: 5, older: 30, none: 2 });
  assert.match(mixed, /^5 by the newest .*, behind them 30 by older ones, .*, 2 not looked at yet\.$/);
  assert.match(ordered({ newest: 0, older: 0, none: 9 }), /^No model has looked/);
});
