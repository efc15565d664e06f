/**
 * From pointers to marks: mouse, pen and fingers on the canvas, by the tool in hand.
 *
 * @typedef {import("./editor.js").Point} Point
 * @typedef {{tool: string, value: number, brush: number, tolerance: number, threshold: number,
 *   proposed: number, asking?: boolean,
 *   flood?: (x: number, y: number) => Promise<import("./editor.js").Region>,
 *   cell?: (editor: object, from: Point, to: Point) => boolean}} Hand  what is in the hand, read at each event; while
 *   single pixels are asked about, the pen only moves the image
 */

import { OPEN, proposedObject } from "./editor.js";
import { toScreen } from "./view.js";

const CLOSES = 10; // CSS pixels from the first corner within which a click closes a polygon

export class Pen {
  #view;
  #hand;
  #hooks;
  #pointers = new Map(); // those that are down, by id
  #mode = null; // what the pointer that is down does: "stroke", "cells", "line", "lasso", "pan", "pinch"
  #path = []; // points of the image: the line, lasso or polygon that is not done yet
  #ahead = null; // where the pointer is while a polygon is drawn
  #penSeen = false; // a stylus is in use: fingers move the image
  #current = null;
  spaceHeld = false;
  settled = Promise.resolve(); // when all floods that were begun have their marks

  /**
   * @param {import("./view.js").View} view
   * @param {Hand} hand
   * @param {{changed: () => void, clicked: () => void, tell: (message: string) => void,
   *   sketch: (points: Point[]) => void}} hooks
   */
  constructor(view, hand, hooks) {
    this.#view = view;
    this.#hand = hand;
    this.#hooks = hooks;
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancel(event));
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /**
   * @param {{editor: import("./editor.js").Editor, proposal: Uint8Array | null,
   *   kinds: Uint8Array | null} | null} current  the image under the pen
   */
  hold(current) {
    this.#current = current;
    this.#mode = null;
    this.drop();
  }

  /** Is a polygon begun? */
  get drawing() {
    return this.#path.length > 0;
  }

  /** Is the pen on the image now? */
  get busy() {
    return this.#mode !== null;
  }

  /** Gives up the line, lasso or polygon that is not done. */
  drop() {
    this.#path = [];
    this.#ahead = null;
    this.sketch();
  }

  /** Takes the last corner of a polygon back. */
  shorten() {
    this.#path.pop();
    this.sketch();
  }

  /** Fills the polygon that is begun. */
  close() {
    if (this.#hand.tool !== "polygon" || this.#path.length < 3) return;
    this.#current.editor.polygon(this.#path, this.#hand.value);
    this.#done();
    this.drop();
  }

  /** Draws what is not done yet, where it is on the screen now. */
  sketch() {
    const points = this.#ahead ? [...this.#path, this.#ahead] : this.#path;
    const { transform, ratio } = this.#view;
    this.#hooks.sketch(
      points.map((point) => {
        const { x, y } = toScreen(transform, point);
        return { x: x / ratio, y: y / ratio };
      }),
    );
  }

  #down(event) {
    if (!this.#current) return;
    event.preventDefault();
    this.#view.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#view.position(event));
    this.#penSeen ||= event.pointerType === "pen";
    if (this.#pointers.size === 2) return this.#pinch();
    if (this.#pointers.size > 2) return undefined;
    const moves =
      event.button !== 0 ||
      this.spaceHeld ||
      this.#hand.tool === "move" ||
      this.#hand.asking ||
      (this.#penSeen && event.pointerType === "touch");
    if (moves) {
      this.#mode = "pan";
      return undefined;
    }
    this.#hooks.clicked();
    return this.#begin(this.#view.locate(event));
  }

  #begin(point) {
    const { tool } = this.#hand;
    if (tool === "brush" || tool === "eraser") {
      this.#mode = "stroke";
      this.#path = [];
      this.#stroke([point]);
      this.last = point;
    } else if (tool === "line" || tool === "lasso") {
      this.#mode = tool;
      this.#path = [point];
    } else if (tool === "superpixel") {
      if (this.#hand.cell(this.#current.editor, point, point)) this.#mode = "cells";
      this.last = point;
      this.#view.paint(this.#current.editor.takeDirty());
    } else if (tool === "polygon") this.#corner(point);
    else if (tool === "flood") {
      const flood = this.#flood(Math.floor(point.x), Math.floor(point.y));
      this.settled = this.settled.then(() => flood);
    } else this.#region(tool, Math.floor(point.x), Math.floor(point.y));
  }

  #corner(point) {
    const [first] = this.#path;
    const { scale } = this.#view.transform;
    const near = (CLOSES * this.#view.ratio) / scale;
    if (this.#path.length > 2 && Math.hypot(point.x - first.x, point.y - first.y) < near) {
      this.close();
      return;
    }
    this.#path.push(point);
    this.sketch();
  }

  #region(tool, x, y) {
    const { editor, proposal, kinds } = this.#current;
    const { width, height } = editor;
    const { threshold, proposed } = this.#hand;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const found = proposal && proposedObject(proposal, width, height, x, y, threshold, kinds);
    if (!found) {
      this.#hooks.tell(proposal ? "No proposed object is here." : "Nothing is proposed here.");
      return;
    }
    const kind = kinds ? kinds[y * width + x] : proposed;
    editor.fill(found, tool === "take" ? kind : 0, { openOnly: true });
    this.#done();
  }

  async #flood(x, y) {
    const current = this.#current;
    const { editor } = current;
    const { value } = this.#hand;
    if (x < 0 || y < 0 || x >= editor.width || y >= editor.height) return;
    try {
      const found = await this.#hand.flood(x, y);
      if (this.#current !== current) return;
      if (editor.commit()) this.#hooks.changed(); // a stroke that was begun meanwhile is its own step
      editor.fill(found, value);
      this.#done();
    } catch (error) {
      this.#hooks.tell(error.message);
    }
  }

  #stroke(points) {
    const { editor } = this.#current;
    const { tool, value, brush } = this.#hand;
    editor.stroke(points, brush, tool === "eraser" ? OPEN : value);
    this.#view.paint(editor.takeDirty());
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    const now = this.#view.position(event);
    if (before) this.#pointers.set(event.pointerId, now);
    if (this.#mode === "pan" && before) this.#view.pan(now.x - before.x, now.y - before.y);
    else if (this.#mode === "pinch" && before) this.#spread(event.pointerId, before, now);
    else if (this.#mode) this.#draw(event);
    else if (this.#hand.tool === "polygon" && this.drawing) {
      this.#ahead = this.#view.locate(event);
      this.sketch();
    }
  }

  #draw(event) {
    // Between two frames a pen gives several places; without them curves have corners.
    const events = event.getCoalescedEvents?.() ?? [];
    const points = (events.length ? events : [event]).map((one) => this.#view.locate(one));
    if (this.#mode === "stroke") {
      this.#stroke([this.last, ...points]);
      this.last = points.at(-1);
      return;
    }
    if (this.#mode === "cells") {
      for (const point of points) {
        this.#hand.cell(this.#current.editor, this.last, point);
        this.last = point;
      }
      this.#view.paint(this.#current.editor.takeDirty());
      return;
    }
    if (this.#mode === "line") this.#path = [this.#path[0], points.at(-1)];
    else this.#path.push(...points);
    this.sketch();
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    const mode = this.#mode;
    if (mode === "pinch" && this.#pointers.size) return; // the other finger is still down
    this.#mode = null;
    if (!this.#current || !mode || mode === "pan" || mode === "pinch") return;
    const { editor } = this.#current;
    const { value, brush } = this.#hand;
    if (mode === "line") editor.stroke(this.#path, brush, value);
    if (mode === "lasso") editor.polygon(this.#path, value);
    if (mode !== "stroke") this.drop();
    this.#done();
  }

  /** The system took the pointer (a call, a gesture): what it drew is not meant. */
  #cancel(event) {
    this.#pointers.delete(event.pointerId);
    this.#mode = null;
    this.#undone();
  }

  /** A second finger: what the first began to draw is not meant. */
  #pinch() {
    this.#mode = "pinch";
    this.#undone();
  }

  #undone() {
    if (!this.#current) return;
    this.#current.editor.revert();
    this.#view.paint(this.#current.editor.takeDirty());
    if (this.#hand.tool !== "polygon") this.drop();
  }

  #spread(id, before, now) {
    const other = [...this.#pointers].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const apart = (p) => Math.max(1, Math.hypot(p.x - other.x, p.y - other.y));
    // Half of a finger's way moves the middle between both.
    this.#view.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.#view.zoom((now.x + other.x) / 2, (now.y + other.y) / 2, apart(now) / apart(before));
  }

  #wheel(event) {
    event.preventDefault();
    const { x, y } = this.#view.position(event);
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    this.#view.zoom(x, y, Math.exp(-event.deltaY * lines * 0.002));
  }

  /** Makes one step of what was drawn. */
  #done() {
    const { editor } = this.#current;
    const changed = editor.commit();
    this.#view.paint(editor.takeDirty());
    if (changed) this.#hooks.changed();
    else if (editor.clip) this.#hooks.tell("Only the bright part is asked about: it alone takes marks.");
  }
}
