/** Floods of the image on the desk, worked out by a worker: the page answers meanwhile. */

export function attach(desk) {
  let worker = null;
  let sent = null; // the picture that the worker has
  let asked = []; // who waits for a flood, in the order of the questions

  function start() {
    worker = new Worker("/page/flood_worker.js", { type: "module" });
    worker.addEventListener("message", ({ data }) => asked.shift().resolve(data));
    worker.addEventListener("error", () => {
      const message = "Flood stopped. Try it again, or another tool.";
      for (const { reject } of asked) reject(new Error(message));
      worker.terminate();
      asked = [];
      worker = sent = null;
    });
  }

  /** The worker gets the picture as soon as the tool is in the hand: the first click finds it there. */
  function prepare() {
    const picture = desk.now()?.picture;
    if (!picture || picture === sent || desk.hand.tool !== "flood") return;
    if (!worker) start();
    sent = picture;
    worker.postMessage({ picture });
  }

  desk.hand.flood = (x, y) => {
    prepare();
    return new Promise((resolve, reject) => {
      asked.push({ resolve, reject });
      worker.postMessage({ x, y, tolerance: desk.hand.tolerance });
    });
  };
  desk.on("held", prepare);
  desk.on("shown", prepare);
}
