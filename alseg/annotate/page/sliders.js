/** The sliders of the hand: how wide, how alike, from which probability on, how strong a tint. */

import { $, percent } from "./dom.js";

export function attach({ hand, view, now, key }) {
  function slider(id, show, after) {
    const moved = () => {
      $(`${id}-out`).textContent = show($(id).value);
      after(Number($(id).value));
    };
    moved();
    $(id).addEventListener("input", moved);
    return moved;
  }

  let waiting = false;
  const brushed = slider("brush", (value) => `${value} px`, (value) => (hand.brush = value));
  slider("tolerance", (value) => `± ${value}`, (value) => (hand.tolerance = value));
  slider("opacity", (value) => `${value} %`, (value) => {
    view.opacity = value / 100;
    view.redraw();
  });
  slider("threshold", (value) => percent(value / 255), (value) => {
    hand.threshold = value;
    if (waiting || !now()) return;
    waiting = true; // once a frame: a large image takes a while
    requestAnimationFrame(() => {
      waiting = false;
      if (now()) view.paint(now().editor.whole);
    });
  });

  function widen(width) {
    $("brush").value = width; // within its ends
    brushed();
  }
  key("[", () => widen(Math.min(hand.brush - 1, Math.round(hand.brush / 1.25))));
  key("]", () => widen(Math.max(hand.brush + 1, Math.round(hand.brush * 1.25))));
}
