/** Works out beside the page what a flood takes: of a large image that is longer than a frame. */

import { sameColour } from "./editor.js";

let [colours, width, height] = [null, 0, 0];

self.addEventListener("message", ({ data }) => {
  if (data.picture) {
    ({ width, height } = data.picture);
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(data.picture, 0, 0);
    colours = context.getImageData(0, 0, width, height).data;
    data.picture.close();
    return;
  }
  const found = sameColour(colours, width, height, data.x, data.y, data.tolerance);
  const taken = found.taken.slice(); // its own memory, which moves to the page
  self.postMessage({ ...found, taken }, [taken.buffer]);
});
