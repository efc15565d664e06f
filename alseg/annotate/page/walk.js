/**
 * The way from one asked pixel to the next: no document, no network.
 *
 * What is answered stands in the marks alone, so undo, redo and the brush move the walk too; only
 * "cannot tell" is kept here, and by the server.
 */

import { OPEN } from "./editor.js";

export class Walk {
  #said = []; // numbers of points, in the order in which they were answered here

  /**
   * @param {[number, number][]} points  rows and columns, in the order asked
   * @param {number} width  of the image
   * @param {number} unsure  how many of the last ones were drawn where the proposal is unsure
   * @param {Iterable<number>} unknown  numbers of those that nobody can tell, as was said before
   */
  constructor(points, width, unsure = 0, unknown = []) {
    this.points = points;
    this.width = width;
    this.unsure = unsure;
    this.unknown = new Set(unknown);
  }

  /** The first `count` points of this walk that another one did not ask. */
  without(other, count) {
    const asked = new Set(other?.points.map(String));
    const fair = this.length - this.unsure;
    const left = (from, to) => this.points.slice(from, to).filter((one) => !asked.has(String(one)));
    const unsure = left(fair);
    const all = [...left(0, fair).slice(0, count - Math.min(count, unsure.length)), ...unsure];
    const points = all.slice(0, count);
    const unknown = points.map((_, number) => number).filter((number) =>
      this.unknown.has(this.points.indexOf(points[number])),
    );
    return new Walk(points, this.width, Math.min(count, unsure.length), unknown);
  }

  get length() {
    return this.points.length;
  }

  /** What somebody said of a point: a class, `OPEN`, or null where nobody can tell. */
  value(number, marks) {
    if (this.unknown.has(number)) return null;
    const [row, column] = this.points[number];
    return marks[row * this.width + column];
  }

  /** The number of the point that is asked now; how many there are, when all are answered. */
  at(marks) {
    for (let number = 0; number < this.length; number++) {
      if (this.value(number, marks) === OPEN) return number;
    }
    return this.length;
  }

  /** How many are answered. */
  answered(marks) {
    let count = 0;
    for (let number = 0; number < this.length; number++) {
      if (this.value(number, marks) !== OPEN) count++;
    }
    return count;
  }

  /** Notes that a point was answered: by the class that its pixel has now, or by "cannot tell". */
  said(number, { unknown = false } = {}) {
    if (unknown) this.unknown.add(number);
    else this.unknown.delete(number);
    this.#said.push(number);
  }

  /** The point that was answered last, which is asked again: its pixel is to be open. Or null. */
  back(marks) {
    while (this.#said.length) {
      const number = this.#said.pop();
      // One that was taken back by undo is asked already.
      if (this.value(number, marks) === OPEN) continue;
      this.unknown.delete(number);
      return number;
    }
    return null;
  }
}

/**
 * The square of pixels around one that a lens shows: a tenth of the longer side, odd, so that
 * the pixel is its middle.
 */
export function surroundings(width, height, row, column) {
  const side = 2 * Math.round(Math.min(121, Math.max(25, Math.max(width, height) / 10)) / 2) + 1;
  return { x: column - (side - 1) / 2, y: row - (side - 1) / 2, side };
}
