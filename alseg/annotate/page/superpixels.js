/** The superpixel under the pointer: shown while its tool is in the hand, filled by the pen. */

import { boxes, cellAt, met, outline, paintCell } from "./cells.js";
import { $ } from "./dom.js";

const COUNTS = [2400, 600, 150]; // about how many of an image, by the slider: from small to large

export function attach(desk) {
  return new Superpixels(desk);
}

class Superpixels {
  #desk;
  #cells = null; // of the image on the desk
  #of = null; // that image, and how many there are
  #label = null; // the one under the pointer

  constructor(desk) {
    this.#desk = desk;
    desk.hand.cell = (editor, from, to) => this.#fill(editor, from, to);
    desk.on("held", () => this.#fetch());
    desk.on("shown", () => this.#fetch());
    desk.on("left", () => this.#forget());
    desk.on("moved", () => this.#place());
    $("cells").addEventListener("input", () => this.#say());
    $("cells").addEventListener("change", () => this.#fetch());
    this.#say();
    const { canvas } = desk.view;
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => this.#show(null));
  }

  #say() {
    $("cells-out").textContent = ["small", "middle", "large"][$("cells").value];
  }

  #forget() {
    this.#cells = this.#of = null;
    this.#show(null);
  }

  /** Asks for those of the image, if the tool is in the hand. */
  async #fetch() {
    const now = this.#desk.now();
    if (!now || this.#desk.hand.tool !== "superpixel") return this.#show(null);
    const of = `${now.image.id} ${$("cells").value}`;
    if (of === this.#of) return undefined;
    this.#forget();
    this.#of = of;
    try {
      const found = await this.#desk.api.superpixels(now.image.id, COUNTS[$("cells").value]);
      if (this.#of === of) this.#cells = { ...found, boxes: boxes(found) };
    } catch (error) {
      if (this.#of === of) this.#of = null;
      this.#desk.say(error.message);
    }
    return undefined;
  }

  /** Fills what the pen meets on its way; false where nothing is known yet. */
  #fill(editor, from, to) {
    if (!this.#cells) {
      this.#desk.say("The superpixels of this image are being worked out.");
      return false;
    }
    const { value } = this.#desk.hand;
    for (const label of met(this.#cells, editor.width, editor.height, from, to)) {
      editor.paint((marks, width, height) =>
        paintCell(marks, width, height, this.#cells, this.#cells.boxes[label], label, value),
      );
    }
    return true;
  }

  #point(event) {
    const now = this.#desk.now();
    if (!now || !this.#cells || this.#desk.hand.tool !== "superpixel" || this.#desk.hand.asking) {
      return;
    }
    const { x, y } = this.#desk.view.locate(event);
    const { width, height } = now.image;
    this.#show(cellAt(this.#cells, width, height, Math.floor(x), Math.floor(y)));
  }

  #show(label) {
    if (label === this.#label) return;
    this.#label = label;
    const path = label === null ? "" : outline(this.#cells, this.#cells.boxes[label], label);
    for (const part of $("cell").children) part.setAttribute("d", path);
    this.#place();
  }

  #place() {
    const now = this.#desk.now();
    if (!now || !this.#cells || this.#label === null) return;
    const { transform, ratio } = this.#desk.view;
    const { across, down } = this.#cells;
    const [a, d] = [now.image.width / across, now.image.height / down];
    const scale = transform.scale / ratio;
    const matrix = [a * scale, 0, 0, d * scale, transform.x / ratio, transform.y / ratio];
    for (const part of $("cell").children) part.setAttribute("transform", `matrix(${matrix})`);
  }
}
