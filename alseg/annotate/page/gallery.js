/** All images as a grid of which only what is seen exists, so that ten thousand scroll as ten do. */

import { Compare } from "./compare.js";
import { $, cut, made } from "./dom.js";
import { follow } from "./predicting.js";

const PAGE = 100; // images a request
const CELL = { width: 176, height: 196 };
const AT_ONCE = 4; // pictures on their way: a browser has six lines to a server, marks need some
const CALM = 120; // milliseconds without scrolling after which pictures are asked for
const STATES = {
  open: ["○", "open"],
  asked: ["?", "asked"],
  marked: ["◐", "marked"],
  done: ["●", "done"],
  skipped: ["–", "cannot tell"],
  check: ["✓", "check"],
  unreadable: ["!", "unreadable"],
};

/** Which cells of a grid are seen: the first and the one after the last, a row more on each side. */
export function visible(top, height, across, total, cell = CELL) {
  const columns = Math.max(1, Math.floor(across / cell.width));
  const first = Math.max(0, Math.floor(top / cell.height) - 1) * columns;
  const last = (Math.ceil((top + height) / cell.height) + 1) * columns;
  return { columns, first: Math.min(first, total), last: Math.min(last, total) };
}

/** Where a key leads in a grid, or null where it is none that moves. */
export function moved(key, at, columns, total, rows) {
  const steps = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
    PageUp: -columns * rows, PageDown: columns * rows, Home: -at, End: total - 1 - at,
  };
  if (!(key in steps) || !total) return null;
  const to = at + steps[key];
  if (to >= 0 && to < total) return to;
  if (key.startsWith("Page")) return Math.max(0, Math.min(total - 1, to));
  // Down from the row before the last, where the last is shorter: to its end.
  const rowOf = (index) => Math.floor(index / columns);
  return key === "ArrowDown" && rowOf(at) < rowOf(total - 1) ? total - 1 : at;
}

/** What is drawn over the thumbnail of an image, or null. */
export function overlaid(image, wanted) {
  const marked = image.state === "marked" || image.state === "done";
  const there = {
    mask: marked,
    proposal: image.proposal,
    difference: marked && image.proposal,
  };
  return image.state !== "unreadable" && there[wanted] ? wanted : null;
}

/** What stands where in a list by uncertainty: an older model is less sure of everything. */
export function ordered({ newest, older, none }) {
  if (!newest && !older) return "No model has looked at these images yet: by name.";
  const parts = [`${newest} by the newest versions of the model`];
  if (older) parts.push(`behind them ${older} by older ones, which are less sure of everything`);
  if (none) parts.push(`${none} not looked at yet`);
  return `${parts.join(", ")}.`;
}

/** Runs few jobs at once, in their order; a job whose signal is aborted meanwhile never begins. */
export class Few {
  #most;
  #waiting = [];
  #running = 0;

  constructor(most) {
    this.#most = most;
  }

  /** @returns {Promise} of what the job gives */
  run(job, signal) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, signal, resolve, reject });
      this.#next();
    });
  }

  #next() {
    while (this.#running < this.#most && this.#waiting.length) {
      const { job, signal, resolve, reject } = this.#waiting.shift();
      if (signal?.aborted) {
        reject(new DOMException("given up", "AbortError"));
        continue;
      }
      this.#running++;
      Promise.resolve()
        .then(job)
        .then(resolve, reject)
        .finally(() => {
          this.#running--;
          this.#next();
        });
    }
  }
}

class Grid {
  #api;
  #scroll = $("gallery-scroll");
  #cells = $("gallery-cells");
  #act;
  #few = new Few(AT_ONCE);
  #pages = new Map(); // {stop, images: promise}, by number
  #shown = new Map(); // cells that exist, by position
  #seen = { columns: 1, first: 0, last: 0 };
  #query = {};
  #total = 0;
  #moved = 0; // when it was scrolled last
  #waits = false;
  #focus = 0; // the cell that Tab leads to
  over = "none";

  /** @param {{open: Function, compare: Function, tell: Function}} act */
  constructor(api, act) {
    this.#api = api;
    this.#act = act;
    this.#scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#cells.addEventListener("keydown", (event) => this.#key(event));
    this.#cells.addEventListener("focusin", (event) => {
      const at = Number(event.target.closest(".cell")?.dataset.index ?? this.#focus);
      this.hold(at);
    });
    new ResizeObserver(() => this.draw()).observe(this.#scroll);
  }

  get total() {
    return this.#total;
  }

  /**
   * Asks anew and shows.
   *
   * @param {{sort: string, state?: string, label?: string, find?: string}} query
   * @param {number} [around]  an image that is to be seen and held, if the list has it
   */
  async refresh(query, around) {
    const same = JSON.stringify(query) === JSON.stringify(this.#query);
    this.#query = query;
    for (const { stop } of this.#pages.values()) stop.abort();
    this.#pages.clear();
    const first = this.#ask(0, around);
    const found = await first.found;
    if (this.#pages.get(0) !== first) return null; // asked anew meanwhile
    for (const index of [...this.#shown.keys()]) this.#remove(index);
    this.#total = found.total;
    this.#focus = Math.min(found.at ?? (same ? this.#focus : 0), Math.max(0, found.total - 1));
    if (!same && found.at === null) this.#scroll.scrollTop = 0;
    this.draw();
    if (found.at !== null) this.#reveal(found.at);
    return found;
  }

  /** Puts the focus on the cell that has it within the grid. */
  focus() {
    this.#reveal(this.#focus);
    this.#button(this.#focus)?.focus({ preventScroll: true });
  }

  /** The image at a place of the list. */
  async at(index) {
    if (index < 0 || index >= this.#total) return null;
    return (await this.#page(Math.floor(index / PAGE)))[index % PAGE];
  }

  draw() {
    const { scrollTop, clientHeight } = this.#scroll;
    const { clientWidth } = this.#cells; // without the padding
    if (!clientHeight) return;
    const seen = visible(scrollTop, clientHeight, clientWidth, this.#total);
    this.#seen = seen;
    this.#cells.style.height = `${Math.ceil(this.#total / seen.columns) * CELL.height}px`;
    const focused = this.#shown.get(this.#focus)?.cell.contains(document.activeElement);
    for (const index of [...this.#shown.keys()]) {
      const out = index < seen.first || index >= seen.last;
      if (out && !(focused && index === this.#focus)) this.#remove(index);
    }
    const gap = (clientWidth - seen.columns * CELL.width) / 2;
    for (let index = seen.first; index < seen.last; index++) {
      if (!this.#shown.has(index)) this.#add(index);
    }
    for (const [index, { cell }] of this.#shown) {
      const [row, column] = [Math.floor(index / seen.columns), index % seen.columns];
      cell.style.transform = `translate(${gap + column * CELL.width}px, ${row * CELL.height}px)`;
    }
    for (const [number, { stop }] of this.#pages) {
      const [start, end] = [number * PAGE, (number + 1) * PAGE];
      if (number && (end <= seen.first || start >= seen.last)) {
        stop.abort(); // nothing of it is seen any more
        this.#pages.delete(number);
      }
    }
  }

  #scrolled() {
    this.#moved = performance.now();
    if (this.#waits) return;
    this.#waits = true; // once a frame
    requestAnimationFrame(() => {
      this.#waits = false;
      this.draw();
    });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = Math.max(1, Math.floor(this.#scroll.clientHeight / CELL.height));
    const to = moved(event.key, this.#focus, this.#seen.columns, this.#total, rows);
    if (to === null) return;
    event.preventDefault();
    this.hold(to);
    this.#reveal(to);
    this.#button(to)?.focus({ preventScroll: true });
  }

  /** Makes a cell the one that Tab leads to. */
  hold(index) {
    const before = this.#button(this.#focus);
    if (before) before.tabIndex = -1;
    this.#focus = index;
    const now = this.#button(index);
    if (now) now.tabIndex = 0;
  }

  #button(index) {
    return this.#shown.get(index)?.cell.querySelector("button.image");
  }

  #reveal(index) {
    const top = Math.floor(index / this.#seen.columns) * CELL.height;
    const { scrollTop, clientHeight } = this.#scroll;
    if (top < scrollTop) this.#scroll.scrollTop = top;
    if (top + CELL.height > scrollTop + clientHeight) {
      this.#scroll.scrollTop = top + CELL.height - clientHeight;
    }
    this.draw();
  }

  #add(index) {
    const cell = document.createElement("div");
    cell.setAttribute("role", "listitem");
    cell.setAttribute("aria-posinset", index + 1);
    cell.setAttribute("aria-setsize", this.#total);
    cell.dataset.index = index;
    cell.className = "cell";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "image";
    button.tabIndex = index === this.#focus ? 0 : -1;
    button.setAttribute("aria-label", `Image ${index + 1}`);
    cell.append(button);
    const shown = { cell, stop: new AbortController(), addresses: [] };
    this.#shown.set(index, shown);
    this.#cells.append(cell);
    this.#fill(index, shown).catch((error) => {
      if (error.name !== "AbortError") this.#act.tell(error);
    });
  }

  async #fill(index, shown) {
    const image = await this.at(index);
    const { signal } = shown.stop;
    if (!image || signal.aborted) return;
    const button = shown.cell.firstChild;
    const [mark, usual] = STATES[image.state] ?? ["", image.state];
    const word = image.ruled ? "by rule" : usual; // its class label says that it holds nothing
    const pictures = made("span", "pictures");
    const state = made("small", "state", `${mark} ${word}`);
    state.dataset.state = image.state;
    button.append(pictures);
    if (image.folder) button.append(cut("folder", image.folder)); // another's name ends alike
    button.append(cut("name", image.name.split("/").at(-1)), state);
    const said = [image.name, word];
    if (image.check) {
      pictures.append(made("small", "check", `${STATES.check[0]} check`));
      said.push("check");
    }
    if (image.uncertainty !== null) {
      const share = made("meter", "uncertainty");
      share.value = image.uncertainty;
      share.setAttribute("aria-hidden", "true");
      button.append(share);
      share.classList.toggle("older", Boolean(image.older));
      said.push(`uncertainty ${image.uncertainty.toFixed(2)}${image.older ? ", to an older model" : ""}`);
    }
    button.title = said.join(", ");
    button.setAttribute("aria-label", button.title);
    if (image.state === "unreadable") {
      button.setAttribute("aria-disabled", "true");
      button.title = image.error;
      return;
    }
    button.addEventListener("click", () => this.#act.open(image));
    if (overlaid(image, "mask") || overlaid(image, "proposal")) {
      const compare = made("button", "compare");
      compare.append($("compare-icon").content.cloneNode(true));
      compare.type = "button";
      compare.tabIndex = -1; // by key: C
      compare.title = "Compare image, proposal and mask (C)";
      compare.setAttribute("aria-label", `Compare ${image.name}`);
      compare.addEventListener("click", () => this.#act.compare(index));
      shown.cell.append(compare);
    }
    await this.#picture(shown, pictures, "thumb", (stop) => this.#api.thumbnail(image.id, stop));
    const over = overlaid(image, this.over);
    if (!over) return;
    await this.#picture(shown, pictures, "over", (stop) => this.#api.overlay(image.id, over, stop));
  }

  async #picture({ stop: { signal }, addresses }, place, name, ask) {
    while (performance.now() - this.#moved < CALM) {
      await new Promise((resolve) => setTimeout(resolve, CALM));
      if (signal.aborted) return;
    }
    const blob = await this.#few.run(() => ask(signal), signal);
    if (signal.aborted) return;
    const picture = made("img", name);
    picture.alt = "";
    picture.decoding = "async";
    picture.src = URL.createObjectURL(blob);
    addresses.push(picture.src);
    place.append(picture);
  }

  #page(number) {
    return (this.#pages.get(number) ?? this.#ask(number)).images;
  }

  #ask(number, around) {
    const stop = new AbortController();
    const found = this.#api.gallery(number * PAGE, PAGE, { ...this.#query, around }, stop.signal);
    const asked = { stop, found, images: found.then(({ images }) => images) };
    this.#pages.set(number, asked);
    asked.images.catch(() => {
      if (this.#pages.get(number) === asked) this.#pages.delete(number); // asked again when seen
    });
    return asked;
  }

  #remove(index) {
    const { cell, stop, addresses } = this.#shown.get(index);
    stop.abort();
    for (const address of addresses) URL.revokeObjectURL(address);
    cell.remove();
    this.#shown.delete(index);
  }

  get held() {
    return this.#focus;
  }
}

/** The gallery of the page: its head, its grid, and the view that compares. */
class Gallery {
  #desk;
  #grid;
  #compare;
  #image; // that was opened from here last, or was on the desk
  #timer;

  constructor(desk) {
    this.#desk = desk;
    const tell = (error) => desk.say(error.message);
    this.#grid = new Grid(desk.api, {
      open: (image) => this.#mark(image),
      compare: (index) => this.#compare.show(index),
      tell,
    });
    this.#compare = new Compare(desk.api, this.#grid, {
      open: (image) => this.#mark(image),
      closed: (index) => {
        this.#grid.hold(index); // the browser has put the focus where it was before
        this.#grid.focus();
      },
      tell,
    });
    follow(desk);
    desk.key("g", () => this.#open());
    desk.on("project", ({ labels }) => this.#labels(labels));
    desk.on("shown", ({ image }) => (this.#image = image.id));
    desk.on("reopening", () => this.#close());
    this.#listen();
  }

  #listen() {
    for (const id of ["open-gallery", "finished-gallery"]) {
      $(id).addEventListener("click", () => this.#open());
    }
    $("close-gallery").addEventListener("click", () => this.#close());
    const anew = () => this.#refresh();
    for (const id of ["gallery-state", "gallery-label", "gallery-sort"]) {
      $(id).addEventListener("change", anew);
    }
    $("gallery-find").addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(anew, 150);
    });
    $("gallery-over").addEventListener("change", () => {
      this.#grid.over = $("gallery-over").value;
      this.#legend();
      anew();
    });
    window.addEventListener("keydown", (event) => this.#key(event));
  }

  get #isOpen() {
    return !$("gallery").hidden && !document.querySelector("dialog[open]");
  }

  #key(event) {
    if (!this.#isOpen || event.defaultPrevented) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (target instanceof Element && target.matches("input, select")) {
      if (event.key !== "Escape" && !(event.key === "ArrowDown" && target.matches("input"))) return;
      event.preventDefault();
      this.#grid.focus();
      return;
    }
    const acts = {
      escape: () => this.#close(),
      g: () => this.#close(),
      c: () => this.#compare.show(this.#grid.held),
      o: () => this.#over(),
      "/": () => $("gallery-find").focus(),
      "?": () => $("keys").showModal(),
    };
    const act = acts[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** The next of what may lie over the thumbnails. */
  #over() {
    const choice = $("gallery-over");
    choice.selectedIndex = (choice.selectedIndex + 1) % choice.options.length;
    choice.dispatchEvent(new Event("change"));
    this.#desk.say(`Over the images: ${choice.selectedOptions[0].text.toLowerCase()}`);
  }

  #legend() {
    $("gallery-legend").hidden = $("gallery-over").value !== "difference";
  }

  #labels(labels) {
    const chosen = $("gallery-label").value;
    $("gallery-label-row").hidden = !labels.length;
    $("gallery-label").replaceChildren(
      new Option("Any class", "any"),
      ...labels.map((label) => new Option(label, `is ${label}`)),
      new Option("No class", "is "),
    );
    if ([...$("gallery-label").options].some(({ value }) => value === chosen)) {
      $("gallery-label").value = chosen;
    }
  }

  #query() {
    const query = { sort: $("gallery-sort").value };
    const [state, label, find] = ["state", "label", "find"].map((id) => $(`gallery-${id}`).value);
    if (state !== "all") query.state = state;
    if (label.startsWith("is ")) query.label = label.slice(3);
    if (find.trim()) query.find = find.trim();
    return query;
  }

  async #refresh(around) {
    try {
      const found = await this.#grid.refresh(this.#query(), around);
      if (found) this.#counts(found);
      return found;
    } catch (error) {
      if (error.name !== "AbortError") this.#desk.say(error.message);
      return null;
    }
  }

  /** How many of each state stand beside its name, among those that the rest leaves. */
  #counts({ total, all, counts, looked }) {
    for (const option of $("gallery-state").options) {
      const [mark, word] = STATES[option.value] ?? ["", "All"];
      option.text = `${mark} ${word} (${counts[option.value] ?? all})`.trim();
    }
    $("gallery-count").textContent = total === all ? `${all}` : `${total} of ${all}`;
    $("gallery-none").hidden = total > 0;
    const order = $("gallery-sort").value === "uncertainty" ? ordered(looked) : "";
    $("gallery-order").textContent = order;
    $("gallery-order").hidden = !order;
  }

  async #open() {
    $("desk").hidden = true;
    $("gallery").hidden = false;
    $("gallery-find").focus();
    const found = await this.#refresh(this.#image);
    if (found?.total && $("gallery-find") === document.activeElement) this.#grid.focus();
  }

  #close() {
    if ($("gallery").hidden) return;
    $("gallery").hidden = true;
    $("desk").hidden = false;
    $("canvas").focus({ preventScroll: true });
  }

  #mark(image) {
    this.#image = image.id;
    this.#compare.close();
    this.#desk.reopen(image.id);
  }
}

export function attach(desk) {
  return new Gallery(desk);
}
