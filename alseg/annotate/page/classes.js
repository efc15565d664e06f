/** The dialog that names the pixel classes, and says which images hold nothing. */

import { $ } from "./dom.js";

// Behind those that the server gives: what differs from them, and from each other.
const COLORS = ["#ffc800", "#00e5ff", "#ff5ccd", "#7cfc00", "#ff6d3f", "#a78bfa", "#ffffff"];

/** A colour that no class has yet, or one of them again. */
export function freeColor(taken) {
  return COLORS.find((color) => !taken.includes(color)) ?? COLORS[taken.length % COLORS.length];
}

/** What is wrong with names of classes, or an empty text. */
export function wrongNames(names) {
  const seen = new Set(["background"]);
  for (const name of names.map((one) => one.trim().toLowerCase())) {
    if (!name) return "Each class needs a name.";
    if (seen.has(name)) return `There are two classes of the name ${name}.`;
    seen.add(name);
  }
  return "";
}

export function attach(desk) {
  const dialog = $("name-classes");
  let project = null;
  let asked = false;

  desk.on("project", (found) => {
    project = found;
    if (!found.first_start || asked) return;
    asked = true;
    open();
  });

  function row({ name, color }, removable) {
    const item = document.createElement("li");
    const [colour, text, remove] = ["input", "input", "button"].map((tag) => document.createElement(tag));
    Object.assign(colour, { type: "color", value: color, ariaLabel: `Colour of ${name || "the new class"}` });
    Object.assign(text, { type: "text", value: name, maxLength: 60, required: true, autocomplete: "off" });
    Object.assign(text, { ariaLabel: "Name", spellcheck: false });
    Object.assign(remove, { type: "button", textContent: "×", ariaLabel: `Remove ${name || "the new class"}` });
    remove.disabled = !removable;
    remove.addEventListener("click", () => {
      item.remove();
      check();
    });
    item.append(colour, text, remove);
    return item;
  }

  const rows = () =>
    [...$("class-rows").children].map((item) => {
      const [colour, text] = item.children;
      return { name: text.value.trim(), color: colour.value };
    });

  function check(error = "") {
    const items = [...$("class-rows").children];
    for (const item of items) item.lastChild.hidden = items.length < 2;
    $("name-classes-error").textContent = error;
    $("name-classes-error").hidden = !error;
  }

  function open() {
    const named = desk.classes().filter(({ value }) => value > 0);
    $("class-rows").replaceChildren(...named.map((one) => row(one, project.n_done === 0)));
    const empty = project.empty ?? [];
    const boxes = (project.labels ?? []).map((label) => {
      const line = document.createElement("label");
      const box = document.createElement("input");
      Object.assign(box, { type: "checkbox", value: label, checked: empty.includes(label) });
      line.append(box, ` ${label}`);
      return line;
    });
    $("empty-labels").hidden = !boxes.length;
    $("empty-boxes").replaceChildren(...boxes);
    check();
    dialog.showModal();
    const [, first] = $("class-rows").firstChild.children;
    first.focus();
    first.select();
  }

  $("add-class").addEventListener("click", () => {
    const item = row({ name: "", color: freeColor(rows().map(({ color }) => color)) }, true);
    $("class-rows").append(item);
    item.children[1].focus();
    check();
  });

  async function keep() {
    const found = rows();
    const wrong = wrongNames(found.map(({ name }) => name));
    if (wrong) return check(wrong);
    try {
      await desk.api.setClasses(found.map(({ name }) => name), found.map(({ color }) => color));
      const before = project.empty ?? [];
      const changed = [...$("empty-boxes").querySelectorAll("input")].filter(
        ({ value, checked }) => checked !== before.includes(value),
      );
      for (const { value, checked } of changed) await desk.api.setEmpty(value, checked);
      dialog.close();
      await desk.project();
      if (changed.length) await desk.again(); // what was to come may have its answer now
    } catch (error) {
      check(error.message);
    }
    return undefined;
  }

  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    keep();
  });
  $("leave-classes").addEventListener("click", () => dialog.close());
  $("edit-classes").addEventListener("click", open);
}
