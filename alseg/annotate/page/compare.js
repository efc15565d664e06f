/** One image large: itself, what was proposed, what counts, and where the two differ, in numbers. */

import { $ } from "./dom.js";

const SIDE = 640; // pixels of the longer side

/** What is said of a Dice: `{dice, classes, marked}` of the server. */
export function inWords({ dice, classes, marked }) {
  if (dice === null) return "";
  const of = marked < 1 ? `the ${(100 * marked).toPrecision(2)} % that is marked` : "the image";
  const each = classes.map((one) => `${one.name} ${one.dice.toFixed(2)}`).join(", ");
  return `Dice ${dice.toFixed(2)} over ${of}${classes.length > 1 ? ` (${each})` : ""}`;
}

export class Compare {
  #api;
  #grid;
  #act;
  #at = 0;
  #image = null;
  #stop = new AbortController();
  #addresses = [];
  #dialog = $("compare");

  /** @param {{open: Function, closed: Function, tell: Function}} act */
  constructor(api, grid, act) {
    this.#api = api;
    this.#grid = grid;
    this.#act = act;
    this.#dialog.addEventListener("close", () => {
      this.#clear();
      this.#act.closed(this.#at);
    });
    window.addEventListener("keydown", (event) => this.#key(event));
    $("compare-before").addEventListener("click", () => this.show(this.#at - 1));
    $("compare-after").addEventListener("click", () => this.show(this.#at + 1));
    $("compare-open").addEventListener("click", () => this.#act.open(this.#image));
    $("compare-close").addEventListener("click", () => this.close());
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  /** The image at a place of the gallery's list. */
  async show(index) {
    try {
      const image = await this.#grid.at(index);
      if (image && image.state !== "unreadable") await this.#draw(index, image);
    } catch (error) {
      if (error.name !== "AbortError") this.#act.tell(error);
    }
  }

  async #draw(index, image) {
    this.#clear();
    this.#at = index;
    this.#image = image;
    this.#grid.hold(index);
    const { signal } = this.#stop;
    $("compare-title").textContent = image.name;
    $("compare-place").textContent = `${index + 1} of ${this.#grid.total}`;
    $("compare-before").disabled = index === 0;
    $("compare-after").disabled = index === this.#grid.total - 1;
    const marked = image.state === "marked" || image.state === "done";
    const missing = {
      proposal: image.check === "open" ? "Hidden: this is a check" : "Nothing is proposed",
      mask: "Nothing is marked",
      difference: "Needs a mask and a proposal",
    };
    const there = { mask: marked, proposal: image.proposal };
    there.difference = marked && image.proposal;
    if (!this.#dialog.open) {
      this.#dialog.showModal();
      $("compare-open").focus();
    }
    $("compare-dice").textContent = there.difference ? "…" : "";
    const blob = await this.#api.thumbnail(image.id, signal, SIDE);
    if (signal.aborted) return;
    const address = this.#keep(blob);
    await Promise.all(
      [...this.#dialog.querySelectorAll("figure")].map(async (figure) => {
        const { of } = figure.dataset;
        const place = figure.querySelector(".pictures");
        if (missing[of] && !there[of]) {
          place.dataset.missing = missing[of];
          return;
        }
        place.append(picture(address));
        if (of === "image") return;
        const over = await this.#api.overlay(image.id, of, signal, SIDE);
        if (!signal.aborted) place.append(picture(this.#keep(over)));
      }),
    );
    if (!there.difference || signal.aborted) return;
    const found = await this.#api.agreement(image.id, signal);
    if (!signal.aborted) $("compare-dice").textContent = inWords(found);
  }

  #keep(blob) {
    const address = URL.createObjectURL(blob);
    this.#addresses.push(address);
    return address;
  }

  #clear() {
    this.#stop.abort();
    this.#stop = new AbortController();
    for (const address of this.#addresses.splice(0)) URL.revokeObjectURL(address);
    for (const place of this.#dialog.querySelectorAll(".pictures")) {
      place.replaceChildren();
      delete place.dataset.missing;
    }
    $("compare-dice").textContent = "";
  }

  #key(event) {
    if (!this.#dialog.open || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowLeft: () => this.show(this.#at - 1),
      ArrowRight: () => this.show(this.#at + 1),
      c: () => this.close(),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

function picture(address) {
  const image = document.createElement("img");
  image.alt = "";
  image.src = address;
  return image;
}
