/** What is learned behind the pen: a bar, a sentence, and proposals that come late. */

import { planes } from "./api.js";
import { $ } from "./dom.js";

const EVERY = 1000; // milliseconds between two questions to the server
const SELDOM = 8000; // where it does not answer
const SILENT = {
  state: "failed",
  text: "The server does not answer. What you draw stays here.",
  error: "The server does not answer. Is alseg annotate still running? What you draw stays here, and is saved when it is back.",
  seconds_left: null,
};
const SAY_AGAIN = 15_000; // a screen reader is not told more often, unless something is wrong

/**
 * @typedef {{state: string, text: string, done: number, total: number,
 *   seconds_left: number | null, version: number, n_marked: number, error: string | null}} Standing
 */

export function attach(desk) {
  return new Training(desk);
}

class Training {
  #desk;
  #failures = 0;
  #said = { state: "waiting", at: -SAY_AGAIN };
  #asking = false;

  constructor(desk) {
    this.#desk = desk;
    desk.on("standing", ({ training }) => training && this.#hear(training));
    document.addEventListener("visibilitychange", () => !document.hidden && this.#poll());
    this.#poll();
  }

  /** Asks what stands, and tells all parts of the page; seldom where nobody answers. */
  async #poll() {
    clearTimeout(this.timer);
    if (document.hidden || this.#asking) return;
    this.#asking = true;
    try {
      this.#desk.tell("standing", await this.#desk.api.standing());
      this.#failures = 0;
    } catch {
      if (++this.#failures === 2) this.#draw(SILENT); // one may be lost on its way
    }
    this.#asking = false;
    this.timer = setTimeout(() => this.#poll(), Math.min(EVERY * 2 ** this.#failures, SELDOM));
  }

  #hear(standing) {
    this.#draw(standing);
    this.#desk.newest(standing.version);
    this.#propose(standing);
  }

  #draw(standing) {
    const part = $("training");
    part.hidden = standing.state === "off";
    part.dataset.state = standing.state;
    part.title = standing.error ?? "";
    const bar = $("training-bar");
    bar.hidden = ["waiting", "failed"].includes(standing.state);
    if (standing.total) {
      bar.max = standing.total;
      bar.value = standing.done;
    } else bar.removeAttribute("value"); // it moves, and says no number
    const text = sentence(standing);
    if ($("training-text").textContent !== text) $("training-text").textContent = text;
    const now = performance.now();
    if (isToSay(standing, this.#said, now)) {
      this.#said = { state: standing.state, at: now };
      $("training-said").textContent = standing.error ?? standing.text;
    }
  }

  /** A proposal for the image on the desk, where it came too late and nothing was drawn yet. */
  async #propose({ version }) {
    const now = this.#desk.now();
    const waits = () =>
      now && now === this.#desk.now() && !now.proposal && !now.editor.marked && !this.#desk.busy();
    if (!version || !waits() || now.asked === version || now.image.check === "open") return;
    now.asked = version;
    const { api } = this.#desk;
    try {
      const there = (await api.image(now.image.id)).proposal;
      const found = there && (await api.proposed(now.image.id));
      if (found && waits()) this.#desk.propose(planes(found, now.image));
    } catch {
      // The next version is asked for again.
    }
  }
}

// -- words: no document --

/** The sentence with the time left. @param {Standing} standing */
export function sentence({ text, error, state, seconds_left: seconds }) {
  if (state === "failed" && error) return text;
  return seconds === null || seconds < 1 ? text : `${text}, ${duration(seconds)} left`;
}

/** A time as a person would say it. */
export function duration(seconds) {
  if (seconds < 20) return `${Math.round(seconds)} s`;
  if (seconds < 55) return `${10 * Math.round(seconds / 10)} s`;
  return `${Math.max(1, Math.round(seconds / 60))} min`;
}

/**
 * Is it worth a word of a screen reader? What takes seconds and comes again and again is not.
 *
 * @param {Standing} standing
 * @param {{state: string, at: number}} said  what was said last, and when
 */
export function isToSay({ state }, said, now) {
  if (state === said.state || ["off", "encoding", "predicting"].includes(state)) return false;
  return state === "failed" || now - said.at >= SAY_AGAIN;
}
