/** All images as a grid of which only what is seen exists, so that ten thousand scroll as ten do. */

const PAGE = 200; // images a request
const CELL = { width: 168, height: 172 };
const STATES = { skipped: "cannot tell" }; // others are called by their name

/** Which cells of a grid are seen: the first and the one after the last, a row more on each side. */
export function visible(top, height, across, total, cell = CELL) {
  const columns = Math.max(1, Math.floor(across / cell.width));
  const first = Math.max(0, Math.floor(top / cell.height) - 1) * columns;
  const last = (Math.ceil((top + height) / cell.height) + 1) * columns;
  return { columns, first: Math.min(first, total), last: Math.min(last, total) };
}

export class Gallery {
  #api;
  #scroll;
  #cells;
  #open;
  #tell;
  #pages = new Map(); // what was asked for: images, or the promise of them
  #shown = new Map(); // cells that exist, by position
  #total = 0;

  /**
   * @param {{scroll: HTMLElement, cells: HTMLElement}} place
   * @param {(image: import("./api.js").Question) => void} open
   * @param {(error: Error) => void} tell
   */
  constructor(api, { scroll, cells }, open, tell) {
    this.#api = api;
    this.#scroll = scroll;
    this.#cells = cells;
    this.#open = open;
    this.#tell = tell;
    scroll.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(scroll);
  }

  /** Asks anew and shows. @returns {Promise<number>} how many images there are */
  async refresh() {
    this.#pages.clear();
    for (const index of [...this.#shown.keys()]) this.#remove(index);
    const first = await this.#api.gallery(0, PAGE);
    this.#pages.set(0, first.images);
    this.#total = first.total;
    this.#draw();
    return this.#total;
  }

  #draw() {
    const { scrollTop, clientHeight } = this.#scroll;
    const { clientWidth } = this.#cells; // without the padding
    if (!clientHeight) return;
    const seen = visible(scrollTop, clientHeight, clientWidth, this.#total);
    const rows = Math.ceil(this.#total / seen.columns);
    this.#cells.style.height = `${rows * CELL.height}px`;
    for (const index of [...this.#shown.keys()]) {
      if (index < seen.first || index >= seen.last) this.#remove(index);
    }
    for (let index = seen.first; index < seen.last; index++) {
      if (!this.#shown.has(index)) this.#add(index);
      const { cell } = this.#shown.get(index);
      const [row, column] = [Math.floor(index / seen.columns), index % seen.columns];
      const gap = (clientWidth - seen.columns * CELL.width) / 2;
      cell.style.transform =
        `translate(${gap + column * CELL.width}px, ${row * CELL.height}px)`;
    }
  }

  #add(index) {
    const cell = document.createElement("div");
    cell.setAttribute("role", "listitem");
    cell.setAttribute("aria-posinset", index + 1);
    cell.setAttribute("aria-setsize", this.#total);
    cell.className = "cell";
    const shown = { cell, stop: new AbortController(), address: null };
    this.#shown.set(index, shown);
    this.#cells.append(cell);
    this.#fill(index, shown).catch((error) => {
      if (error.name !== "AbortError") this.#tell(error);
    });
  }

  async #fill(index, shown) {
    const image = (await this.#page(Math.floor(index / PAGE)))[index % PAGE];
    if (!image || shown.stop.signal.aborted) return;
    const button = document.createElement("button");
    const picture = document.createElement("img");
    const name = document.createElement("span");
    const state = document.createElement("small");
    button.type = "button";
    button.title = image.name;
    picture.alt = "";
    name.textContent = image.name.split("/").at(-1);
    state.textContent = STATES[image.state] ?? image.state;
    state.dataset.state = image.state;
    button.append(picture, name, state);
    button.addEventListener("click", () => this.#open(image));
    shown.cell.append(button);
    if (image.state === "unreadable") {
      button.disabled = true;
      button.title = image.error;
      return;
    }
    const blob = await this.#api.thumbnail(image.id, shown.stop.signal);
    if (shown.stop.signal.aborted) return;
    shown.address = URL.createObjectURL(blob);
    picture.src = shown.address;
  }

  #page(number) {
    if (!this.#pages.has(number)) {
      const asked = this.#api.gallery(number * PAGE, PAGE).then(({ images }) => images);
      asked.catch(() => this.#pages.delete(number)); // asked again when it is seen again
      this.#pages.set(number, asked);
    }
    return this.#pages.get(number);
  }

  #remove(index) {
    const { cell, stop, address } = this.#shown.get(index);
    stop.abort();
    if (address) URL.revokeObjectURL(address);
    cell.remove();
    this.#shown.delete(index);
  }
}
