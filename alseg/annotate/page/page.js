/** The page: joins what is on it to the editor, the view, the pen and the server. */

import { Ahead, Api, Autosave, Stale, load } from "./api.js";
import { attach as attachClasses } from "./classes.js";
import { $, answered, classButton, finished, made, percent } from "./dom.js";
import { Editor, OPEN } from "./editor.js";
import { Effort } from "./effort.js";
import { attach as attachFlood } from "./flood.js";
import { attach as attachGallery } from "./gallery.js";
import { arrows, listenToKeys } from "./keys.js";
import { attach as attachLook } from "./look.js";
import { Pen } from "./pen.js";
import { attach as attachPoints } from "./points.js";
import { attach as attachQuality } from "./quality.js";
import { attach as attachRing } from "./ring.js";
import { attach as attachSliders } from "./sliders.js";
import { attach as attachSuperpixels } from "./superpixels.js";
import { attach as attachTraining } from "./training.js";
import { View, palette } from "./view.js";
import { attach as attachWindow } from "./window.js";

const PROPOSED = 1; // the class that proposals are of
const GLANCE = 700; // milliseconds below which nobody has looked at what has just come
const KEEPALIVE = 60_000; // bytes that a browser still sends from a page that closes

// Files come as they are stored: what is in them beside pixels is not for the page to apply.
const decode = (blob) =>
  createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "none" });

const SAVED = {
  changed: "Not saved yet",
  saving: "Saving…",
  saved: "Draft saved",
  failed: "Not saved: trying again",
  stale: "Saved elsewhere",
};

const TOOLS = {
  b: "brush", e: "eraser", l: "line", p: "polygon", o: "lasso", f: "flood",
  s: "superpixel", t: "take", d: "drop", m: "move",
};

class Page {
  #api;
  #ahead;
  #view = new View($("canvas"));
  #pen;
  #effort = new Effort();
  #hand = { tool: "brush", value: 1, brush: 12, tolerance: 16, threshold: 128, proposed: PROPOSED };
  #classes = [];
  #now = null; // the image on the desk
  #busy = false;
  #heard = {}; // what parts want to be told, by the name of the event
  #acts = {}; // what keys do
  #takers = []; // who may take a key before anybody else

  constructor(token) {
    this.#api = new Api(token);
    this.#ahead = new Ahead(this.#api, decode);
    this.#pen = new Pen(this.#view, this.#hand, {
      changed: () => this.#changed(),
      clicked: () => this.#effort.clicks++,
      tell: (message) => this.#say(message),
      sketch: (points) => this.#sketch(points),
    });
    this.#view.onMove = () => {
      $("scale").textContent = `${Math.round((100 * this.#view.transform.scale) / this.#view.ratio)} %`;
      this.#pen.sketch();
      this.#tell("moved");
    };
    attachFlood(this.desk);
    attachGallery(this.desk);
    attachLook(this.desk);
    attachPoints(this.desk);
    attachQuality(this.desk);
    attachSuperpixels(this.desk);
    attachTraining(this.desk);
  }

  async start() {
    for (const attach of [attachClasses, attachWindow, attachRing, attachSliders]) attach(this.desk);
    this.#listen();
    this.#able(false);
    await this.#refresh();
    this.#hold("brush");
    await this.#next();
  }

  /**
   * What a part of the page with a module of its own sees of it.
   *
   * `on(name, hear)` tells it of "project" (what the server says of it), "shown" and "left" (the
   * image on the desk came and goes: `now()`), "reopening" (one that was chosen is about to come),
   * "changed" (a stroke or a step of undo), "moved" (the image on the screen), "held" (a tool was
   * chosen) and "answered" (kind, image, what the server said); `key(key, act)` gives it a key,
   * `take(hear)` any key: `hear(key, event)` says whether it was meant; `did()` says that the
   * editor of `now()` was changed by it: what is dirty is painted, counted (`strokes`) and saved.
   */
  get desk() {
    return {
      api: this.#api,
      view: this.#view,
      hand: this.#hand,
      effort: this.#effort,
      now: () => this.#now,
      classes: () => this.#classes,
      say: (...said) => this.#say(...said),
      on: (name, hear) => (this.#heard[name] ??= []).push(hear),
      tell: (name, ...what) => this.#tell(name, ...what),
      key: (key, act) => (this.#acts[key] = act),
      busy: () => this.#busy || this.#pen.busy,
      drop: () => this.#pen.drop(),
      take: (hear) => this.#takers.push(hear),
      did: ({ strokes = 1 } = {}) => {
        this.#view.paint(this.#now.editor.takeDirty());
        this.#changed(strokes);
      },
      answer: (kind) => this.#answer(kind),
      reopen: (id) => this.#reopen(id),
      project: () => this.#refresh(),
      decode,
      repicture: (picture, shown) => {
        this.#now.picture.close();
        Object.assign(this.#now, { picture, shown });
        this.#view.replace(picture);
      },
      again: () => this.#work(async () => {
        await this.#now?.autosave.flush();
        await this.#next();
      }),
      newest: (version) => (this.#ahead.newest = version),
      propose: (found) => this.#propose(found),
    };
  }

  #tell(name, ...what) {
    for (const hear of this.#heard[name] ?? []) hear(...what);
  }

  /** Asks the server what it says of the project now, and shows it. */
  async #refresh() {
    const project = await this.#api.project();
    this.#classes = project.mask_classes;
    $("project").textContent = project.name;
    document.title = `${project.name} · alseg`;
    this.#drawClasses();
    this.#drawLabels(project.labels);
    this.#drawProgress(project);
    const { value } = this.#hand;
    this.#choose(this.#classes.some((one) => one.value === value) ? value : this.#classes[0].value);
    if (this.#now) {
      $("label").value = this.#now.image.label ?? "";
      this.#view.recolour(palette(this.#classes, PROPOSED));
      this.#drawCounts();
    }
    this.#tell("project", project);
  }

  // -- one image after the other --

  async #next(after) {
    const loaded = await this.#ahead.take(after);
    if (loaded) this.#show(loaded);
    else this.#finish();
  }

  #show({ image, picture, shown, marks, proposal, kinds, version }) {
    this.#leave();
    const { width, height } = image;
    const editor = new Editor(width, height, marks.bytes);
    const now = (this.#now = { image, picture, shown, editor, proposal, kinds });
    this.#autosave();
    const hand = this.#hand;
    this.#view.show(
      picture,
      {
        marks: editor.marks,
        width,
        height,
        get proposal() {
          return now.proposal;
        },
        get kinds() {
          return now.kinds;
        },
        get threshold() {
          return hand.threshold;
        },
      },
      palette(this.#classes, PROPOSED),
    );
    this.#view.paint(editor.takeDirty());
    this.#pen.hold(this.#now);
    this.#effort.reset();
    this.#describe();
    this.#able(true);
    $("desk").dataset.image = image.id;
    $("desk").dataset.version = version ?? ""; // of the model whose proposal is shown
    $("canvas").focus({ preventScroll: true }); // or Enter would press what was last pressed
    this.#tell("shown", this.#now);
    this.#ahead.prepare(image.id);
  }

  #describe() {
    const { image } = this.#now;
    $("finished").hidden = true;
    $("conflict").hidden = true;
    $("name").textContent = $("name").title = image.name;
    $("why").textContent = image.why;
    $("label").value = image.label ?? "";
    this.#describeProposal();
    $("saved").textContent = "";
    delete $("saved").dataset.state;
    this.#drawCounts();
  }

  #describeProposal() {
    const { proposal } = this.#now;
    $("legend-proposed").hidden = !proposal;
    $("all-means").textContent = proposal ? "the rest as it is proposed" : "the rest is background";
    for (const part of document.querySelectorAll('[data-for="proposal"]')) part.hidden = !proposal;
  }

  /** Shows a proposal that came after its image. */
  #propose({ proposal, kinds, version }) {
    Object.assign(this.#now, { proposal, kinds, came: performance.now() });
    $("desk").dataset.version = version ?? "";
    this.#now.image.proposal = true;
    this.#describeProposal();
    this.#view.paint(this.#now.editor.whole);
    this.#tell("proposed", this.#now);
  }

  #leave() {
    if (!this.#now) return;
    this.#tell("left", this.#now);
    this.#view.clear();
    this.#now.picture.close();
    this.#now = null;
    this.#pen.hold(null);
  }

  #finish() {
    this.#leave();
    delete $("desk").dataset.image;
    this.#able(false);
    $("finished").hidden = false;
    $("name").textContent = "Done";
    $("why").textContent = "";
    $("label").value = ""; // of no image
  }

  async #reopen(id) {
    await this.#work(async () => {
      await this.#now?.autosave.flush();
      const loaded = await load(this.#api, await this.#api.image(id), decode);
      await this.#now?.autosave.stop();
      this.#tell("reopening");
      this.#show(loaded);
    });
  }

  // -- answers --

  async #answer(kind) {
    await this.#pen.settled;
    if (!this.#now || this.#busy || this.#pen.busy) return;
    const { editor } = this.#now;
    this.#pen.drop();
    if (kind === "marks" && !editor.marked) {
      this.#say("Nothing is marked yet. Mark something, or choose another answer.");
      return;
    }
    if (kind === "nothing" && editor.holdsMore && !(await confirmed())) return;
    if (kind === "all" && performance.now() - this.#now.came < GLANCE) {
      this.#say("A proposal has just come. Look at it, then answer again.");
      return;
    }
    await this.#work(() => this.#give(kind));
  }

  async #give(kind) {
    const { image, editor, autosave } = this.#now;
    if (["later", "skip"].includes(kind)) await autosave.flush(); // what is drawn stays
    await autosave.stop();
    let saved = null;
    try {
      if (kind === "skip") await this.#api.skip(image.id);
      else if (kind !== "later") {
        if (kind === "all" || (kind === "nothing" && image.region)) this.#complete(kind);
        const said = image.region ? "marks" : kind; // of the rest nobody said anything
        saved = await this.#api.saveMarks(image.id, image.revision, said, editor.marks);
      }
    } catch (error) {
      this.#autosave();
      if (error instanceof Stale) this.#conflict(error);
      else {
        this.#changed();
        throw error;
      }
      return;
    }
    const cost = { id: image.id, ...this.#effort.total(), answer: kind };
    this.#api.log(cost).catch(() => {}); // a lost line of the cost log is no reason to stop anybody
    if (kind !== "later") {
      const done = kind === "skip" ? "Put aside" : "Saved";
      this.#say(`${done}: ${image.name}`, "Back", () => this.#back(kind, image.id));
      this.#api.project().then((project) => this.#drawProgress(project), () => {});
    }
    this.#tell("answered", kind, image, saved);
    try {
      await this.#next(image.id);
    } catch (error) {
      // It stays on the desk, as it was saved: what is drawn from now on comes after it.
      image.revision = saved?.revision ?? image.revision;
      this.#effort.reset();
      this.#autosave();
      throw error;
    }
  }

  /** Opens an image again that was just answered; that nobody can tell is taken back. */
  async #back(kind, id) {
    if (kind === "skip") await this.#work(() => this.#api.unskip(id));
    await this.#reopen(id);
  }

  #complete(kind) {
    const { editor, proposal, kinds } = this.#now;
    if (kind === "nothing") editor.clear(0);
    else editor.complete(proposal, this.#hand.threshold, PROPOSED, kinds);
    editor.commit();
    this.#view.paint(editor.takeDirty());
    this.#drawCounts();
  }

  /** One thing at a time; what goes wrong is said, and the page stays as it is. */
  async #work(job) {
    if (this.#busy) return;
    this.#busy = true;
    $("desk").setAttribute("aria-busy", "true");
    try {
      await this.#pen.settled; // or what is on its way would be left behind
      await job();
    } catch (error) {
      this.#say(error.message);
    } finally {
      this.#busy = false;
      $("desk").removeAttribute("aria-busy");
    }
  }

  // -- drafts --

  #autosave() {
    const now = this.#now;
    const { image, editor } = now;
    const save = (closing) =>
      this.#api.saveDraft(image.id, image.revision, editor.marks.slice(), {
        keepalive: closing && editor.marks.length <= KEEPALIVE,
      });
    now.autosave = new Autosave(save, (state, error) => {
      if (this.#now !== now) return;
      $("saved").textContent = SAVED[state];
      $("saved").dataset.state = state;
      if (state === "stale") this.#conflict(error);
    });
  }

  #changed(strokes = 1) {
    this.#effort.strokes += strokes;
    this.#now.autosave.changed();
    this.#drawCounts();
    this.#tell("changed", this.#now);
  }

  /** Another page saved this image since: this one is told, and overwrites nothing. */
  #conflict(error) {
    this.#now.autosave.stop();
    $("conflict-text").textContent = error.message;
    $("conflict").hidden = false;
    $("toast").hidden = true; // it would lie over it
    $("theirs").focus();
  }

  /** What was saved comes over what is drawn, as a step that undo takes back. */
  async #takeTheirs() {
    const { image, editor } = this.#now;
    const { bytes, revision } = await this.#api.marks(image.id);
    editor.replace(bytes);
    editor.commit();
    this.#view.paint(editor.takeDirty());
    image.revision = revision;
    this.#autosave();
    this.#drawCounts();
    $("conflict").hidden = true;
    this.#say("This is what was saved. Undo brings back what you drew.");
  }

  async #step(kind) {
    await this.#pen.settled;
    if (!this.#now || this.#pen.busy) return;
    const { editor, autosave } = this.#now;
    if (!editor[kind]()) return;
    this.#view.paint(editor.takeDirty());
    autosave.changed();
    this.#drawCounts();
    this.#tell("changed", this.#now);
  }

  // -- what is in the hand --

  #hold(tool) {
    this.#hand.tool = tool;
    this.#pen.drop();
    for (const button of $("tools").children) {
      const chosen = button.dataset.tool === tool;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    const set = ["flood", "superpixel"].includes(tool) ? tool : "brush"; // one row whatever the tool
    for (const part of $("settings").children) {
      if (part.dataset.for !== "proposal") part.hidden = part.dataset.for !== set;
    }
    $("canvas").dataset.tool = tool;
    $("ring").hidden = true;
  }

  #takeTool(tool) {
    this.#hold(tool);
    this.#tell("held", tool);
  }

  #choose(value) {
    if (!this.#classes.some((one) => one.value === value)) return;
    this.#hand.value = value;
    for (const button of $("classes").children) {
      const chosen = Number(button.dataset.value) === value;
      button.setAttribute("aria-checked", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    // With the eraser in hand a class would do nothing: who chooses one wants to draw.
    if (["eraser", "move"].includes(this.#hand.tool)) this.#hold("brush");
  }

  #hide(hidden) {
    if (this.#view.hidden === hidden) return;
    this.#view.hidden = hidden;
    $("desk").classList.toggle("hiding", hidden);
    this.#view.redraw();
  }

  // -- what is drawn --

  #drawClasses() {
    const buttons = this.#classes.map((one) => {
      const button = classButton(one);
      button.addEventListener("click", () => this.#choose(one.value));
      button.setAttribute("role", "radio");
      button.querySelector(".class-name").after(made("output", ""));
      return button;
    });
    $("classes").replaceChildren(...buttons);
    const proposed = this.#classes.find(({ value }) => value === PROPOSED);
    if (proposed) document.querySelector(".swatch.proposed").style.color = proposed.color;
  }

  #drawLabels(labels) {
    $("label-row").hidden = !labels.length;
    const options = ["", ...labels].map((label) => new Option(label || "not known", label));
    options[0].disabled = true;
    $("label").replaceChildren(...options);
  }

  #drawProgress(project) {
    const { n_done: done, n_images: all } = project;
    $("progress").max = Math.max(1, all);
    $("progress").value = done;
    $("progress-text").textContent = answered(project);
    $("finished-left").textContent =
      done < all
        ? `Without marks: ${all - done} of ${all}, which nobody can tell or which cannot be read.`
        : finished(project);
  }

  #drawCounts() {
    const { editor, image } = this.#now;
    const { counts, marks, marked } = editor;
    for (const button of $("classes").children) {
      const share = counts[button.dataset.value] / marks.length;
      button.querySelector("output").textContent = share ? percent(share) : "";
    }
    $("open-share").textContent = percent(counts[OPEN] / marks.length);
    $("undo").disabled = !editor.canUndo;
    $("redo").disabled = !editor.canRedo;
    $("canvas").setAttribute("aria-label", `${image.name}, ${percent(marked / marks.length)} marked`);
  }

  #sketch(points) {
    const line = points.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
    for (const part of $("sketch").children) part.setAttribute("points", line);
  }

  /** Says something for a while, with an action where there is one. */
  #say(message, action, act) {
    const [text, button] = $("toast").children;
    text.textContent = message;
    button.hidden = !action;
    button.textContent = action ?? "";
    button.onclick = () => {
      $("toast").hidden = true;
      act();
    };
    $("toast").hidden = false;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => ($("toast").hidden = true), action ? 6000 : 4000);
  }

  #able(able) {
    const parts = document.querySelectorAll(".rail button, .answers button, .side input, .side select");
    for (const part of parts) part.disabled = !able;
    if (able) this.#drawCounts();
  }

  // -- what is heard --

  #listen() {
    const click = (id, act) => $(id).addEventListener("click", act);
    for (const button of $("tools").children) {
      button.addEventListener("click", () => this.#takeTool(button.dataset.tool));
    }
    for (const group of [$("tools"), $("classes"), $("way")]) arrows(group);
    for (const button of document.querySelectorAll("[data-answer]")) {
      button.addEventListener("click", () => this.#answer(button.dataset.answer));
    }
    click("undo", () => this.#step("undo"));
    click("redo", () => this.#step("redo"));
    click("theirs", () => this.#work(() => this.#takeTheirs()));
    // Who draws is done with the button pressed before: Enter would press it again.
    $("canvas").addEventListener("pointerdown", () => $("canvas").focus({ preventScroll: true }));
    click("open-keys", () => $("keys").showModal());
    click("fit", () => this.#view.fit());
    click("closer", () => this.#zoom(1.5));
    click("farther", () => this.#zoom(1 / 1.5));
    const hide = $("hide");
    hide.addEventListener("pointerdown", () => this.#hide(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) {
      hide.addEventListener(end, () => this.#hide(false));
    }
    $("label").addEventListener("change", () => this.#relabel());
    this.#listenToKeys();
    // A button that was pressed with a pointer would keep Enter and Space for itself.
    $("desk").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (event.detail && button && !document.querySelector("dialog[open]")) {
        $("canvas").focus({ preventScroll: true });
      }
    });
    for (const kind of ["pointermove", "pointerdown", "wheel", "keydown"]) {
      window.addEventListener(kind, () => this.#effort.alive(), { passive: true });
    }
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#now?.autosave.flush({ closing: true });
    });
    window.addEventListener("beforeunload", (event) => {
      this.#now?.autosave.flush({ closing: true });
      const { state } = $("saved").dataset;
      const large = this.#now?.editor.marks.length > KEEPALIVE; // it would be lost on its way
      if (state === "failed" || (large && ["changed", "saving"].includes(state))) {
        event.preventDefault();
      }
    });
  }

  #listenToKeys() {
    const acts = (this.#acts = {
      "+": () => this.#zoom(1.5),
      "=": () => this.#zoom(1.5),
      "-": () => this.#zoom(1 / 1.5),
      ".": () => this.#view.fit(),
      "?": () => $("keys").showModal(),
      n: () => this.#answer("nothing"),
      x: () => this.#answer("skip"),
      arrowright: () => this.#answer("later"),
      escape: () => this.#pen.drop(),
      backspace: () => this.#pen.shorten(),
      enter: (event) => {
        if (this.#pen.drawing) this.#pen.close();
        else this.#answer(event.shiftKey ? "all" : "marks");
      },
      ...this.#acts,
    });
    for (const [key, tool] of Object.entries(TOOLS)) acts[key] = () => this.#takeTool(tool);
    for (let value = 0; value < 10; value++) acts[value] = () => this.#choose(value);
    const held = {
      h: (down) => this.#hide(down),
      " ": (down) => {
        this.#pen.spaceHeld = down;
        $("canvas").dataset.tool = down ? "move" : this.#hand.tool;
      },
    };
    listenToKeys(acts, held, this.#takers, (kind) => this.#step(kind));
  }

  #zoom(factor) {
    const { width, height } = $("canvas");
    this.#view.zoom(width / 2, height / 2, factor);
  }

  async #relabel() {
    const { image } = this.#now;
    const label = $("label").value;
    try {
      await this.#api.label(image.id, label);
      image.label = label;
      this.#say(`${image.name} shows ${label}.`);
    } catch (error) {
      if (this.#now?.image === image) $("label").value = image.label ?? "";
      this.#say(error.message);
    }
  }
}

/** Asks whether marks are given up for "nothing here". */
function confirmed() {
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

const page = new Page(new URLSearchParams(location.search).get("token") ?? "");
page.start().catch((error) => {
  document.getElementById("name").textContent = "This page cannot start";
  document.getElementById("why").textContent = error.message;
});
