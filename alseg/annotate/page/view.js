/**
 * What is seen of an image: zoom, pan, and the tints that lie over the picture.
 *
 * A view maps the image to the canvas: `screen = image * scale + offset`, in the canvas's own
 * pixels (of the device, not of CSS).
 *
 * @typedef {{scale: number, x: number, y: number}} Transform
 * @typedef {import("./editor.js").Box} Box
 */

import { OPEN, around, inside } from "./editor.js";

const CLOSEST = 64; // screen pixels an image pixel, at most
const MARGIN = 12; // around a whole image, in CSS pixels
const AT_ONCE = 400_000; // pixels of the overlay that are tinted in one go
const SLICE = 6; // milliseconds of a frame for what is left of a larger part

// -- arithmetic: no document --

/** The whole image in the middle of a canvas. */
export function fitted(width, height, across, down, margin = 0) {
  const scale = Math.max(
    Math.min((across - 2 * margin) / width, (down - 2 * margin) / height, CLOSEST),
    1e-3,
  );
  return { scale, x: (across - width * scale) / 2, y: (down - height * scale) / 2 };
}

/** Zooms so that what is under (x, y) of the screen stays there. */
export function zoomed(transform, x, y, factor, least = 1e-3) {
  const scale = Math.min(CLOSEST, Math.max(least, transform.scale * factor));
  const ratio = scale / transform.scale;
  return { scale, x: x - (x - transform.x) * ratio, y: y - (y - transform.y) * ratio };
}

export function toImage({ scale, x, y }, point) {
  return { x: (point.x - x) / scale, y: (point.y - y) / scale };
}

export function toScreen({ scale, x, y }, point) {
  return { x: point.x * scale + x, y: point.y * scale + y };
}

/** "#rrggbb" and an opacity as one word of ImageData (little-endian, as each browser's machine). */
export function word(color, alpha) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/**
 * The colours of the overlay: marks are filled, proposals are outlined, what is open is clear.
 *
 * @param {{value: number, color: string}[]} classes
 * @param {number} proposed  the class that proposals are of, where they are of one
 */
export function palette(classes, proposed) {
  const filled = new Uint32Array(256);
  for (const { value, color } of classes) filled[value] = word(color, 255);
  const [inner, edge] = [new Uint32Array(256), new Uint32Array(256)];
  for (const { value, color } of [{ value: proposed, color: "#ffffff" }, ...classes]) {
    [inner[value], edge[value]] = [word(color, 70), word(color, 254)];
  }
  return { filled, inner, edge, proposed };
}

/**
 * The tints of a box, one word a pixel.
 *
 * @param {{marks: Uint8Array, width: number, height: number, proposal: Uint8Array | null,
 *   kinds?: Uint8Array | null, threshold: number}} image  `kinds` are the classes of a proposal
 * @param {Box} box
 * @param {number} [step]  every which pixel, in both directions: what a small screen shows
 * @returns {Uint32Array}
 */
export function tints({ marks, width, height, proposal, kinds, threshold }, box, colors, step = 1) {
  const { filled, inner, edge, proposed } = colors;
  const same = kinds
    ? (i, kind) => proposal[i] >= threshold && kinds[i] === kind
    : (i) => proposal[i] >= threshold;
  const across = Math.ceil((box.x1 - box.x0) / step);
  const out = new Uint32Array(across * Math.ceil((box.y1 - box.y0) / step));
  const below = step * width;
  let at = 0;
  for (let y = box.y0; y < box.y1; y += step) {
    for (let x = box.x0, i = y * width + x; x < box.x1; x += step, i += step, at++) {
      if (marks[i] !== OPEN) out[at] = filled[marks[i]];
      else if (proposal && proposal[i] >= threshold) {
        const kind = kinds ? kinds[i] : proposed;
        const within =
          x >= step && same(i - step, kind) &&
          x < width - step && same(i + step, kind) &&
          y >= step && same(i - below, kind) &&
          y < height - step && same(i + below, kind);
        out[at] = within ? inner[kind] : edge[kind];
      }
    }
  }
  return out;
}

/** The box of whole screen pixels that shows a box of the image, one pixel wider on each side. */
export function screenBox(transform, box) {
  const low = toScreen(transform, { x: box.x0, y: box.y0 });
  const high = toScreen(transform, { x: box.x1, y: box.y1 });
  const [x, y] = [Math.floor(low.x) - 1, Math.floor(low.y) - 1];
  return { x, y, width: Math.ceil(high.x) + 1 - x, height: Math.ceil(high.y) + 1 - y };
}

// -- the canvas --

/** Lines from lower left to upper right, for pixels about which nobody said anything. */
function hatch(context, ratio) {
  const size = Math.round(14 * ratio);
  const tile = new OffscreenCanvas(size, size);
  const pen = tile.getContext("2d");
  pen.lineWidth = ratio;
  // A dark and a light line side by side: one of them is seen on any picture.
  for (const [shift, color] of [[0, "rgba(255,255,255,.22)"], [ratio, "rgba(0,0,0,.16)"]]) {
    pen.strokeStyle = color;
    pen.beginPath();
    for (const start of [-size, 0, size]) {
      pen.moveTo(start + shift - 1, size + 1);
      pen.lineTo(start + shift + size + 1, -1);
    }
    pen.stroke();
  }
  return context.createPattern(tile, "repeat");
}

/**
 * The picture, its overlay, and where they are on the screen.
 *
 * The picture has a canvas of its own below that of the overlay: a stroke leaves it alone, and what
 * CSS makes of its brightness does not touch the marks.
 */
export class View {
  #context;
  #under = document.createElement("canvas"); // the picture
  #layer = document.createElement("canvas"); // the overlay, at the size of the image
  #veil = document.createElement("canvas"); // the hatch, at the size of the screen
  #sample = document.createElement("canvas"); // the overlay at the size of the screen
  #step = 1; // pixels of the image from one of the sample to the next
  #picture = null;
  #image = null;
  #colors = null;
  #late = null; // the box of the image that is not yet tinted: it is shown as sampled
  #moved = true; // the picture is to be drawn anew too
  #stale = null; // the box of the screen to draw anew; true is all of it
  #frame = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.#under.className = "picture";
    this.#under.ariaHidden = true;
    canvas.before(this.#under);
    this.transform = { scale: 1, x: 0, y: 0 };
    this.opacity = 0.5;
    this.hidden = false; // while a key is held
    this.plain = false; // for longer: nothing lies over the picture
    this.hatched = true;
    this.onMove = () => {};
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  get ratio() {
    return window.devicePixelRatio || 1;
  }

  /**
   * Shows an image.
   *
   * @param {ImageBitmap} picture
   * @param {object} image  what `tints` takes; read anew whenever a box is painted
   */
  show(picture, image, colors) {
    this.#picture = picture;
    this.#image = image;
    this.#colors = colors;
    this.#layer.width = image.width;
    this.#layer.height = image.height;
    this.#late = null;
    this.fit();
  }

  /** Shows nothing. */
  clear() {
    this.#image = this.#picture = this.#late = null;
    this.#moved = true;
    this.redraw();
  }

  /** Shows another picture of the same image. */
  replace(picture) {
    this.#picture = picture;
    this.#moved = true;
    this.redraw();
  }

  /** Shows the marks in other colours. */
  recolour(colors) {
    this.#colors = colors;
    this.paint(this.#image && { x0: 0, y0: 0, x1: this.#image.width, y1: this.#image.height });
  }

  /** What CSS makes of the picture, and of nothing else. */
  set filter(value) {
    this.#under.style.filter = value;
  }

  get filter() {
    return this.#under.style.filter;
  }

  /**
   * Tints a box of the image anew, and draws that part of the screen at the next frame; a large
   * one as the screen needs it at once, and the rest of its pixels in the frames that follow.
   */
  paint(box) {
    if (!box || !this.#image) return;
    const large = (box.x1 - box.x0) * (box.y1 - box.y0) > AT_ONCE;
    if (large) this.#late = around(this.#late, box);
    else this.#tint(this.#layer, box, box.x0, box.y0);
    this.#wait(screenBox(this.transform, box));
  }

  #tint(canvas, box, x, y, step = 1) {
    const words = tints(this.#image, box, this.#colors, step);
    const across = Math.ceil((box.x1 - box.x0) / step);
    const pixels = new ImageData(new Uint8ClampedArray(words.buffer), across);
    canvas.getContext("2d").putImageData(pixels, x, y);
  }

  /** Tints more of what is late, for as long as a frame has time for it. */
  #catchUp() {
    const start = performance.now();
    while (this.#late && performance.now() - start < SLICE) {
      const { x0, y0, x1, y1 } = this.#late;
      const end = Math.min(y1, y0 + Math.ceil(AT_ONCE / 4 / (x1 - x0)));
      this.#tint(this.#layer, { x0, y0, x1, y1: end }, x0, y0);
      this.#late = end < y1 ? { x0, y0: end, x1, y1 } : null;
    }
    if (this.#late) this.#frame ||= requestAnimationFrame(() => this.#draw());
    else this.redraw();
  }

  /** Draws everything at the next frame. */
  redraw() {
    this.#wait(true);
  }

  fit() {
    if (!this.#image) return;
    const { width, height } = this.#image;
    const { canvas } = this;
    this.move(fitted(width, height, canvas.width, canvas.height, MARGIN * this.ratio));
  }

  zoom(x, y, factor) {
    if (!this.#image) return;
    const { width, height } = this.#image;
    const whole = fitted(width, height, this.canvas.width, this.canvas.height);
    this.move(zoomed(this.transform, x, y, factor, whole.scale / 2));
  }

  pan(dx, dy) {
    this.move({ ...this.transform, x: this.transform.x + dx, y: this.transform.y + dy });
  }

  move(transform) {
    this.transform = transform;
    this.#moved = true;
    this.redraw();
    this.onMove();
  }

  /** Where an event of a pointer is, in pixels of the canvas. */
  position(event) {
    const frame = this.canvas.getBoundingClientRect();
    return {
      x: (event.clientX - frame.left) * this.ratio,
      y: (event.clientY - frame.top) * this.ratio,
    };
  }

  /** Where an event of a pointer is, in pixels of the image. */
  locate(event) {
    return toImage(this.transform, this.position(event));
  }

  #resize() {
    const { canvas } = this;
    const width = Math.max(1, Math.round(canvas.clientWidth * this.ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * this.ratio));
    if (width === canvas.width && height === canvas.height) return;
    canvas.width = this.#veil.width = this.#under.width = width;
    canvas.height = this.#veil.height = this.#under.height = height;
    this.#moved = true;
    this.redraw();
    this.fit();
  }

  #wait(box) {
    const old = this.#stale;
    if (box === true || old === true) this.#stale = true;
    else if (!old) this.#stale = box;
    else {
      const [x, y] = [Math.min(old.x, box.x), Math.min(old.y, box.y)];
      this.#stale = {
        x,
        y,
        width: Math.max(old.x + old.width, box.x + box.width) - x,
        height: Math.max(old.y + old.height, box.y + box.height) - y,
      };
    }
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    if (this.#moved) this.#drawPicture();
    if (this.#stale) this.#drawOverlay();
    if (this.#late) this.#catchUp();
  }

  #drawPicture() {
    this.#moved = false;
    const { width, height } = this.#under;
    const context = this.#under.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (this.#image) this.#part(context, this.#picture, { x: 0, y: 0, width, height });
  }

  #drawOverlay() {
    const { width, height } = this.canvas;
    const box = this.#stale === true ? { x: 0, y: 0, width, height } : this.#stale;
    this.#stale = null;
    const context = this.#context;
    context.save();
    context.beginPath();
    context.rect(box.x, box.y, box.width, box.height);
    context.clip();
    context.clearRect(box.x, box.y, box.width, box.height);
    if (this.#image && !this.hidden && !this.plain) {
      const overlay = this.#late ? this.#sampled(box) : this.#layer;
      if (this.hatched) this.#drawHatch(context, overlay, box);
      context.globalAlpha = this.opacity;
      this.#part(context, overlay, box);
    }
    context.restore();
  }

  /** The overlay of what a box of the screen shows, tinted for it alone. */
  #sampled(box) {
    const seen = this.#seen(box);
    if (!seen) return this.#layer;
    const step = Math.max(1, Math.floor(this.ratio / this.transform.scale));
    this.#step = step;
    this.#sample.width = Math.ceil((seen.x1 - seen.x0) / step);
    this.#sample.height = Math.ceil((seen.y1 - seen.y0) / step);
    this.#tint(this.#sample, seen, 0, 0, step);
    return this.#sample;
  }

  /** The hatch, less what the overlay covers: what nobody said anything about. */
  #drawHatch(context, overlay, box) {
    const veil = this.#veil.getContext("2d");
    veil.save();
    veil.beginPath();
    veil.rect(box.x, box.y, box.width, box.height);
    veil.clip();
    veil.clearRect(box.x, box.y, box.width, box.height);
    const { width, height } = this.#image;
    const { x, y, scale } = this.transform;
    veil.fillStyle = this.pattern ??= hatch(veil, this.ratio);
    veil.fillRect(x, y, width * scale, height * scale);
    veil.globalCompositeOperation = "destination-out";
    this.#part(veil, overlay, box);
    veil.restore();
    const at = screenPart(box, this.canvas);
    if (at) context.drawImage(this.#veil, ...at, ...at);
  }

  /** The box of the image that a box of the screen shows, or null. */
  #seen(box) {
    const { scale, x, y } = this.transform;
    const { width, height } = this.#image;
    return inside(
      {
        x0: Math.floor((box.x - x) / scale) - 1,
        y0: Math.floor((box.y - y) / scale) - 1,
        x1: Math.ceil((box.x + box.width - x) / scale) + 1,
        y1: Math.ceil((box.y + box.height - y) / scale) + 1,
      },
      width,
      height,
    );
  }

  /** Draws the part of the picture or of the overlay that a box of the screen shows. */
  #part(context, source, box) {
    const seen = this.#seen(box);
    if (!seen) return;
    const { scale, x, y } = this.transform;
    let [across, down] = [seen.x1 - seen.x0, seen.y1 - seen.y0];
    context.imageSmoothingEnabled = scale < 1; // from there on, a pixel is a square
    const at = [seen.x0 * scale + x, seen.y0 * scale + y];
    if (source === this.#sample) {
      [across, down] = [source.width * this.#step, source.height * this.#step];
      context.drawImage(source, ...at, across * scale, down * scale);
      return;
    }
    context.drawImage(source, seen.x0, seen.y0, across, down, ...at, across * scale, down * scale);
  }
}

/** A box of the screen within a canvas, as the arguments of drawImage; or null. */
function screenPart(box, canvas) {
  const [x, y] = [Math.max(0, box.x), Math.max(0, box.y)];
  const width = Math.min(canvas.width, box.x + box.width) - x;
  const height = Math.min(canvas.height, box.y + box.height) - y;
  return width > 0 && height > 0 ? [x, y, width, height] : null;
}
