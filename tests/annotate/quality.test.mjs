import assert from "node:assert/strict";
import test from "node:test";

import { drawn, interval, points, told } from "../../alseg/annotate/page/quality.js";

const found = {
  n_checks: 9,
  n_counted: 9,
  dice: 0.861,
  low: 0.83,
  high: 0.889,
  forecast: null,
  advice: { stop: false, text: "" },
  agreement: null,
};

test("nothing is said before there is a check, or a measure", () => {
  assert.deepEqual(told({ ...found, n_checks: 0, n_counted: 0 }), { none: "No check yet", dice: "" });
  assert.match(told({ ...found, n_checks: 0, n_counted: 1 }).none, /^1 check answered/);
});

test("each number says from how many checks it comes", () => {
  const lines = told(found);
  assert.equal(lines.dice, "86");
  assert.equal(lines.interval, "± 3");
  assert.equal(lines.rests, "Dice, from 9 checks");
  assert.equal(told({ ...found, n_groups: 4 }).rests, "Dice, from 9 checks of 4 groups");
  assert.equal(lines.forecast + lines.advice + lines.agreement, "");
  const one = told({ ...found, n_checks: 1, low: null, high: null });
  assert.equal(one.rests, "Dice, from 1 check; too few for an interval");
  assert.equal(one.interval, "");
});

test("a forecast, an advice and an agreement are sentences", () => {
  const lines = told({
    ...found,
    forecast: { after: 10, dice: 0.8821, low: 0.84, high: 0.92, n_checks: 9 },
    advice: { stop: true, text: "you may stop." },
    agreement: { n: 12, dice: 0.7 },
  });
  assert.equal(
    lines.forecast,
    "86 ± 3 now; about 88 (84 to 92) after 10 more minutes, from 9 checks",
  );
  assert.equal(lines.advice, "you may stop.");
  assert.match(lines.agreement, /^On the last 12 images .* by 70: those are harder than most\.$/);
});

test("an interval is told by its ends where it leans to one side", () => {
  assert.equal(interval(0.9, 0.8, 0.94), "80 to 94");
  assert.equal(interval(0.9, 0.87, 0.92), "± 3");
  assert.equal(interval(0.999, 0.999, 0.999), "100 to 100");
  const lines = told({ ...found, low: 0.7, forecast: { after: 10, dice: 0.9, low: 0.7, high: 1, n_checks: 4 } });
  assert.match(lines.forecast, /^86 \(70 to 89\) now; about 90 \(70 to 100\)/);
});

test("points are hundredths", () => {
  assert.equal(points(0.4951), "50");
});

test("a curve fills its box between whole tenths, the band where ends are known", () => {
  const curve = [
    [2, 0.5, null, null],
    [4, 0.6, 0.45, 0.75],
    [12, 0.7, 0.62, 0.78],
  ];
  const { line, band, end, scale } = drawn(curve, 100, 40);
  assert.deepEqual(scale, { low: 0.4, high: 0.8 });
  assert.equal(line, "M0 30L20 20L100 10");
  assert.equal(band, "M20 5L100 2L100 18L20 35Z");
  assert.deepEqual(end, { x: 100, y: 10 });
});

test("a curve of one height has a scale too", () => {
  const { scale, line } = drawn([[1, 0.8, 0.8, 0.8], [2, 0.8, 0.8, 0.8]], 10, 10);
  assert.deepEqual(scale, { low: 0.8, high: 0.9 });
  assert.equal(line, "M0 10L10 10");
});
