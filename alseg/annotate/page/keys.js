/** Who hears a key: a dialog, the gallery, what has the focus, a part of the page, the desk. */

import { $ } from "./dom.js";

const REPEATED = ["[", "]", "+", "=", "-"]; // these go on while they are held

/**
 * Listens to the keys of the desk.
 *
 * @param {Object<string, (event: KeyboardEvent) => void>} acts  by key, in small letters
 * @param {Object<string, (down: boolean) => void>} held  what holds as long as the key does
 * @param {((key: string, event: KeyboardEvent) => boolean)[]} takers  who is asked before
 * @param {(kind: "undo" | "redo") => void} step
 */
export function listenToKeys(acts, held, takers, step) {
  window.addEventListener("keydown", (event) => {
    const key = event.key.toLowerCase();
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (!$("gallery").hidden) return; // it has keys of its own
    if (event.ctrlKey || event.metaKey) {
      const redo = key === "y" || (key === "z" && event.shiftKey);
      if (!redo && key !== "z") return;
      event.preventDefault();
      step(redo ? "redo" : "undo");
      return;
    }
    if (event.altKey || ours(event.target, key)) return;
    if (takers.some((hear) => hear(key, event))) {
      event.preventDefault();
      return;
    }
    if (event.repeat && !REPEATED.includes(key)) return;
    if (key in held) held[key](true);
    else if (key in acts) acts[key](event);
    else return;
    event.preventDefault();
  });
  window.addEventListener("keyup", (event) => held[event.key.toLowerCase()]?.(false));
  // A key that is let go in another window is never heard here.
  window.addEventListener("blur", () => Object.values(held).forEach((act) => act(false)));
}

/** Does what has the focus need this key itself? */
function ours(target, key) {
  if (!(target instanceof Element)) return false;
  if (target.checkVisibility?.() === false) return false; // of a dialog that was closed just now
  if (target.matches("select, input:not([type=range])")) return true;
  if (target.matches("input[type=range]")) return key.startsWith("arrow");
  if (target.matches("[role=radio]") && key.startsWith("arrow")) return true;
  return target.matches("button:not([role=radio]), summary") && (key === "enter" || key === " ");
}

/** Arrow keys within a group of which one is chosen. */
export function arrows(group) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const all = [...group.children];
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    next.click();
    event.preventDefault();
  });
}
