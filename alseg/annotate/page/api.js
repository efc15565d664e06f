/**
 * The server's side: requests with the token, raw bytes, drafts that save themselves.
 *
 * @typedef {{id: number, name: string, label: string | null, width: number, height: number,
 *   why: string, revision: number, state: string, proposal: boolean}} Question
 */

/** The server refused; `status` says how, the message why. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Another page saved this image since; nothing was overwritten. */
export class Stale extends Refused {
  constructor(message, revision) {
    super(409, message);
    this.revision = revision;
  }
}

export class Api {
  #token;
  #fetch;
  #page = Math.random().toString(36).slice(2); // of several pages the server tells this one by it
  shown = () => ""; // the query of an image's picture: what of it is shown

  /** @param {string} token  of the page's address */
  constructor(token, fetcher = (...request) => fetch(...request)) {
    this.#token = token;
    this.#fetch = fetcher;
  }

  project() {
    return this.#json("project");
  }

  /** The next question, or null when there is none; asking ahead changes nothing. */
  async next(after) {
    const found = await this.#json(after === undefined ? "next" : `next?after=${after}`);
    return found.done ? null : found;
  }

  image(id) {
    return this.#json(`images/${id}`);
  }

  async picture(id, query = "") {
    return (await this.#ask(`images/${id}/picture${query && "?"}${query}`)).blob();
  }

  async thumbnail(id, signal, side = 192) {
    return (await this.#ask(`images/${id}/thumbnail?side=${side}`, { signal })).blob();
  }

  /** @param {"mask" | "proposal" | "difference"} of */
  async overlay(id, of, signal, side = 192) {
    return (await this.#ask(`images/${id}/overlay?of=${of}&side=${side}`, { signal })).blob();
  }

  /** Dice of the proposal against what is marked: {dice, classes, marked}. */
  agreement(id, signal) {
    return this.#json(`images/${id}/agreement`, { signal });
  }

  async marks(id) {
    const answer = await this.#ask(`images/${id}/marks`);
    return {
      bytes: new Uint8Array(await answer.arrayBuffer()),
      revision: Number(answer.headers.get("X-Alseg-Revision")),
      draft: answer.headers.get("X-Alseg-Draft") === "1",
    };
  }

  /** Probability of foreground, 0 to 255 a pixel; null where nothing is proposed. */
  async proposal(id) {
    return (await this.proposed(id))?.bytes ?? null;
  }

  /** The same with the version of the model; behind it the likeliest class where there are more. */
  async proposed(id) {
    try {
      const answer = await this.#ask(`images/${id}/proposal`);
      const bytes = new Uint8Array(await answer.arrayBuffer());
      return { bytes, version: Number(answer.headers.get("X-Alseg-Version") ?? 0) };
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  /**
   * Rows and columns of pixels to be asked about; the last `unsure` are no fair sample, and of those
   * whose numbers are in `unknown` somebody has said that nobody can tell.
   */
  points(id, n, unsure = 0) {
    return this.#json(`images/${id}/points?n=${n}&unsure=${unsure}`);
  }

  /** Says that nobody can tell a pixel, also from a page that closes; `told` takes it back. */
  untold({ id, revision }, [row, column], told = false) {
    const put = sent("PUT", { revision, row, column, told });
    return this.#ask(`images/${id}/untold`, { ...put, keepalive: true });
  }

  /** Superpixels at a reduced size, about `n` of them: the label of each place. */
  async superpixels(id, n) {
    const answer = await this.#ask(`images/${id}/superpixels?n=${n}`);
    const [across, down] = ["Width", "Height"].map((name) =>
      Number(answer.headers.get(`X-Alseg-${name}`)),
    );
    return { labels: new Uint16Array(await answer.arrayBuffer()), across, down };
  }

  saveDraft(id, revision, bytes, { keepalive = false } = {}) {
    const path = `images/${id}/draft?revision=${revision}`;
    return this.#ask(path, { method: "PUT", body: bytes, keepalive });
  }

  /** @param {"marks" | "all" | "nothing"} answer */
  saveMarks(id, revision, answer, bytes) {
    const body = answer === "nothing" ? new Uint8Array(0) : bytes;
    const path = `images/${id}/marks?revision=${revision}&answer=${answer}`;
    return this.#json(path, { method: "PUT", body });
  }

  skip(id) {
    return this.#json(`images/${id}/skip`, { method: "POST" });
  }

  /** Takes back that nobody can tell. */
  unskip(id) {
    return this.#json("undo", sent("POST", { id }));
  }

  setClasses(names, colors) {
    return this.#json("classes", sent("PUT", { names, colors }));
  }

  /** @param {boolean} empty  whether images of this label hold nothing */
  setEmpty(label, empty) {
    return this.#json("empty", sent("PUT", { label, empty }));
  }

  label(id, label) {
    return this.#ask(`images/${id}/label`, sent("PUT", { label }));
  }

  /** How training and checks stand. */
  standing() {
    return this.#json("standing");
  }

  log(entry) {
    return this.#ask("log", sent("POST", entry));
  }

  /** @param {{sort?: string, state?: string, label?: string, find?: string, around?: number}} query */
  gallery(offset, limit, query = {}, signal = undefined) {
    const given = Object.entries({ offset, limit, ...query }).filter(([, value]) => value !== undefined);
    return this.#json(`gallery?${new URLSearchParams(given)}`, { signal });
  }

  /** Predicts all images with the best model: {out}, the folder that the masks come to. */
  predict() {
    return this.#json("predict", { method: "POST" });
  }

  async #json(path, options) {
    return (await this.#ask(path, options)).json();
  }

  async #ask(path, options = {}) {
    const headers = { ...options.headers, "X-Alseg-Token": this.#token, "X-Alseg-Page": this.#page };
    let answer;
    try {
      answer = await this.#fetch(`/api/${path}`, { cache: "no-store", ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server does not answer. Is alseg annotate still running?");
    }
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    const message = said.error ?? `The server answers ${answer.status}.`;
    if (answer.status === 409) throw new Stale(message, said.revision);
    throw new Refused(answer.status, message);
  }
}

function sent(method, value) {
  const headers = { "Content-Type": "application/json" };
  return { method, headers, body: JSON.stringify(value) };
}

/**
 * Saves what changed every few seconds, one request at a time, and tries again where one failed.
 * A stale page stops saving: what it holds would be over what another saved.
 */
export class Autosave {
  #save;
  #every;
  #timer = null;
  #running = null;
  #changed = false;
  #stopped = false;

  /**
   * @param {(closing: boolean) => Promise<void>} save
   * @param {(state: "changed" | "saving" | "saved" | "failed" | "stale", error?: Error) => void} tell
   */
  constructor(save, tell = () => {}, every = 2500) {
    this.#save = save;
    this.tell = tell;
    this.#every = every;
  }

  /** Something changed: it is saved when the time has come. */
  changed() {
    if (this.#stopped) return;
    this.#changed = true;
    this.tell("changed");
    this.#timer ??= setTimeout(() => this.flush(), this.#every);
  }

  /** Saves now what is not saved yet; `closing` says that the page is about to be gone. */
  async flush({ closing = false } = {}) {
    clearTimeout(this.#timer);
    this.#timer = null;
    while (this.#running) await this.#running;
    if (!this.#changed || this.#stopped) return;
    this.#changed = false;
    this.tell("saving");
    this.#running = this.#once(closing);
    await this.#running;
  }

  /** No more saving; resolves when what is on its way has arrived. */
  async stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    while (this.#running) await this.#running;
  }

  async #once(closing) {
    try {
      await this.#save(closing);
      this.tell(this.#changed ? "changed" : "saved");
    } catch (error) {
      if (error instanceof Stale) {
        this.#stopped = true;
        this.tell("stale", error);
      } else {
        this.tell("failed", error);
        this.#changed = true;
        if (!this.#stopped) this.#timer ??= setTimeout(() => this.flush(), this.#every);
      }
    } finally {
      this.#running = null;
    }
  }
}

/**
 * An image with all that is shown of it.
 *
 * @param {Question} image
 * @param {(blob: Blob) => Promise<ImageBitmap>} decode
 */
export async function load(api, image, decode) {
  const shown = api.shown?.(image) ?? "";
  const [picture, marks, proposed] = await Promise.all([
    api.picture(image.id, shown).then(decode),
    api.marks(image.id),
    image.proposal ? api.proposed(image.id) : null,
  ]);
  const { revision } = marks;
  return { image: { ...image, revision }, picture, shown, marks, ...planes(proposed, image) };
}

/**
 * What a proposal says of each pixel: the probability of foreground, and its likeliest class above
 * background where there are several.
 *
 * @param {{bytes: Uint8Array, version: number} | null} proposed
 */
export function planes(proposed, { width, height }) {
  if (!proposed) return { proposal: null, kinds: null, version: null };
  const { bytes, version } = proposed;
  const size = width * height;
  const kinds = bytes.length > size ? bytes.subarray(size) : null;
  return { proposal: bytes.subarray(0, size), kinds, version };
}

const PATIENCE = 250; // milliseconds that a newer proposal may take before the older one is shown

/** The next question, loaded while the person is busy with this one. */
export class Ahead {
  #api;
  #decode;
  #after;
  #coming = null;
  newest = 0; // version of the model that proposes now

  constructor(api, decode) {
    this.#api = api;
    this.#decode = decode;
  }

  /** Starts to load what comes after an image. */
  prepare(after) {
    this.#after = after;
    this.#coming = this.#ask(after).catch(() => null);
  }

  /** What was loaded for after this image; asks now where nothing was. Null: no question is left. */
  async take(after) {
    const ready = this.#after === after ? await this.#coming : null;
    this.#coming = null;
    this.#after = undefined;
    return ready ? this.#renewed(ready) : this.#ask(after);
  }

  /** With the proposal of a model that has learned since it was loaded, where that comes soon. */
  async #renewed(ready) {
    const { image, version } = ready;
    if (this.newest <= (version ?? 0) || image.check === "open") return ready;
    const asked = this.#api.proposed(image.id).then(
      (found) => (found ? { ...ready, ...planes(found, image) } : ready),
      () => ready,
    );
    const late = new Promise((resolve) => setTimeout(() => resolve(ready), PATIENCE));
    return Promise.race([asked, late]);
  }

  async #ask(after) {
    let failed = null;
    for (;;) {
      const image = await this.#api.next(after);
      if (!image) return null;
      try {
        return await load(this.#api, image, this.#decode);
      } catch (error) {
        if (image.id === failed) throw error;
        failed = image.id;
        // A server that cannot read all of it either asks for another one.
        await this.#api.thumbnail(image.id).catch(() => {});
      }
    }
  }
}
