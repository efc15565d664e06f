/**
 * What is seen of an image: zoom, pan, and the tints that lie over the picture.
 *
 * A view maps the image to the canvas: `screen = image * scale + offset`, in the canvas's own
 * pixels (of the device, not of CSS).
 *
 * @typedef {{scale: number, x: number, y: number}} Transform
 * @typedef {import("./editor.js").Box} Box
 */

import { OPEN } from "./editor.js";

const CLOSEST = 64; // screen pixels an image pixel, at most
const MARGIN = 12; // around a whole image, in CSS pixels

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
 * @param {number} proposed  the class that proposals are of
 */
export function palette(classes, proposed) {
  const filled = new Uint32Array(256);
  for (const { value, color } of classes) filled[value] = word(color, 255);
  const color = classes.find(({ value }) => value === proposed)?.color ?? "#ffffff";
  return { filled, inner: word(color, 70), edge: word(color, 254) };
}

/**
 * The tints of a box, one word a pixel.
 *
 * @param {{marks: Uint8Array, width: number, height: number, proposal: Uint8Array | null,
 *   threshold: number}} image
 * @param {Box} box
 * @returns {Uint32Array}
 */
export function tints({ marks, width, height, proposal, threshold }, box, colors) {
  const { filled, inner, edge } = colors;
  const across = box.x1 - box.x0;
  const out = new Uint32Array(across * (box.y1 - box.y0));
  let at = 0;
  for (let y = box.y0; y < box.y1; y++) {
    for (let x = box.x0, i = y * width + x; x < box.x1; x++, i++, at++) {
      if (marks[i] !== OPEN) out[at] = filled[marks[i]];
      else if (proposal && proposal[i] >= threshold) {
        const within =
          x > 0 && proposal[i - 1] >= threshold &&
          x < width - 1 && proposal[i + 1] >= threshold &&
          y > 0 && proposal[i - width] >= threshold &&
          y < height - 1 && proposal[i + width] >= threshold;
        out[at] = within ? inner : edge;
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

/** The picture, its overlay, and where they are on the canvas. */
export class View {
  #context;
  #layer = document.createElement("canvas"); // the overlay, at the size of the image
  #veil = document.createElement("canvas"); // the hatch, at the size of the screen
  #picture = null;
  #image = null;
  #colors = null;
  #stale = null; // the box of the screen to draw anew; true is all of it
  #frame = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.transform = { scale: 1, x: 0, y: 0 };
    this.opacity = 0.5;
    this.hidden = false;
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
    this.fit();
  }

  /** Shows nothing. */
  clear() {
    this.#image = this.#picture = null;
    this.redraw();
  }

  /** Tints a box of the image anew, and draws that part of the screen at the next frame. */
  paint(box) {
    if (!box || !this.#image) return;
    const words = tints(this.#image, box, this.#colors);
    const bytes = new Uint8ClampedArray(words.buffer);
    const across = box.x1 - box.x0;
    this.#layer.getContext("2d").putImageData(new ImageData(bytes, across), box.x0, box.y0);
    this.#wait(screenBox(this.transform, box));
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
    canvas.width = this.#veil.width = width;
    canvas.height = this.#veil.height = height;
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
    const { width, height } = this.canvas;
    const box = this.#stale === true ? { x: 0, y: 0, width, height } : this.#stale;
    this.#stale = null;
    const context = this.#context;
    context.save();
    context.beginPath();
    context.rect(box.x, box.y, box.width, box.height);
    context.clip();
    context.fillStyle = getComputedStyle(this.canvas).backgroundColor;
    context.fillRect(box.x, box.y, box.width, box.height);
    if (this.#image) this.#drawImage(context, box);
    context.restore();
  }

  #drawImage(context, box) {
    this.#part(context, this.#picture, box);
    if (this.hidden) return;
    if (this.hatched) this.#drawHatch(context, box);
    context.globalAlpha = this.opacity;
    this.#part(context, this.#layer, box);
    context.globalAlpha = 1;
  }

  /** The hatch, less what the overlay covers: what nobody said anything about. */
  #drawHatch(context, box) {
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
    this.#part(veil, this.#layer, box);
    veil.restore();
    const at = screenPart(box, this.canvas);
    if (at) context.drawImage(this.#veil, ...at, ...at);
  }

  /** Draws the part of an image that a box of the screen shows. */
  #part(context, source, box) {
    const { scale, x, y } = this.transform;
    const { width, height } = this.#image;
    const x0 = Math.max(0, Math.floor((box.x - x) / scale) - 1);
    const y0 = Math.max(0, Math.floor((box.y - y) / scale) - 1);
    const x1 = Math.min(width, Math.ceil((box.x + box.width - x) / scale) + 1);
    const y1 = Math.min(height, Math.ceil((box.y + box.height - y) / scale) + 1);
    if (x0 >= x1 || y0 >= y1) return;
    context.imageSmoothingEnabled = scale < 1; // from there on, a pixel is a square
    const [across, down] = [x1 - x0, y1 - y0];
    context.drawImage(
      source, x0, y0, across, down, x0 * scale + x, y0 * scale + y, across * scale, down * scale,
    );
  }
}

/** A box of the screen within a canvas, as the arguments of drawImage; or null. */
function screenPart(box, canvas) {
  const [x, y] = [Math.max(0, box.x), Math.max(0, box.y)];
  const width = Math.min(canvas.width, box.x + box.width) - x;
  const height = Math.min(canvas.height, box.y + box.height) - y;
  return width > 0 && height > 0 ? [x, y, width, height] : null;
}
