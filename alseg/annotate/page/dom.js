/** What all parts of the page say to the document. */

/** @returns {HTMLElement} */
export const $ = (id) => document.getElementById(id);

export function made(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

/** A text that is cut before its end where it is too long: the end often tells names apart. */
export function cut(name, text, end = 8) {
  const element = made("span", `cut ${name}`);
  const signs = [...text];
  element.append(
    made("span", "", signs.slice(0, -end).join("")),
    made("span", "", signs.slice(-end).join("")),
  );
  return element;
}

/** A button of a class: its colour, its name and its key. */
export function classButton({ value, name, color }) {
  const button = made("button", "");
  const swatch = made("span", "swatch");
  button.type = "button";
  button.dataset.value = value;
  swatch.style.backgroundColor = color;
  button.append(swatch, made("span", "class-name", name));
  if (value < 10) {
    button.append(made("kbd", "", value));
    button.setAttribute("aria-keyshortcuts", value);
  }
  return button;
}

/** A share as a text: "0.4 %" below ten, and else whole. */
export function percent(share) {
  const value = 100 * share;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** How far the project is: "15 of 100 answered, 4 of them in part". */
export function answered({ n_done: done, n_images: all, n_part: part = 0 }) {
  const text = `${done} of ${all} answered`;
  if (!part) return text;
  return part === done ? `${text}, in part` : `${text}, ${part} of them in part`;
}

/** The same once no image is without an answer. */
export function finished({ n_part: part = 0 }) {
  return `Every image has an answer${part ? `; ${part} in part alone` : ""}.`;
}
