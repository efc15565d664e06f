/** Asked pixels: a walk from one to the next, and rings around a few of them while one draws. */

import { $, classButton } from "./dom.js";
import { OPEN } from "./editor.js";
import { remember, remembered } from "./remembered.js";
import { toScreen } from "./view.js";
import { Walk, surroundings } from "./walk.js";

const ASKED = 20; // pixels of an image
const RINGS = 5; // of them, shown while somebody draws
const KEPT = 100; // walks of images seen before
const WAY = "alseg.way"; // what a browser remembers
const RINGED = "alseg.rings";
const UNSURE = "alseg.unsure";

export function attach(desk) {
  return new Points(desk);
}

class Points {
  #desk;
  #walk = null; // of the image on the desk; null until the server has said it
  #walks = new Map(); // by the id of an image
  #before = null; // id of the image whose walk was answered last
  #again = null; // id of an image that is opened to take its last answer back
  #walking = false;
  #telling = Promise.resolve(); // the server of what nobody can tell, one after the other

  constructor(desk) {
    this.#desk = desk;
    this.#walking = remembered(WAY) === "points";
    $("points-ringed").checked = remembered(RINGED) !== "no";
    $("points-unsure").checked = remembered(UNSURE) === "yes";
    desk.on("project", () => this.#drawClasses());
    desk.on("shown", () => this.#shown());
    desk.on("left", () => this.#left());
    desk.on("changed", () => this.#draw());
    desk.on("moved", () => this.#place());
    desk.on("held", () => this.#go(false));
    desk.take((key, event) => this.#heard(key, event));
    for (const button of $("way").children) {
      button.addEventListener("click", () => this.#go(button.dataset.way === "points"));
    }
    pressed($("points-unknown"), () => this.#say(null));
    pressed($("points-back"), () => this.#back());
    pressed($("points-more"), () => this.#ask(this.#walk.length));
    this.#choice("points-ringed", RINGED, () => this.#draw());
    this.#choice("points-unsure", UNSURE, () => this.#ask());
    this.#show();
  }

  #choice(id, name, act) {
    $(id).addEventListener("change", ({ target }) => {
      remember(name, target.checked ? "yes" : "no");
      act();
      $("canvas").focus({ preventScroll: true });
    });
  }

  // -- which way --

  #go(walking) {
    if (walking === this.#walking) return;
    this.#walking = walking;
    remember(WAY, walking ? "points" : "draw");
    this.#desk.drop();
    this.#show();
    this.#draw();
  }

  /** Shows which way of marking it is; the walk hides marks and proposal, which answers lean on. */
  #show() {
    const { view, hand } = this.#desk;
    for (const button of $("way").children) {
      const chosen = (button.dataset.way === "points") === this.#walking;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    $("desk").dataset.way = this.#walking ? "points" : "draw";
    $("points").hidden = !this.#walking;
    hand.asking = this.#walking;
    view.plain = this.#walking;
    view.redraw();
  }

  // -- which pixels --

  async #shown() {
    const { image } = this.#desk.now();
    const kept = this.#walks.get(image.id);
    const again = this.#again === image.id;
    this.#again = null;
    if (!kept) return this.#ask();
    this.#walk = kept;
    if (again) this.#takeBack();
    return this.#draw();
  }

  /** Asks the server for pixels; beyond those that were asked, which a draft alone may answer. */
  async #ask(beyond = 0) {
    const now = this.#desk.now();
    if (!now) return;
    const old = beyond ? this.#walk : null;
    const unsure = $("points-unsure").checked && now.image.proposal ? ASKED / 2 : 0;
    await this.#telling;
    try {
      const found = await this.#desk.api.points(now.image.id, ASKED + beyond, unsure);
      if (this.#desk.now() !== now) return;
      const { points, unsure: last, unknown } = found;
      this.#walk = new Walk(points, now.image.width, last, unknown).without(old, ASKED);
      this.#walks.delete(now.image.id);
      this.#walks.set(now.image.id, this.#walk);
      if (this.#walks.size > KEPT) this.#walks.delete(this.#walks.keys().next().value);
    } catch (error) {
      this.#desk.say(error.message);
    }
    this.#draw();
  }

  #left() {
    this.#walk = null;
    $("cross").replaceChildren();
    $("rings").replaceChildren();
  }

  // -- what is said of them --

  /** Does a walk want this key? */
  #heard(key, event) {
    if (key === "q") {
      if (!event.repeat) this.#go(!this.#walking);
      return true;
    }
    if (!this.#walking || !this.#desk.now()) return false;
    if (key === "escape") this.#go(false);
    else if (/^[0-9]$/.test(key)) this.#once(event, () => this.#say(Number(key)));
    else if (key === "x") this.#once(event, () => this.#say(null));
    else if (key === "backspace") this.#once(event, () => this.#back());
    else return false;
    return true;
  }

  #once(event, act) {
    if (!event.repeat) act(); // a key that stays down would answer for pixels not seen yet
  }

  get #ready() {
    return this.#walk && this.#desk.now() && !this.#desk.busy();
  }

  /** What the asked pixel is: a class, or null, "cannot tell". */
  #say(value) {
    if (!this.#ready) return;
    if (value !== null && !this.#desk.classes().some((one) => one.value === value)) return;
    const { editor } = this.#desk.now();
    const number = this.#walk.at(editor.marks);
    if (number === this.#walk.length) return;
    this.#answer(number, value);
    if (this.#walk.at(editor.marks) < this.#walk.length) return;
    this.#before = this.#desk.now().image.id;
    if (editor.marked) this.#desk.answer("marks");
    else this.#desk.say("Nothing could be told. → leaves the image for later.");
  }

  #answer(number, value) {
    const { effort } = this.#desk;
    effort.clicks++;
    effort.points++;
    const before = this.#walk.unknown.has(number);
    this.#walk.said(number, { unknown: value === null });
    if (before !== (value === null)) this.#tell(number, before);
    if (value === null) this.#draw();
    else this.#mark(number, value);
  }

  /** Tells the server that nobody can tell a pixel, or that it is asked again. */
  #tell(number, told) {
    const { id, revision } = this.#desk.now().image;
    const at = this.#walk.points[number];
    this.#telling = this.#telling
      .then(() => this.#desk.api.untold({ id, revision }, at, told))
      .catch((error) => this.#desk.say(error.message));
  }

  #mark(number, value) {
    const { editor } = this.#desk.now();
    const [row, column] = this.#walk.points[number];
    editor.stroke([{ x: column + 0.5, y: row + 0.5 }], 1, value);
    if (editor.commit()) this.#desk.did({ strokes: 0 });
  }

  /** Takes the last answer back; at the beginning of an image, that of the one before. */
  #back() {
    if (!this.#ready) return;
    const { id } = this.#desk.now().image;
    if (this.#takeBack() || this.#before === null || this.#before === id) return;
    this.#again = this.#before;
    this.#desk.reopen(this.#before);
  }

  #takeBack() {
    const unknown = new Set(this.#walk.unknown);
    const number = this.#walk.back(this.#desk.now().editor.marks);
    if (number === null) return false;
    if (unknown.has(number)) this.#tell(number, true);
    this.#desk.effort.clicks++;
    this.#mark(number, OPEN);
    this.#draw();
    return true;
  }

  // -- what is seen of them --

  #draw() {
    const now = this.#desk.now();
    if (!now) return;
    const { editor } = now;
    $("points-unsure-row").hidden = !now.image.proposal || Boolean(now.image.check);
    const walk = this.#walk;
    const at = walk ? walk.at(editor.marks) : 0;
    const done = Boolean(walk) && at === walk.length;
    $("points-count").textContent = walk?.length
      ? `${Math.min(at + 1, walk.length)} of ${walk.length}`
      : "";
    $("points-note").textContent = said(walk, at);
    $("points-more").hidden = !done;
    $("lens").hidden = !walk || done;
    for (const button of $("points-classes").children) button.disabled = !walk || done;
    $("points-unknown").disabled = !walk || done;
    this.#drawRings(editor.marks);
    if (this.#walking && walk && !done) {
      this.#look(...walk.points[at]);
      this.#drawLens(now, ...walk.points[at]);
    }
    this.#place();
  }

  /** Moves the image where the asked pixel is out of sight. */
  #look(row, column) {
    const { view } = this.#desk;
    const { width, height } = view.canvas;
    const { x, y } = toScreen(view.transform, { x: column + 0.5, y: row + 0.5 });
    if (x < 0 || y < 0 || x >= width || y >= height) view.pan(width / 2 - x, height / 2 - y);
  }

  #drawLens({ picture, image }, row, column) {
    const lens = $("lens");
    const { ratio } = this.#desk.view;
    const across = Math.max(1, Math.round(lens.clientWidth * ratio));
    lens.width = lens.height = across;
    lens.style.filter = this.#desk.view.filter;
    const { x, y, side } = surroundings(image.width, image.height, row, column);
    const scale = across / side;
    const context = lens.getContext("2d");
    context.drawImage(picture, x, y, side, side, 0, 0, across, across);
    const [left, top] = [(column - x) * scale, (row - y) * scale];
    const middle = left + scale / 2;
    // A dark and a light line: one of them is seen on any picture.
    for (const [color, wide] of [["rgba(0,0,0,.7)", 3 * ratio], ["#fff", ratio]]) {
      context.strokeStyle = color;
      context.lineWidth = wide;
      context.strokeRect(left - ratio, top - ratio, scale + 2 * ratio, scale + 2 * ratio);
      context.beginPath();
      for (const [from, to] of [[0, across * 0.36], [across, across * 0.64]]) {
        context.moveTo(from, middle);
        context.lineTo(to, middle);
        context.moveTo(middle, from);
        context.lineTo(middle, to);
      }
      context.stroke();
    }
  }

  #drawClasses() {
    const buttons = this.#desk.classes().map((one) => {
      const button = classButton(one);
      pressed(button, () => this.#say(one.value));
      return button;
    });
    $("points-classes").replaceChildren(...buttons);
  }

  /** Rings around the first asked pixels: a click says the class in the hand, a second one none. */
  #drawRings(marks) {
    const shown = !this.#walking && $("points-ringed").checked ? this.#walk : null;
    const rings = $("rings");
    const count = Math.min(RINGS, shown?.length ?? 0);
    if (rings.children.length !== count) {
      rings.replaceChildren(...Array.from({ length: count }, (_, number) => this.#ring(number)));
    }
    for (let number = 0; number < count; number++) {
      const ring = rings.children[number];
      const value = shown.value(number, marks) ?? OPEN;
      const found = this.#desk.classes().find((one) => one.value === value);
      ring.style.setProperty("--said", found?.color ?? "transparent");
      ring.ariaLabel = `Asked pixel ${number + 1} of ${count}: ${found?.name ?? "not answered"}`;
      ring.title = found ? found.name : "Asked pixel: a click says the class chosen";
    }
  }

  #ring(number) {
    const ring = document.createElement("button");
    ring.type = "button";
    pressed(ring, () => {
      if (!this.#ready) return;
      const { value } = this.#desk.hand;
      const { editor } = this.#desk.now();
      if (this.#walk.value(number, editor.marks) !== value) this.#answer(number, value);
      else this.#mark(number, OPEN);
    });
    return ring;
  }

  /** Puts cross and rings where the image is on the screen now. */
  #place() {
    const now = this.#desk.now();
    const walk = this.#walk;
    if (!now || !walk) return;
    const at = walk.at(now.editor.marks);
    const shown = this.#walking && at < walk.length;
    $("cross").hidden = !shown;
    if (shown) {
      const { x, y } = this.#onScreen(walk.points[at]);
      $("cross").style.setProperty("--x", `${x}px`);
      $("cross").style.setProperty("--y", `${y}px`);
    }
    [...$("rings").children].forEach((ring, number) => {
      const { x, y } = this.#onScreen(walk.points[number]);
      ring.style.transform = `translate(${x}px, ${y}px)`;
    });
  }

  #onScreen([row, column]) {
    const { transform, ratio } = this.#desk.view;
    const { x, y } = toScreen(transform, { x: column + 0.5, y: row + 0.5 });
    return { x: x / ratio, y: y / ratio };
  }
}

/** A sentence about the asked pixel. */
function said(walk, at) {
  if (!walk) return "";
  if (!walk.length) return "Of every pixel somebody said something.";
  if (at === walk.length) return "All are answered.";
  if (at >= walk.length - walk.unsure) return "Drawn where the proposal is unsure.";
  return "Drawn at random: a fair sample.";
}

/** What a click does; keys go on to the image afterwards. */
function pressed(button, act) {
  button.addEventListener("click", () => {
    act();
    $("canvas").focus({ preventScroll: true });
  });
}
