/** Where to look: a frame around what the model is least sure of, or the part that is asked. */

import { $ } from "./dom.js";
import { remember, remembered } from "./remembered.js";
import { toScreen } from "./view.js";

const LED = "alseg.frame"; // what a browser remembers

export function attach(desk) {
  return new Look(desk);
}

class Look {
  #desk;

  constructor(desk) {
    this.#desk = desk;
    $("look-led").checked = remembered(LED) !== "no";
    $("look-led").addEventListener("change", () => this.#lead());
    desk.key("w", () => {
      $("look-led").checked = !$("look-led").checked;
      this.#lead();
    });
    desk.on("shown", () => this.#shown());
    desk.on("left", () => this.#show(null));
    desk.on("moved", () => this.#place());
  }

  #lead() {
    remember(LED, $("look-led").checked ? "yes" : "no");
    this.#show(this.#desk.now());
    $("canvas").focus({ preventScroll: true });
  }

  #shown() {
    const now = this.#desk.now();
    const { region } = now.image;
    if (region) {
      const [top, left, height, width] = region;
      now.editor.clip = { x0: left, y0: top, x1: left + width, y1: top + height };
      $("all-means").textContent = now.proposal
        ? "the rest of this part as it is proposed"
        : "the rest of this part is background";
    }
    this.#show(now);
  }

  #show(now) {
    const { region, frame } = now?.image ?? {};
    $("look-row").hidden = !frame || Boolean(region);
    $("region").hidden = !region;
    $("frame").hidden = !frame || Boolean(region) || !$("look-led").checked;
    this.#place();
  }

  #place() {
    const image = this.#desk.now()?.image;
    if (!image) return;
    for (const [id, window] of [["region", image.region], ["frame", image.frame]]) {
      if (!window) continue;
      const { style } = $(id);
      const { x, y, across, down } = this.#onScreen(window);
      style.transform = `translate(${x}px, ${y}px)`;
      style.width = `${across}px`;
      style.height = `${down}px`;
    }
  }

  #onScreen([top, left, height, width]) {
    const { transform, ratio } = this.#desk.view;
    const { x, y } = toScreen(transform, { x: left, y: top });
    const scale = transform.scale / ratio;
    return { x: x / ratio, y: y / ratio, across: width * scale, down: height * scale };
  }
}
