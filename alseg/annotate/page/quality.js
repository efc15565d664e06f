/** How good the model is, as its checks say: a number with its interval, a curve, what to do. */

import { $ } from "./dom.js";

const KEPT_OUT = "Mark all of it, or answer its points. Its proposal stays hidden until then.";
const ONLY_MARKED = "a check only by its points";

export function attach(desk) {
  return new Quality(desk);
}

class Quality {
  #desk;
  #usual = null; // what "only what I marked" means of other images

  constructor(desk) {
    this.#desk = desk;
    desk.on("shown", ({ image }) => this.#note(image));
    desk.on("answered", (kind, image, saved) => this.#answered(kind, image, saved));
    desk.on("standing", ({ quality }) => quality && this.#draw(quality));
  }

  /** Says of a check what it is for, and what its answers mean. */
  #note({ check }) {
    const open = check === "open";
    const means = document.querySelector('[data-answer="marks"] small');
    this.#usual ??= means.textContent;
    means.textContent = open ? ONLY_MARKED : this.#usual;
    $("check-note").textContent = open ? KEPT_OUT : check ? "A check that counts already." : "";
    $("check-note").hidden = !check;
  }

  #answered(kind, image, saved) {
    if (image.check !== "open" || !saved || !("check" in saved)) return;
    const text =
      saved.check === "counted"
        ? `Counted as a check: ${image.name}`
        : `Saved: ${image.name}. So few marks are no fair sample, so it is no check any more.`;
    this.#desk.say(text, "Back", () => this.#desk.reopen(image.id));
  }

  #draw(quality) {
    const lines = told(quality);
    write("quality-none", lines.none);
    $("quality-found").hidden = !lines.dice;
    if (!lines.dice) return;
    for (const part of ["dice", "interval", "rests", "forecast", "advice", "agreement"]) {
      write(`quality-${part}`, lines[part]);
    }
    $("quality-advice").classList.toggle("stop", quality.advice.stop);
    this.#drawCurve(quality.curve);
  }

  #drawCurve(curve) {
    const drawing = $("quality-curve");
    drawing.toggleAttribute("hidden", curve.length < 2);
    if (curve.length < 2) return;
    const { band, line, end, scale } = drawn(curve, 232, 74);
    drawing.querySelector(".band").setAttribute("d", band);
    drawing.querySelector(".line").setAttribute("d", line);
    drawing.querySelector(".end").setAttribute("d", `M${end.x} ${end.y}h0`); // a round dot
    const [first, last] = [curve[0], curve.at(-1)];
    drawing.setAttribute(
      "aria-label",
      `Dice against active minutes: ${points(first[1])} after ${first[0].toFixed(0)}, ` +
        `${points(last[1])} after ${last[0].toFixed(0)}`,
    );
    write("quality-top", points(scale.high));
    write("quality-bottom", points(scale.low));
    write("quality-start", minutes(first[0]));
    write("quality-now", minutes(last[0]));
  }
}

function write(id, text) {
  const part = $(id);
  if (part.textContent !== text) part.textContent = text; // or a screen reader says it again
  part.hidden = !text;
}

// -- arithmetic and words: no document --

/** A score as it is shown: in hundredths. */
export function points(score) {
  return (100 * score).toFixed(0);
}

function minutes(value) {
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} min`;
}

const checks = (n) => `${n} ${n === 1 ? "check" : "checks"}`;

/** "± 3" where both ends are alike, else "82 to 88". */
export function interval(dice, low, high) {
  if (low === null || high === null) return "";
  const [below, above] = [dice - low, high - dice].map((part) => Math.round(100 * part));
  return Math.abs(below - above) <= 1 && Math.max(below, above) > 0
    ? `± ${Math.max(below, above)}`
    : `${points(low)} to ${points(high)}`;
}

/** All lines that are shown of what the server says; an empty one is left out. */
export function told(quality) {
  const { n_checks, n_counted, n_groups, dice, low, high, forecast, advice, agreement } = quality;
  if (!n_checks) {
    const none = n_counted ? `${checks(n_counted)} answered, not measured yet` : "No check yet";
    return { none, dice: "" };
  }
  const of = n_groups ? ` of ${n_groups} ${n_groups === 1 ? "group" : "groups"}` : "";
  const rests = `Dice, from ${checks(n_checks)}${of}`;
  return {
    none: "",
    dice: points(dice),
    interval: interval(dice, low, high),
    rests: low === null ? `${rests}; too few for an interval` : rests,
    forecast: forecast ? forecasted(dice, low, high, forecast) : "",
    advice: advice.text,
    agreement: agreement
      ? `On ${agreement.n === 1 ? "the last image" : `the last ${agreement.n} images`} asked for ` +
        `otherwise, proposals agreed with what was drawn by ${points(agreement.dice)}: those are ` +
        "harder than most."
      : "",
  };
}

function forecasted(dice, low, high, { after, dice: then, low: least, high: most, n_checks }) {
  const wide = interval(dice, low, high);
  return (
    `${points(dice)} ${wide.startsWith("±") ? wide : `(${wide})`} now; ` +
    `about ${points(then)} (${points(least)} to ${points(most)}) after ${after.toFixed(0)} more ` +
    `minutes, from ${checks(n_checks)}`
  );
}

/**
 * A curve and its band as paths of an SVG.
 *
 * @param {[number, number, number | null, number | null][]} curve  minutes, Dice, low, high
 * @returns {{band: string, line: string, end: {x: number, y: number},
 *   scale: {low: number, high: number}}}
 */
export function drawn(curve, width, height) {
  const known = curve.filter(([, , low]) => low !== null);
  const values = curve.flatMap(([, ...all]) => all.filter((value) => value !== null));
  // Whole tenths, so that the scale does not move with each point.
  const low = Math.floor(10 * Math.min(...values) + 1e-9) / 10;
  const high = Math.max(Math.ceil(10 * Math.max(...values) - 1e-9) / 10, low + 0.1);
  const [first, last] = [curve[0][0], curve.at(-1)[0]];
  const x = (time) => round(((time - first) / Math.max(last - first, 1e-9)) * width);
  const y = (value) => round((1 - (value - low) / (high - low)) * height);
  const path = (corners) => corners.map(([a, b], i) => `${i ? "L" : "M"}${a} ${b}`).join("");
  const above = known.map(([time, , , top]) => [x(time), y(top)]);
  const below = known.map(([time, , bottom]) => [x(time), y(bottom)]).reverse();
  return {
    band: known.length > 1 ? `${path([...above, ...below])}Z` : "",
    line: path(curve.map(([time, value]) => [x(time), y(value)])),
    end: { x: x(last), y: y(curve.at(-1)[1]) },
    scale: { low, high },
  };
}

const round = (value) => Math.round(10 * value) / 10;
