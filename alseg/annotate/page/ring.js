/** The circle that shows how much the brush covers. */

import { $ } from "./dom.js";

export function attach({ hand, view }) {
  const [canvas, ring] = [$("canvas"), $("ring")];
  canvas.addEventListener("pointermove", (event) => {
    const { tool, brush } = hand;
    ring.hidden = !["brush", "eraser", "line"].includes(tool) || event.pointerType === "touch";
    if (ring.hidden) return;
    const size = Math.max(3, (brush * view.transform.scale) / view.ratio);
    const frame = canvas.getBoundingClientRect();
    ring.style.width = ring.style.height = `${size}px`;
    const [x, y] = [event.clientX - frame.left - size / 2, event.clientY - frame.top - size / 2];
    ring.style.transform = `translate(${x}px, ${y}px)`;
  });
  canvas.addEventListener("pointerleave", () => (ring.hidden = true));
}
