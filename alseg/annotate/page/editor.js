/**
 * Arithmetic of marks: no document, no network, no clock.
 *
 * Marks are one byte a pixel, row by row: the class (0 is background) or `OPEN`, which says that
 * nobody said anything. Positions are in pixels of the image; the centre of the pixel in column x
 * and row y is (x + 0.5, y + 0.5).
 *
 * @typedef {{x: number, y: number}} Point
 * @typedef {{x0: number, y0: number, x1: number, y1: number}} Box  x1 and y1 are outside
 * @typedef {{taken: Int32Array, box: Box, size: number}} Region  `taken` are its
 *   runs within rows: where one starts and where it ends, and so on
 */

/** Nobody said. */
export const OPEN = 255;

const TILE = 256; // pixels

// -- boxes --

/** The smallest box around two, either of which may be null. */
export function around(a, b) {
  if (!a || !b) return a ?? b;
  return {
    x0: Math.min(a.x0, b.x0),
    y0: Math.min(a.y0, b.y0),
    x1: Math.max(a.x1, b.x1),
    y1: Math.max(a.y1, b.y1),
  };
}

/** The part of a box that lies in the image, or null. */
export function inside(box, width, height) {
  const x0 = Math.max(0, box.x0);
  const y0 = Math.max(0, box.y0);
  const x1 = Math.min(width, box.x1);
  const y1 = Math.min(height, box.y1);
  return x0 < x1 && y0 < y1 ? { x0, y0, x1, y1 } : null;
}

/** What two boxes share, or null. */
export function within(a, b) {
  const box = {
    x0: Math.max(a.x0, b.x0),
    y0: Math.max(a.y0, b.y0),
    x1: Math.min(a.x1, b.x1),
    y1: Math.min(a.y1, b.y1),
  };
  return box.x0 < box.x1 && box.y0 < box.y1 ? box : null;
}

/** The bytes of a box, row by row. */
function crop(bytes, width, box) {
  const across = box.x1 - box.x0;
  const part = new Uint8Array(across * (box.y1 - box.y0));
  for (let y = box.y0, at = 0; y < box.y1; y++, at += across) {
    part.set(bytes.subarray(y * width + box.x0, y * width + box.x1), at);
  }
  return part;
}

/** Puts the bytes of a box back, in place. */
function paste(bytes, width, box, part) {
  const across = box.x1 - box.x0;
  for (let y = box.y0, at = 0; y < box.y1; y++, at += across) {
    bytes.set(part.subarray(at, at + across), y * width + box.x0);
  }
}

/** Puts the bytes of a box of one image into another. */
function copy(from, to, width, box) {
  for (let y = box.y0; y < box.y1; y++) {
    const start = y * width + box.x0;
    to.set(from.subarray(start, y * width + box.x1), start);
  }
}

/**
 * The smallest box within `box` that holds each pixel in which two images differ, or null; counts
 * of values move with each such pixel from the one of `before` to the one of `after`.
 */
function difference(before, after, width, box, counts) {
  let { x0, y0, x1, y1 } = { x0: box.x1, y0: box.y1, x1: box.x0, y1: box.y0 };
  for (let y = box.y0; y < box.y1; y++) {
    for (let x = box.x0, i = y * width + x; x < box.x1; x++, i++) {
      const [was, is] = [before[i], after[i]];
      if (was === is) continue;
      const first = x;
      while (x + 1 < box.x1 && before[i + 1] === was && after[i + 1] === is) {
        x++;
        i++;
      }
      counts[was] -= x + 1 - first; // a run at a time: most changes are of one kind
      counts[is] += x + 1 - first;
      if (first < x0) x0 = first;
      if (x >= x1) x1 = x + 1;
      if (y < y0) y0 = y;
      y1 = y + 1;
    }
  }
  return x0 < x1 ? { x0, y0, x1, y1 } : null;
}

// -- run lengths --

/** Bytes as runs: a value, then how often it stands there, seven bits a byte, lowest first. */
export function encodeRuns(bytes) {
  let out = new Uint8Array(64);
  let size = 0;
  for (let start = 0; start < bytes.length; ) {
    const value = bytes[start];
    let end = start + 1;
    while (end < bytes.length && bytes[end] === value) end++;
    if (size + 8 > out.length) out = grown(out);
    out[size++] = value;
    let count = end - start;
    while (count > 127) {
      out[size++] = (count & 127) | 128;
      count >>>= 7;
    }
    out[size++] = count;
    start = end;
  }
  return out.slice(0, size);
}

/** What `encodeRuns` coded; `length` bytes, or an error. */
export function decodeRuns(runs, length) {
  const out = new Uint8Array(length);
  let end = 0;
  for (let at = 0; at < runs.length; ) {
    const value = runs[at++];
    let count = 0;
    let shift = 0;
    do {
      count += (runs[at] & 127) * 2 ** shift;
      shift += 7;
    } while (runs[at++] & 128);
    if (end + count > length) throw new RangeError(`runs are longer than ${length} bytes.`);
    out.fill(value, end, end + count);
    end += count;
  }
  if (end !== length) throw new RangeError(`runs hold ${end} bytes, not ${length}.`);
  return out;
}

// -- shapes: each paints in place and gives the box that it may have changed, or null --

/**
 * Where the middle of a brush lies, in half pixels: on the centre of a pixel when its width is
 * odd, on a corner when it is even, so that each brush is symmetric and none misses every centre.
 */
function snapped(position, brush) {
  return brush % 2 ? 2 * Math.floor(position) + 1 : 2 * Math.round(position);
}

/** The reach along x, in half pixels, of the part of a segment that a row's pixels can be near. */
function reach(ax, ay, dx, dy, row, brush) {
  if (dy === 0) return [Math.min(ax, ax + dx), Math.max(ax, ax + dx)];
  const clamp = (t) => Math.min(1, Math.max(0, t));
  const p = ax + dx * clamp((row - brush - ay) / dy);
  const q = ax + dx * clamp((row + brush - ay) / dy);
  return [Math.min(p, q), Math.max(p, q)];
}

/**
 * Paints what a disc covers that moves from a to b: pixels whose centre is at most brush / 2 from
 * the segment between the snapped ends. All in whole half pixels, so that no rounding decides.
 *
 * @param {Uint8Array} marks
 * @param {number} brush  whole pixels across, from 1
 */
export function paintSegment(marks, width, height, a, b, brush, value) {
  const ax = snapped(a.x, brush);
  const ay = snapped(a.y, brush);
  const dx = snapped(b.x, brush) - ax;
  const dy = snapped(b.y, brush) - ay;
  const long = dx * dx + dy * dy;
  const near = (x, y) => {
    const along = x * dx + y * dy;
    if (along <= 0) return x * x + y * y <= brush * brush;
    if (along >= long) return (x - dx) ** 2 + (y - dy) ** 2 <= brush * brush;
    return (x * dy - y * dx) ** 2 <= brush * brush * long;
  };
  const box = inside(
    {
      x0: Math.floor((Math.min(ax, ax + dx) - brush) / 2),
      y0: Math.floor((Math.min(ay, ay + dy) - brush) / 2),
      x1: Math.ceil((Math.max(ax, ax + dx) + brush) / 2),
      y1: Math.ceil((Math.max(ay, ay + dy) + brush) / 2),
    },
    width,
    height,
  );
  if (!box) return null;
  for (let y = box.y0; y < box.y1; y++) {
    const row = 2 * y + 1;
    const [low, high] = reach(ax, ay, dx, dy, row, brush);
    let first = Math.max(box.x0, Math.floor((low - brush) / 2) - 1);
    let last = Math.min(box.x1, Math.ceil((high + brush) / 2) + 1) - 1;
    // What a moved disc covers is convex: of each row it is one run.
    while (first <= last && !near(2 * first + 1 - ax, row - ay)) first++;
    while (last > first && !near(2 * last + 1 - ax, row - ay)) last--;
    if (first <= last) marks.fill(value, y * width + first, y * width + last + 1);
  }
  return box;
}

/** Where the edges of a polygon cross the height y, from left to right. */
function crossings(corners, y) {
  const found = [];
  for (let i = 0; i < corners.length; i++) {
    const p = corners[i];
    const q = corners[(i + 1) % corners.length];
    // Half open, so that a corner that two edges share counts once.
    if (p.y <= y !== q.y <= y) found.push(p.x + ((y - p.y) * (q.x - p.x)) / (q.y - p.y));
  }
  return found.sort((a, b) => a - b);
}

/** Paints the pixels whose centres lie in a polygon; where it crosses itself, by the even-odd rule. */
export function fillPolygon(marks, width, height, corners, value) {
  if (corners.length < 3) return null;
  const xs = corners.map((p) => p.x);
  const ys = corners.map((p) => p.y);
  // A spread call of very long lassos would exhaust the stack.
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  const box = inside(
    {
      x0: Math.floor(least(xs)),
      y0: Math.floor(least(ys)),
      x1: Math.ceil(most(xs)),
      y1: Math.ceil(most(ys)),
    },
    width,
    height,
  );
  if (!box) return null;
  for (let y = box.y0; y < box.y1; y++) {
    const cuts = crossings(corners, y + 0.5);
    for (let i = 0; i + 1 < cuts.length; i += 2) {
      const first = Math.max(0, Math.ceil(cuts[i] - 0.5));
      const end = Math.min(width, Math.ceil(cuts[i + 1] - 0.5));
      if (first < end) marks.fill(value, y * width + first, y * width + end);
    }
  }
  return box;
}

/**
 * The pixels that can be reached from (x, y) by steps to the left, right, up and down through
 * pixels that `belongs` (a function of a pixel's position in the array), or null.
 *
 * @returns {Region | null}
 */
export function region(width, height, x, y, belongs) {
  if (x < 0 || y < 0 || x >= width || y >= height || !belongs(y * width + x)) return null;
  const runs = runsOf(width, height, (line, start) => {
    for (let i = 0; i < width; i++) line[i] = belongs(start + i) ? 1 : 0;
  });
  return connected(runs, width, height, x, y);
}

/** An array of twice the length that begins with what another holds. */
function grown(array) {
  const larger = new array.constructor(2 * array.length);
  larger.set(array);
  return larger;
}

/**
 * The runs of ones of each row: where they start and end in the array, and how many there are
 * before each row. `draw` fills a row, which is used again: that stays where a processor is fast.
 */
function runsOf(width, height, draw) {
  const line = new Uint8Array(width);
  let starts = new Int32Array(1024);
  let ends = new Int32Array(1024);
  const before = new Int32Array(height + 1);
  let n = 0;
  for (let row = 0; row < height; row++) {
    const start = row * width;
    draw(line, start);
    for (let x = 0; x < width; x++) {
      if (!line[x]) continue;
      if (n === starts.length) [starts, ends] = [grown(starts), grown(ends)];
      starts[n] = start + x;
      while (x < width && line[x]) x++;
      ends[n++] = start + x;
    }
    before[row + 1] = n;
  }
  return { starts, ends, before };
}

/** The first run of a row that ends behind a place of the array, or the first of the next row. */
function runBehind({ ends, before }, row, place) {
  let [low, high] = [before[row], before[row + 1]];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ends[middle] > place) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The region around (x, y): from run to run, so that it costs what the runs are, not the pixels. */
function connected(runs, width, height, x, y) {
  const { starts, ends, before } = runs;
  const waiting = [runBehind(runs, y, y * width + x)];
  const seen = new Uint8Array(before[height]);
  seen[waiting[0]] = 1;
  let taken = new Int32Array(64);
  let { x0, y0, x1, y1 } = { x0: x, y0: y, x1: x, y1: y };
  let [n, size] = [0, 0];
  while (waiting.length) {
    const run = waiting.pop();
    const [start, end] = [starts[run], ends[run]];
    const row = Math.floor(start / width);
    if (n === taken.length) taken = grown(taken);
    taken[n++] = start;
    taken[n++] = end;
    size += end - start;
    x0 = Math.min(x0, start - row * width);
    x1 = Math.max(x1, end - row * width);
    y0 = Math.min(y0, row);
    y1 = Math.max(y1, row + 1);
    for (let beside = row - 1; beside <= row + 1; beside += 2) {
      if (beside < 0 || beside >= height) continue;
      const shift = (beside - row) * width;
      let next = runBehind(runs, beside, start + shift);
      for (; next < before[beside + 1] && starts[next] < end + shift; next++) {
        if (seen[next]) continue;
        seen[next] = 1;
        waiting.push(next);
      }
    }
  }
  return { taken: taken.subarray(0, n), box: { x0, y0, x1, y1 }, size };
}

/**
 * The region around (x, y) whose colour is that of (x, y), give or take `tolerance` in red, green
 * and blue.
 *
 * @param {Uint8ClampedArray} rgba  four bytes a pixel
 */
export function sameColour(rgba, width, height, x, y, tolerance) {
  const words = new Int32Array(rgba.buffer, rgba.byteOffset, width * height); // a read a pixel
  const seed = 4 * (y * width + x);
  const [r0, g0, b0] = rgba.subarray(seed, seed + 3).map((value) => value - tolerance);
  const [r1, g1, b1] = rgba.subarray(seed, seed + 3).map((value) => value + tolerance);
  const runs = runsOf(width, height, (line, start) => {
    for (let i = 0; i < width; i++) {
      const word = words[start + i];
      const [r, g, b] = [word & 255, (word >> 8) & 255, (word >> 16) & 255];
      // Below zero, in the first bit, where one of them is too far: no branch for each pixel.
      line[i] = ~((r - r0) | (r1 - r) | (g - g0) | (g1 - g) | (b - b0) | (b1 - b)) >>> 31;
    }
  });
  return connected(runs, width, height, x, y);
}

/**
 * The proposed object at (x, y): connected pixels of at least `threshold` of 255, and of its class
 * where `kinds` says of which each is; or null.
 */
export function proposedObject(proposal, width, height, x, y, threshold, kinds = null) {
  const kind = kinds?.[y * width + x];
  return region(
    width, height, x, y, (i) => proposal[i] >= threshold && (!kinds || kinds[i] === kind),
  );
}

/** How many pixels of each value, 256 numbers. */
export function countValues(marks) {
  const counts = new Float64Array(256);
  for (let start = 0, end = 0; start < marks.length; start = end) {
    const value = marks[start];
    while (end < marks.length && marks[end] === value) end++;
    counts[value] += end - start;
  }
  return counts;
}

// -- one image under the pen --

/**
 * The marks of one image, with undo and redo without end.
 *
 * Whatever paints leaves its change open until `commit` makes one step of it, or `revert` takes it
 * back. A step keeps what changed of each tile, as runs: a stroke across a large image costs what
 * it touches, not the box around it.
 */
export class Editor {
  #kept; // the marks as they were when the last step ended
  #pending = new Map(); // tiles in which the marks may differ from #kept, by number
  #dirty = null; // the box that was not yet painted on a screen
  #undo = [];
  #redo = [];

  /**
   * @param {number} width
   * @param {number} height
   * @param {Uint8Array} [marks]  copied; without it, nobody said anything
   */
  constructor(width, height, marks) {
    if (marks && marks.length !== width * height) {
      throw new RangeError(`marks must have ${width * height} bytes, got ${marks.length}.`);
    }
    this.width = width;
    this.height = height;
    this.marks = marks ? marks.slice() : new Uint8Array(width * height).fill(OPEN);
    this.#kept = this.marks.slice();
    this.counts = countValues(this.marks);
    this.clip = null; // the box that takes marks; null is all of it
    this.#dirty = this.whole;
  }

  get whole() {
    return { x0: 0, y0: 0, x1: this.width, y1: this.height };
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** How many pixels somebody said something about. */
  get marked() {
    return this.marks.length - this.counts[OPEN];
  }

  /** A stroke through points; a single one is a dot. `OPEN` as value is the eraser. */
  stroke(points, brush, value) {
    for (let i = 0; i < Math.max(1, points.length - 1); i++) {
      const [a, b] = [points[i], points[i + 1] ?? points[i]];
      this.#painted(paintSegment(this.marks, this.width, this.height, a, b, brush, value));
    }
  }

  /** Paints what a function paints in place; it gives the box that it may have changed, or null. */
  paint(shape) {
    this.#painted(shape(this.marks, this.width, this.height));
  }

  polygon(corners, value) {
    this.#painted(fillPolygon(this.marks, this.width, this.height, corners, value));
  }

  /**
   * Paints a region. With `openOnly`, what was said before stays, unless all of the region was
   * said already: then the person has changed their mind about the whole.
   *
   * @param {Region | null} found
   */
  fill(found, value, { openOnly = false } = {}) {
    if (!found) return;
    const { marks, width } = this;
    const box = this.clip ? within(found.box, this.clip) : found.box;
    if (!box) return;
    const runs = [];
    for (let k = 0; k < found.taken.length; k += 2) {
      const row = Math.floor(found.taken[k] / width);
      if (row < box.y0 || row >= box.y1) continue;
      const start = Math.max(found.taken[k], row * width + box.x0);
      const end = Math.min(found.taken[k + 1], row * width + box.x1);
      if (start < end) runs.push(marks.subarray(start, end));
    }
    if (openOnly && runs.some((run) => run.includes(OPEN))) {
      for (const run of runs) {
        for (let i = 0; i < run.length; i++) if (run[i] === OPEN) run[i] = value;
      }
    } else for (const run of runs) run.fill(value);
    this.#painted(box);
  }

  /**
   * Says of each open pixel what is proposed: `value`, or what `kinds` says of it, from `threshold`
   * on, else background; with no proposal, background.
   */
  complete(proposal, threshold, value, kinds = null) {
    for (let i = 0; i < this.marks.length; i++) {
      if (this.marks[i] !== OPEN) continue;
      const is = proposal && proposal[i] >= threshold;
      this.marks[i] = is ? (kinds ? kinds[i] : value) : 0;
    }
    this.#painted(this.whole);
  }

  /** Says one class of all that may be marked. */
  clear(value) {
    this.marks.fill(value);
    this.#painted(this.whole);
  }

  /** Is anything but background marked, where marks are taken? */
  get holdsMore() {
    const { x0, y0, x1, y1 } = this.clip ?? this.whole;
    for (let y = y0; y < y1; y++) {
      const row = this.marks.subarray(y * this.width + x0, y * this.width + x1);
      if (row.some((value) => value !== OPEN && value !== 0)) return true;
    }
    return false;
  }

  /** Puts other marks in place of these. */
  replace(marks) {
    if (marks.length !== this.marks.length) {
      throw new RangeError(`marks must have ${this.marks.length} bytes, got ${marks.length}.`);
    }
    this.marks.set(marks);
    this.#touched(this.whole);
  }

  /** Makes one step of what was painted since the last; false where nothing changed. */
  commit() {
    const { marks, width, counts } = this;
    const parts = [];
    for (const tile of this.#pending.values()) {
      const box = difference(this.#kept, marks, width, tile, counts);
      if (!box) continue;
      parts.push({ box, runs: encodeRuns(crop(this.#kept, width, box)) });
      copy(marks, this.#kept, width, box);
    }
    this.#pending.clear();
    if (!parts.length) return false;
    this.#undo.push(parts);
    this.#redo = [];
    return true;
  }

  /** Takes back what was painted since the last step. */
  revert() {
    for (const tile of this.#pending.values()) {
      copy(this.#kept, this.marks, this.width, tile);
      this.#dirty = around(this.#dirty, tile);
    }
    this.#pending.clear();
  }

  undo() {
    return this.#step(this.#undo, this.#redo);
  }

  redo() {
    return this.#step(this.#redo, this.#undo);
  }

  /** The box that changed since this was last asked, or null. */
  takeDirty() {
    const box = this.#dirty;
    this.#dirty = null;
    return box;
  }

  #step(from, to) {
    this.revert();
    const parts = from.pop();
    if (!parts) return false;
    const { marks, width } = this;
    to.push(parts.map(({ box }) => ({ box, runs: encodeRuns(crop(marks, width, box)) })));
    for (const { box, runs } of parts) {
      const size = (box.x1 - box.x0) * (box.y1 - box.y0);
      paste(marks, width, box, decodeRuns(runs, size));
      difference(this.#kept, marks, width, box, this.counts);
      copy(marks, this.#kept, width, box);
      this.#dirty = around(this.#dirty, box);
    }
    return true;
  }

  /** What was painted beyond the clip is taken back. */
  #painted(box) {
    if (box && this.clip) {
      const { x0, y0, x1, y1 } = this.clip;
      const beyond = [
        { ...box, y1: Math.min(box.y1, y0) },
        { ...box, y0: Math.max(box.y0, y1) },
        { ...box, x1: Math.min(box.x1, x0) },
        { ...box, x0: Math.max(box.x0, x1) },
      ];
      for (const part of beyond) {
        const left = within(part, this.whole);
        if (left) copy(this.#kept, this.marks, this.width, left);
      }
    }
    this.#touched(box);
  }

  /** A box may have changed: its tiles are looked at when the step ends. */
  #touched(box) {
    if (!box) return;
    this.#dirty = around(this.#dirty, box);
    const across = Math.ceil(this.width / TILE);
    for (let row = Math.floor(box.y0 / TILE); row * TILE < box.y1; row++) {
      for (let column = Math.floor(box.x0 / TILE); column * TILE < box.x1; column++) {
        const [x0, y0] = [column * TILE, row * TILE];
        const tile = inside({ x0, y0, x1: x0 + TILE, y1: y0 + TILE }, this.width, this.height);
        this.#pending.set(row * across + column, tile);
      }
    }
  }
}
