/**
 * Superpixels at a reduced size, and what of the image each covers: no document, no network.
 *
 * A pixel of the image belongs to the superpixel of the place that its centre falls into.
 *
 * @typedef {{labels: Uint16Array, across: number, down: number}} Cells
 */

/** The range [first, end) of `n` pixels whose centres fall into place `at` of `small`. */
export function covered(at, small, n) {
  const first = Math.ceil((at * n) / small - 0.5);
  const end = Math.ceil(((at + 1) * n) / small - 0.5);
  return [Math.max(0, first), Math.min(n, end)];
}

/** The place of `small` that the centre of a pixel of `n` falls into. */
function place(pixel, small, n) {
  return Math.min(small - 1, Math.floor(((pixel + 0.5) * small) / n));
}

/** The superpixel at a pixel of an image, or null beyond its edge. */
export function cellAt({ labels, across, down }, width, height, x, y) {
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  return labels[place(y, down, height) * across + place(x, across, width)];
}

/** The superpixels on the way from one place of the image to another. */
export function met(cells, width, height, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const steps = Math.max(1, Math.ceil((Math.hypot(dx, dy) * cells.across) / width));
  const found = new Set();
  for (let step = 0; step <= steps; step++) {
    const x = Math.floor(from.x + (dx * step) / steps);
    const y = Math.floor(from.y + (dy * step) / steps);
    const label = cellAt(cells, width, height, x, y);
    if (label !== null) found.add(label);
  }
  return found;
}

/** The box around each superpixel, in places. */
export function boxes({ labels, across }) {
  const found = [];
  for (let i = 0; i < labels.length; i++) {
    const [x, y] = [i % across, Math.floor(i / across)];
    const box = (found[labels[i]] ??= { x0: x, y0: y, x1: x + 1, y1: y + 1 });
    if (x < box.x0) box.x0 = x;
    if (x >= box.x1) box.x1 = x + 1;
    box.y1 = y + 1;
  }
  return found;
}

/** Paints what a superpixel covers, and gives the box of the image that may have changed. */
export function paintCell(marks, width, height, { labels, across, down }, box, label, value) {
  const [x0] = covered(box.x0, across, width);
  const [, x1] = covered(box.x1 - 1, across, width);
  const [y0] = covered(box.y0, down, height);
  const [, y1] = covered(box.y1 - 1, down, height);
  for (let y = y0; y < y1; y++) {
    const row = place(y, down, height) * across;
    for (let x = x0; x < x1; x++) {
      if (labels[row + place(x, across, width)] === label) marks[y * width + x] = value;
    }
  }
  return x0 < x1 && y0 < y1 ? { x0, y0, x1, y1 } : null;
}

/** The edges of a superpixel as a path of SVG, in places. */
export function outline({ labels, across, down }, box, label) {
  const within = (x, y) =>
    x >= 0 && y >= 0 && x < across && y < down && labels[y * across + x] === label;
  const parts = [];
  for (let y = box.y0; y < box.y1; y++) {
    for (let x = box.x0; x < box.x1; x++) {
      if (!within(x, y)) continue;
      if (!within(x, y - 1)) parts.push(`M${x} ${y}h1`);
      if (!within(x, y + 1)) parts.push(`M${x} ${y + 1}h1`);
      if (!within(x - 1, y)) parts.push(`M${x} ${y}v1`);
      if (!within(x + 1, y)) parts.push(`M${x + 1} ${y}v1`);
    }
  }
  return parts.join("");
}
