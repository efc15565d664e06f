import assert from "node:assert/strict";
import { test } from "node:test";

import { Ahead, Api, Autosave, Refused, Stale, load } from "../../alseg/annotate/page/api.js";

/** A server of answers by "METHOD path", and the requests that it got. */
const server = (answers) => {
  const asked = [];
  const fetcher = async (path, options) => {
    const key = `${options.method ?? "GET"} ${path}`;
    asked.push({ key, ...options });
    const answer = answers[key];
    if (!answer) return new Response(JSON.stringify({ error: `no ${key}.` }), { status: 404 });
    return answer();
  };
  return { api: new Api("secret", fetcher), asked };
};
const json = (value, status = 200) => () => new Response(JSON.stringify(value), { status });
const raw = (bytes, headers = {}) => () => new Response(Uint8Array.from(bytes), { headers });

test("each request carries the token, and bytes go as they are", async () => {
  const { api, asked } = server({
    "GET /api/project": json({ name: "p" }),
    "PUT /api/images/3/marks?revision=2&answer=marks": json({ revision: 3 }),
    "PUT /api/images/3/marks?revision=3&answer=nothing": json({ revision: 4 }),
  });
  await api.project();
  assert.deepEqual(await api.saveMarks(3, 2, "marks", Uint8Array.of(1, 255)), { revision: 3 });
  await api.saveMarks(3, 3, "nothing", Uint8Array.of(1, 255));
  assert.ok(asked.every(({ headers }) => headers["X-Alseg-Token"] === "secret"));
  assert.deepEqual([...asked[1].body], [1, 255]);
  assert.equal(asked[2].body.length, 0);
});

test("marks come with their revision, and whether they are a draft", async () => {
  const headers = { "X-Alseg-Revision": "7", "X-Alseg-Draft": "1" };
  const { api } = server({ "GET /api/images/1/marks": raw([0, 255], headers) });
  assert.deepEqual(await api.marks(1), { bytes: Uint8Array.of(0, 255), revision: 7, draft: true });
  assert.equal(await api.proposal(1), null);
});

test("a refusal says why; 409 is stale; a silent server is named", async () => {
  const { api } = server({
    "PUT /api/images/1/draft?revision=0": json({ error: "saved since.", revision: 4 }, 409),
    "GET /api/images/1": () => new Response("oops", { status: 500 }),
  });
  await assert.rejects(api.saveDraft(1, 0, Uint8Array.of(1)), (error) => {
    assert.ok(error instanceof Stale);
    assert.equal(error.revision, 4);
    return error.message === "saved since.";
  });
  await assert.rejects(api.image(1), /answers 500/);
  await assert.rejects(api.image(2), /no GET \/api\/images\/2/);
  const silent = new Api("", async () => { throw new TypeError("failed"); });
  await assert.rejects(silent.project(), (error) => error instanceof Refused && error.status === 0);
});

const soon = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("many changes are one draft, saved after a while", async () => {
  let saved = 0;
  const states = [];
  const auto = new Autosave(async () => { saved++; }, (state) => states.push(state), 5);
  auto.changed();
  auto.changed();
  assert.equal(saved, 0);
  while (states.at(-1) !== "saved") await soon(1);
  assert.equal(saved, 1);
  await auto.flush(); // nothing is open
  assert.equal(saved, 1);
  assert.deepEqual(states, ["changed", "changed", "saving", "saved"]);
});

test("one request at a time; what changed meanwhile is saved after it", async () => {
  let free;
  let running = 0;
  let most = 0;
  let saved = 0;
  const auto = new Autosave(async () => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => { free = resolve; });
    running--;
    saved++;
  }, () => {}, 1e6);
  auto.changed();
  const first = auto.flush();
  await soon(1);
  auto.changed();
  const second = auto.flush();
  await soon(1);
  assert.equal(saved, 0);
  free();
  await first;
  while (running === 0) await soon(1);
  free();
  await second;
  assert.equal(saved, 2);
  assert.equal(most, 1);
});

test("a failed draft is tried again, a stale one never", async () => {
  const states = [];
  let tries = 0;
  const auto = new Autosave(async () => {
    if (++tries === 1) throw new Refused(0, "gone.");
    throw new Stale("saved since.", 2);
  }, (state) => states.push(state), 2);
  auto.changed();
  while (states.at(-1) !== "stale") await soon(1);
  auto.changed();
  await auto.flush();
  assert.equal(tries, 2);
  assert.deepEqual(states, ["changed", "saving", "failed", "saving", "stale"]);
});

test("stop waits for what is on its way, and saves nothing after", async () => {
  let saved = 0;
  const auto = new Autosave(async () => { await soon(3); saved++; }, () => {}, 1);
  auto.changed();
  auto.flush();
  await soon(0);
  auto.changed();
  await auto.stop();
  const then = saved;
  await soon(10);
  assert.ok(then <= 1);
  assert.equal(saved, then);
});

const question = { id: 5, name: "a", width: 2, height: 1, revision: 0, proposal: true };
const whole = {
  "GET /api/next?after=4": json(question),
  "GET /api/images/5/picture": raw([1, 2, 3]),
  "GET /api/images/5/marks": raw([255, 255], { "X-Alseg-Revision": "6" }),
  "GET /api/images/5/proposal": raw([0, 200]),
};
const decode = async (blob) => blob.size;

test("an image comes with picture, marks, proposal and the revision of its marks", async () => {
  const { api } = server(whole);
  const { image, picture, marks, proposal } = await load(api, question, decode);
  assert.equal(image.revision, 6);
  assert.equal(picture, 3);
  assert.deepEqual([...marks.bytes, ...proposal], [255, 255, 0, 200]);
});

test("what was loaded ahead is not asked for again", async () => {
  const { api, asked } = server(whole);
  const ahead = new Ahead(api, decode);
  ahead.prepare(4);
  assert.equal((await ahead.take(4)).image.id, 5);
  assert.equal(asked.length, 4);
  assert.equal((await ahead.take(4)).image.id, 5); // taken once: asked anew
  assert.equal(asked.length, 8);
});

test("no question is left; what failed ahead is asked again", async () => {
  const answers = { "GET /api/next?after=1": json({ done: true }) };
  const { api } = server(answers);
  const ahead = new Ahead(api, decode);
  ahead.prepare(1);
  assert.equal(await ahead.take(1), null);
  ahead.prepare(4);
  await soon(5);
  Object.assign(answers, whole);
  assert.equal((await ahead.take(4)).image.id, 5);
});

test("a picture that does not come makes place for the question after it", async () => {
  let broken = true;
  const answers = {
    ...whole,
    "GET /api/next?after=3": () => json({ ...question, id: broken ? 7 : 5 })(),
    "GET /api/images/7/marks": raw([255, 255]),
    "GET /api/images/7/proposal": raw([0, 200]),
    "GET /api/images/7/thumbnail?side=192": () => {
      broken = false; // it has found out, and asks for another one
      return json({ error: "truncated." }, 404)();
    },
  };
  const { api } = server(answers);
  assert.equal((await new Ahead(api, decode).take(3)).image.id, 5);
  broken = true;
  answers["GET /api/images/7/thumbnail?side=192"] = raw([1]);
  await assert.rejects(new Ahead(api, decode).take(3), Refused); // asked twice, and no more
});

test("the gallery asks for what is chosen, and gives up what is not seen", async () => {
  const { api, asked } = server({
    "GET /api/gallery?offset=100&limit=50&sort=newest&label=a+%26b&find=%C3%BC": json({ images: [] }),
    "GET /api/images/4/overlay?of=mask&side=192": raw([1]),
    "GET /api/images/4/thumbnail?side=640": raw([1]),
  });
  const stop = new AbortController();
  const query = { sort: "newest", state: undefined, label: "a &b", find: "ü" };
  assert.deepEqual(await api.gallery(100, 50, query, stop.signal), { images: [] });
  await api.overlay(4, "mask", stop.signal);
  await api.thumbnail(4, stop.signal, 640);
  assert.ok(asked.every(({ signal }) => signal === stop.signal));
});
