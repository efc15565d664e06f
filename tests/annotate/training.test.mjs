import assert from "node:assert/strict";
import test from "node:test";

import { Ahead, planes } from "../../alseg/annotate/page/api.js";
import { Editor, OPEN, proposedObject } from "../../alseg/annotate/page/editor.js";
import { duration, isToSay, sentence } from "../../alseg/annotate/page/training.js";

const standing = (more) => ({ state: "training", text: "Learning", error: null, seconds_left: null, ...more });

test("the sentence has the time that is left", () => {
  assert.equal(sentence(standing({})), "Learning");
  assert.equal(sentence(standing({ seconds_left: 0.4 })), "Learning");
  assert.equal(sentence(standing({ seconds_left: 7.6 })), "Learning, 8 s left");
  assert.equal(sentence(standing({ state: "failed", error: "no memory" })), "Learning");
});

test("a time is said as a person would say it", () => {
  assert.deepEqual([3.2, 19, 44, 52, 70, 200].map(duration), ["3 s", "19 s", "40 s", "50 s", "1 min", "3 min"]);
});

test("a screen reader hears what lasts, not what comes again and again", () => {
  const said = { state: "waiting", at: 0 };
  assert.equal(isToSay({ state: "training" }, said, 15_000), true);
  assert.equal(isToSay({ state: "training" }, said, 14_000), false);
  assert.equal(isToSay({ state: "waiting" }, said, 99_000), false);
  assert.equal(isToSay({ state: "predicting" }, said, 99_000), false);
  assert.equal(isToSay({ state: "failed" }, said, 1), true);
});

test("a proposal is one plane, or two where there are several classes", () => {
  const size = { width: 2, height: 1 };
  const one = planes({ bytes: Uint8Array.of(9, 8), version: 3 }, size);
  assert.deepEqual(one, { proposal: Uint8Array.of(9, 8), kinds: null, version: 3 });
  const two = planes({ bytes: Uint8Array.of(9, 8, 1, 2), version: 3 }, size);
  assert.deepEqual([[...two.proposal], [...two.kinds]], [[9, 8], [1, 2]]);
  assert.equal(planes(null, size).proposal, null);
});

test("what is proposed is completed and taken by its classes", () => {
  const proposal = Uint8Array.of(200, 200, 200, 10);
  const kinds = Uint8Array.of(1, 2, 2, 1);
  const editor = new Editor(4, 1, Uint8Array.of(OPEN, OPEN, 0, OPEN));
  editor.complete(proposal, 128, 1, kinds);
  assert.deepEqual([...editor.marks], [1, 2, 0, 0]);
  assert.equal(proposedObject(proposal, 4, 1, 1, 0, 128, kinds).size, 2);
  assert.equal(proposedObject(proposal, 4, 1, 0, 0, 128, kinds).size, 1);
  assert.equal(proposedObject(proposal, 4, 1, 1, 0, 128).size, 3);
});

/** A server of one next image, whose proposal is of the version that it has now. */
function served(check = null) {
  const api = {
    version: 1,
    asked: 0,
    next: async () => ({ id: 7, width: 1, height: 1, proposal: true, check }),
    picture: async () => "blob",
    marks: async () => ({ bytes: Uint8Array.of(OPEN), revision: 0 }),
    proposed: async () => {
      api.asked++;
      return { bytes: Uint8Array.of(10 * api.version), version: api.version };
    },
  };
  return { api, ahead: new Ahead(api, async () => "picture") };
}

test("what was loaded ahead is asked again where a model has learned since", async () => {
  const { api, ahead } = served();
  ahead.prepare(1);
  await new Promise(setImmediate);
  api.version = ahead.newest = 2;
  const found = await ahead.take(1);
  assert.deepEqual([found.version, found.proposal[0], api.asked], [2, 20, 2]);
  ahead.prepare(7);
  const same = await ahead.take(7);
  assert.deepEqual([same.version, api.asked], [2, 3]); // nothing is newer
});

test("a proposal that takes too long, or fails, leaves the older one", async () => {
  const { api, ahead } = served();
  ahead.prepare(1);
  await new Promise(setImmediate);
  ahead.newest = 2;
  api.proposed = () => new Promise(() => {});
  assert.equal((await ahead.take(1)).proposal[0], 10);
  const other = served();
  other.ahead.prepare(1);
  await new Promise(setImmediate);
  other.ahead.newest = 2;
  other.api.proposed = () => Promise.reject(new Error("gone"));
  assert.equal((await other.ahead.take(1)).proposal[0], 10);
});

test("an open check is shown as it was loaded", async () => {
  const { api, ahead } = served("open");
  ahead.prepare(1);
  await new Promise(setImmediate);
  const before = api.asked;
  ahead.newest = 5;
  await ahead.take(1);
  assert.equal(api.asked, before);
});
