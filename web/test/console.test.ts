import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";
import type { VM } from "../src/api.ts";
import { key, serialKeys, strokesFor } from "../src/console/keys.ts";
import { moved } from "../src/console/link.ts";
import { offers } from "../src/console/power.ts";
import { Hush, Replay } from "../src/console/replay.ts";
import { Typist } from "../src/console/typist.ts";
import { backWords, othersWords, stateOf } from "../src/console/words.ts";

const vm = (v: Partial<VM>): VM => ({ id: 1, uuid: "u", name: "web", host: "host1", state: "running", reachable: true, ...v });

test("a text becomes strokes of a US keyboard", () => {
  const found = strokesFor("aA1!~\n\t é€");
  deepEqual(found.strokes.map((s) => `${s.shift ? "+" : ""}${s.code}`), ["KeyA", "+KeyA", "Digit1", "+Digit1", "+Backquote", "Enter", "Tab", "Space"]);
  deepEqual(found.missing, ["é", "€"]);
  equal(strokesFor("a\r\nb\rc").strokes.filter((s) => s.code === "Enter").length, 2);
  for (let c = 0x20; c < 0x7f; c++) {
    const s = strokesFor(String.fromCharCode(c)).strokes[0];
    equal(s?.keysym, c, `character ${c}`);
  }
});

test("keys have the numbers of X11", () => {
  deepEqual(key("F1"), { keysym: 0xffbe, code: "F1" });
  deepEqual(key("F12"), { keysym: 0xffc9, code: "F12" });
  deepEqual(key("Print"), { keysym: 0xff61, code: "PrintScreen" });
  for (let i = 1; i <= 12; i++) ok(serialKeys[`F${i}`] !== undefined);
});

test("a text is typed piece by piece, and can be stopped", () => {
  const waiting: (() => void)[] = [];
  const typist = new Typist((_, then) => {
    waiting.push(then);
    return () => waiting.splice(0);
  });
  let typed = "";
  const told: string[] = [];
  const type = (text: string, stops = ""): void => typist.type([...text], 5, (c) => {
    if (c === stops) return false;
    typed += c;
    return true;
  }, (done, end) => told.push(`${done} ${end}`));
  type("abc");
  waiting.shift()?.();
  equal(typed, "ab");
  ok(typist.busy);
  typist.stop();
  ok(!typist.busy && waiting.length === 0);
  deepEqual(told, ["1 null", "2 null", "2 stopped"]);
  typist.stop(); // says nothing more
  told.length = 0;
  type("xy");
  while (waiting.length > 0) waiting.shift()?.();
  deepEqual(told, ["1 null", "2 null", "2 typed"]);
  type("pq", "q"); // the connection goes
  waiting.shift()?.();
  deepEqual(told.slice(3), ["1 null", "1 stopped"]);
  equal(typed, "abxyp");
});

test("what a serial line repeats is not shown twice", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const words = (b: Uint8Array): string => new TextDecoder().decode(b);
  const r = new Replay();
  equal(words(r.first(bytes("booting the kernel\nlogin: "))), "booting the kernel\nlogin: ");
  r.next(bytes("anna\n"));
  // Others looked meanwhile, so the server still knows all of it, and more.
  equal(words(r.first(bytes("booting the kernel\nlogin: anna\nwelcome\n"))), "welcome\n");
  // Nobody did: only what is new comes.
  equal(words(r.first(bytes("$ "))), "$ ");
  // All of it is there.
  equal(words(r.first(bytes("booting the kernel\nlogin: anna\nwelcome\n$ "))), "");
  const long = new Replay();
  const page = "x".repeat(40_000) + "the end of the page";
  long.first(bytes(page));
  equal(words(long.first(bytes(`${page.slice(-32_000)}!`))), "!");
});

test("a terminal does not answer what was asked before it came", () => {
  const hush = new Hush();
  const sent: string[] = [];
  const data = (text: string): void => {
    if (!hush.on) sent.push(text);
  };
  const shown: (() => void)[] = [];
  hush.during((done) => {
    data("\x1b[1;1R");
    shown.push(done);
  });
  hush.during((done) => shown.push(done)); // it was lost, and is back already
  shown[0]?.();
  data("\x1b[2;1R");
  shown[1]?.();
  data("x");
  deepEqual(sent, ["x"]);
});

test("a state is told as it is", () => {
  deepEqual(stateOf(vm({})), { mark: "running", words: "Running" });
  deepEqual(stateOf(vm({ reachable: false })), { mark: "alarm", words: "Its host does not answer" });
  deepEqual(stateOf(vm({ state: "off", reason: "saved" })), { mark: "off", words: "Off, saved" });
  deepEqual(stateOf(vm({ task: { id: 1, kind: "Migrate VM Between Hosts", progress: 62 } })), { mark: "busy", words: "Migrating · 62 %" });
  deepEqual(stateOf(vm({ task: { id: 1, kind: "Grow Disk", progress: 0 } })), { mark: "busy", words: "Busy …" });
});

test("a connection that is back says what happened", () => {
  equal(backWords({ code: moved, millis: 412 }, "host1", "host2"), "Moved to host2. Reconnected in 0.4 s.");
  equal(backWords({ code: moved, millis: 2000 }, "host1", "host1"), "Reconnected in 2.0 s.");
  equal(backWords({ code: 1006, millis: 61_000 }, "host1", "host2"), "Reconnected in 61 s.");
  equal(backWords({ code: moved, millis: 400 }, "", ""), "Reconnected in 0.4 s."); // who may not see hosts
});

test("the power menu is the API's actions, with its reasons", () => {
  const yes = { allowed: true };
  const running = offers(vm({ actions: { shutdown: yes, destroy: yes, suspend: { allowed: false, reason: "task 7 holds it" } } }));
  deepEqual(running.map((o) => o.name), ["shutdown", "reboot", "suspend", "save", "destroy", "reset"]);
  equal(running.find((o) => o.name === "suspend")?.reason, "task 7 holds it");
  equal(running.find((o) => o.name === "reboot")?.reason, "That is not yours to do");
  equal(running.find((o) => o.name === "shutdown")?.reason, undefined);
  deepEqual(offers(vm({ state: "off", actions: { start: yes } })).map((o) => o.name), ["start"]);
  deepEqual(offers(vm({ state: "off", reason: "saved", actions: { start: yes, destroy: yes } })).map((o) => o.name), ["start", "destroy"]);
  ok(offers(vm({ state: "paused" })).some((o) => o.name === "resume"));
});

test("who else looks is named, oneself is not", () => {
  const at = (user: string, v: object = {}) => ({ user, kind: "screen", yours: false, ...v });
  equal(othersWords([], "screen"), "");
  equal(othersWords([at("anna", { yours: true }), at("bert", { kind: "serial" })], "screen"), "");
  equal(othersWords([at("bert"), at("anna", { yours: true }), at("bert")], "screen"), "Also here: bert");
  equal(othersWords([at("bert", { vnc_client: true }), at("anna", { yours: true, vnc_client: true })], "screen"), "Also here: a VNC client of bert, your VNC client");
  equal(othersWords(["a", "b", "c", "d", "e"].map((u) => at(u)), "screen"), "Also here: a, b, c and 2 more");
});
