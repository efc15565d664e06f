/** What an answer cost: the seconds in which somebody was busy, strokes and clicks. */
export class Effort {
  #clock;
  #last = null;

  /**
   * @param {() => number} clock  milliseconds
   * @param {number} pause  a longer gap between two signs of life counts nothing beyond it
   */
  constructor(clock = () => performance.now(), pause = 5000) {
    this.#clock = clock;
    this.pause = pause;
    this.reset();
  }

  reset() {
    this.milliseconds = 0;
    this.strokes = 0;
    this.clicks = 0;
    this.points = 0; // asked pixels that were answered, each of which is a click too
    this.#last = this.#clock();
  }

  /** A sign of life: the pen moved, a key was pressed. */
  alive() {
    const now = this.#clock();
    this.milliseconds += Math.min(now - this.#last, this.pause);
    this.#last = now;
  }

  /** @returns {{seconds: number, strokes: number, clicks: number, points: number}} */
  total() {
    this.alive();
    const seconds = Math.round(this.milliseconds) / 1000;
    const { strokes, clicks, points } = this;
    return { seconds, strokes, clicks, points };
  }
}
