/** "Predict everything": a button, why it cannot be pressed, how far it is, where the masks are. */

import { $ } from "./dom.js";

const OFF = { ready: false, why: "Nothing is trained behind this page." };

/**
 * What the button and the sentence beside it say.
 *
 * @param {{ready: boolean, why: string, running: boolean, done: number, total: number,
 *   out: string | null, error: string | null}} standing
 */
export function sentence({ ready, why, running, done, total, out, error }) {
  if (running) {
    const part = total ? `${done} of ${total} images` : "the model is fitted first";
    return { enabled: false, text: `Predicting: ${part}` };
  }
  if (error) return { enabled: ready, text: error };
  if (!ready) return { enabled: false, text: why };
  return { enabled: true, text: why || (out ? `The masks are in ${out}` : "") };
}

/** Joins the button to what the server says of its standing. */
export function follow(desk) {
  const show = (standing) => {
    const { enabled, text } = sentence(standing);
    $("predict").disabled = !enabled;
    $("predict-why").textContent = text;
  };
  show(OFF);
  desk.on("standing", ({ predict }) => show(predict ?? OFF));
  $("predict").addEventListener("click", async () => {
    $("predict").disabled = true;
    try {
      const { out } = await desk.api.predict();
      $("predict-why").textContent = `Predicting; the masks come to ${out}`;
    } catch (error) {
      $("predict-why").textContent = error.message;
      $("predict").disabled = false;
    }
  });
}
