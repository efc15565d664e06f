/** How the picture is shown: brightness and contrast, and of deep images window and channels. */

import { $ } from "./dom.js";

const PLAIN = { brightness: 100, contrast: 100, low: 0.1, high: 99.9, channels: null };
const WAIT = 150; // milliseconds from the last move of a slider to the question for a picture

/** Has an image more to it than a screen shows at once? */
export function isDeep({ bits = 8, channels = 3 }) {
  return bits > 8 || ![1, 3].includes(channels);
}

/** The query of a picture's address; empty for what the server shows by itself. */
export function query(image, { low, high, channels }) {
  if (!isDeep(image)) return "";
  const parts = [];
  if (low !== PLAIN.low || high !== PLAIN.high) parts.push(`low=${low}`, `high=${high}`);
  const fits = channels?.every((one) => one < (image.channels ?? 3));
  if (fits && (image.channels ?? 3) > 1) parts.push(`channels=${channels.join(",")}`);
  return parts.join("&");
}

/** What CSS makes of brightness and contrast, in percent. */
export function filter({ brightness, contrast }) {
  if (brightness === 100 && contrast === 100) return "";
  return `brightness(${brightness}%) contrast(${contrast}%)`;
}

/** What was kept, as far as it is what we write. */
export function restored(text) {
  let kept;
  try {
    kept = JSON.parse(text) ?? {};
  } catch {
    kept = {};
  }
  const found = { ...PLAIN };
  const within = (value, low, high) => Number.isFinite(value) && value >= low && value <= high;
  for (const name of ["brightness", "contrast"]) {
    if (within(kept[name], 10, 300)) found[name] = kept[name];
  }
  if (within(kept.low, 0, 100) && within(kept.high, 0, 100) && kept.low < kept.high) {
    [found.low, found.high] = [kept.low, kept.high];
  }
  const { channels } = kept;
  const numbers = Array.isArray(channels) && channels.every((c) => Number.isInteger(c) && c >= 0);
  if (numbers && [1, 3].includes(channels.length)) found.channels = channels;
  return found;
}

export function attach(desk) {
  let how = { ...PLAIN };
  let place = null; // in the browser's storage
  let waiting = 0;
  const store = globalThis.localStorage;

  desk.api.shown = (image) => query(image, how);

  desk.on("project", ({ name }) => {
    if (place === `alseg picture ${name}`) return;
    place = `alseg picture ${name}`;
    how = restored(store?.getItem(place) ?? null);
    draw();
  });
  desk.on("shown", () => {
    draw();
    renew(); // it may have been fetched before something was changed
  });

  function draw() {
    for (const name of ["brightness", "contrast", "low", "high"]) {
      $(name).value = how[name];
      $(`${name}-out`).textContent = `${how[name]} %`;
    }
    desk.view.filter = filter(how);
    const image = desk.now()?.image;
    const deep = Boolean(image) && isDeep(image);
    const several = deep && (image.channels ?? 3) > 1;
    for (const part of document.querySelectorAll("[data-for=deep]")) part.hidden = !deep;
    $("channels").hidden = !several;
    if (several) drawChannels(image.channels);
  }

  function drawChannels(n) {
    const fits = how.channels?.every((one) => one < n);
    const shown = fits ? how.channels : n > 2 ? [0, 1, 2] : [0];
    const grey = shown.length === 1;
    $("one-channel").checked = grey;
    for (const [k, id] of ["red", "green", "blue"].entries()) {
      const options = Array.from({ length: n }, (_, c) => new Option(`channel ${c + 1}`, c));
      $(id).replaceChildren(...options);
      $(id).value = shown[k] ?? shown[0];
      $(id).closest("label").hidden = grey && k > 0;
    }
    $("red").closest("label").firstElementChild.textContent = grey ? "Grey" : "Red";
  }

  function changed(later = false) {
    store?.setItem(place, JSON.stringify(how));
    draw();
    clearTimeout(waiting);
    waiting = setTimeout(renew, later ? WAIT : 0);
  }

  /** Fetches the picture anew, if it is not the one that is wanted now. */
  async function renew() {
    const now = desk.now();
    const wanted = now && desk.api.shown(now.image);
    if (!now || now.shown === wanted) return;
    try {
      const picture = await desk.decode(await desk.api.picture(now.image.id, wanted));
      if (desk.now() !== now || desk.api.shown(now.image) !== wanted) return picture.close();
      desk.repicture(picture, wanted);
    } catch (error) {
      desk.say(error.message);
    }
    return undefined;
  }

  for (const name of ["brightness", "contrast", "low", "high"]) {
    $(name).addEventListener("input", () => {
      how[name] = Number($(name).value);
      if (how.low >= how.high) {
        if (name === "low") how.low = Math.max(0, how.high - 0.1);
        else how.high = Math.min(100, how.low + 0.1);
      }
      changed(true);
    });
  }
  for (const id of ["red", "green", "blue", "one-channel"]) {
    $(id).addEventListener("change", () => {
      const ids = $("one-channel").checked ? ["red"] : ["red", "green", "blue"];
      how.channels = ids.map((one) => Number($(one).value));
      changed();
    });
  }
  $("reset-picture").addEventListener("click", () => {
    how = { ...PLAIN };
    changed();
  });
}
