import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../src/api.ts";
import { Link, moved, refused, switchedOff, type State } from "../src/console/link.ts";

class FakeSocket {
  private heard: Record<string, (e: { code: number; reason: string }) => void> = {};
  closed = false;
  addEventListener(type: string, heard: (e: { code: number; reason: string }) => void): void {
    this.heard[type] = heard;
  }
  close(): void {
    this.closed = true;
  }
  open(): void {
    this.heard["open"]?.({ code: 0, reason: "" });
  }
  end(code: number, reason = ""): void {
    this.heard["close"]?.({ code, reason });
  }
}

/** A link on sockets and a clock of the test's own. */
function bench(tickets: (string | Problem)[]) {
  const sockets: FakeSocket[] = [];
  const waits: number[] = [];
  const timers: { at: number; then: () => void }[] = [];
  const states: State[] = [];
  let now = 0;
  const link = new Link<FakeSocket>({
    ticket: () => {
      const t = tickets.shift() ?? "again";
      return t instanceof Problem ? Promise.reject(t) : Promise.resolve(t);
    },
    open: () => {
      const s = new FakeSocket();
      sockets.push(s);
      return s;
    },
    now: () => now,
    after: (millis, then) => {
      const timer = { at: now + millis, then };
      timers.push(timer);
      waits.push(millis);
      return () => {
        if (timers.includes(timer)) timers.splice(timers.indexOf(timer), 1);
      };
    },
  }, () => {}, (s) => states.push(s));
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) await Promise.resolve();
  };
  return {
    link, sockets, states, waits, settle,
    last: (): FakeSocket => {
      const s = sockets.at(-1);
      if (s === undefined) throw new Error("nothing was opened");
      return s;
    },
    /** Lets time pass to the next timer. */
    pass: async (): Promise<void> => {
      const next = timers.sort((a, b) => a.at - b.at).shift();
      if (next === undefined) throw new Error("nothing waits");
      now = next.at;
      next.then();
      await settle();
    },
    sleep: (millis: number): void => {
      now += millis;
    },
  };
}

test("a VM that moves is followed, and how long it took is known", async () => {
  const b = bench([]);
  b.link.start();
  await b.settle();
  b.last().open();
  deepEqual(b.link.state, { name: "open", back: null });
  b.last().end(moved, "web restarts or moves");
  deepEqual(b.link.state, { name: "waiting", words: "web restarts or moves", problem: null });
  await b.pass();
  b.sleep(250);
  b.last().open();
  deepEqual(b.link.state, { name: "open", back: { code: moved, millis: 400 } });
  equal(b.sockets.length, 2);
});

test("it waits longer each time, and not for ever", async () => {
  const away = (): Problem => new Problem(0, "no_answer", "Baadal does not answer", "");
  const b = bench(Array.from({ length: 9 }, away));
  b.link.start();
  await b.settle();
  for (let i = 0; i < 8; i++) await b.pass();
  deepEqual(b.waits, [150, 300, 600, 1200, 2400, 4800, 5000, 5000, 5000]);
  equal(b.sockets.length, 0);
});

test("connections that end as soon as they are open come slower and slower", async () => {
  const b = bench([]);
  b.link.start();
  await b.settle();
  const backoff = (): number[] => b.waits.filter((w) => w !== 15_000); // that is the patience for one to open
  for (let i = 0; i < 4; i++) {
    b.last().open();
    b.last().end(moved, "thrown out");
    await b.pass();
  }
  deepEqual(backoff(), [150, 300, 600, 1200]);
  b.last().open();
  b.sleep(6000);
  b.last().end(moved, "web moves"); // it had been open: the next may come soon
  deepEqual(backoff(), [150, 300, 600, 1200, 150]);
});

test("a VM that is off is left alone until it runs", async () => {
  const b = bench([]);
  b.link.start();
  await b.settle();
  b.last().open();
  b.last().end(switchedOff);
  equal(b.link.state.name, "off");
  b.link.nudge();
  await b.settle();
  b.last().open();
  equal(b.link.state.name, "open");
});

test("who is refused is not asked again by itself", async () => {
  for (const problem of [new Problem(401, "not_signed_in", "not signed in", ""), new Problem(404, "", "there is no VM", "")]) {
    const b = bench([problem]);
    b.link.start();
    await b.settle();
    equal(b.link.state.name, "ended");
    b.link.nudge();
    equal(b.link.state.name, "ended");
    b.link.start(); // after a sign-in
    await b.settle();
    equal(b.sockets.length, 1);
  }
  const b = bench([]);
  b.link.start();
  await b.settle();
  b.last().open();
  b.last().end(refused, "you may not see web any more");
  deepEqual(b.link.state, { name: "ended", words: "you may not see web any more", problem: null });
});

test("one that does not open in time is given up, and what it says later is not heard", async () => {
  const b = bench([]);
  b.link.start();
  await b.settle();
  const dead = b.last();
  await b.pass(); // patience
  equal(dead.closed, true);
  equal(b.link.state.name, "waiting");
  await b.pass();
  const live = b.last();
  live.open();
  dead.end(1006);
  dead.open();
  equal(b.link.state.name, "open");
  b.link.renew();
  equal(live.closed, true);
  equal(b.link.state.name, "waiting");
});

test("a ticket that comes after another start is not used", async () => {
  const b = bench([]);
  b.link.start();
  b.link.start(); // no second one
  await b.settle();
  equal(b.sockets.length, 1);
});
