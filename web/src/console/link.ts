import { Problem } from "../api.ts";

/** The close codes of a console's WebSocket: why it ended (console.go). */
export const moved = 4001;
export const switchedOff = 4002;
export const refused = 4003;

export type State =
  | { name: "idle" } // nobody looked yet
  | { name: "connecting" }
  | { name: "open"; back: Back | null } // back: what was overcome to get here
  | { name: "waiting"; words: string; problem: Problem | null } // tried again by itself
  | { name: "off" } // there is nothing to see until the VM runs
  | { name: "ended"; words: string; problem: Problem | null }; // not tried again by itself

/** How a connection that was lost came back. */
export interface Back {
  code: number; // with which the one before was closed
  millis: number; // between the two
}

/** What a link stands on; tests have their own. */
export interface Ground<C extends Channel> {
  ticket(): Promise<string>; // where to open the WebSocket; fails with a Problem
  open(url: string): C;
  now(): number; // milliseconds
  after(millis: number, then: () => void): () => void; // returns how to call it off
}

/** The part of a WebSocket that a link looks at. */
export interface Channel {
  addEventListener(type: "open", heard: () => void): void;
  addEventListener(type: "close", heard: (e: { code: number; reason: string }) => void): void;
  close(): void;
}

const firstWait = 150;
const longestWait = 5000;
const openPatience = 15_000;
const steady = 5000; // who was open so long has overcome what was wrong

/**
 * One console of a VM, kept connected: each connection needs a ticket of its own,
 * and one that ends is followed by the next as long as there is something to see.
 */
export class Link<C extends Channel> {
  state: State = { name: "idle" };
  private channel: C | null = null;
  private tries = 0;
  private openedAt = 0;
  private lost: { code: number; at: number } | null = null;
  private callOff: () => void = () => {};
  private round = 0; // what belongs to an earlier one is not heard any more

  constructor(
    private readonly ground: Ground<C>,
    private readonly opened: (channel: C) => void, // called before anything arrives
    private readonly changed: (s: State) => void,
  ) {}

  /** Connects, if it is not connected and not about to be. */
  start(): void {
    if (this.state.name === "connecting" || this.state.name === "open") return;
    this.connect();
  }

  /** Tries now what would be tried later, and what waits for the VM to run. */
  nudge(): void {
    if (this.state.name === "waiting" || this.state.name === "off") this.connect();
  }

  /** Gives up a connection that does not answer, for a new one. */
  renew(): void {
    if (this.state.name !== "open" && this.state.name !== "connecting") return;
    this.drop();
    this.closed(1006, "");
  }

  private drop(): void {
    this.callOff();
    this.round++;
    this.channel?.close();
    this.channel = null;
  }

  private set(s: State): void {
    this.state = s;
    this.changed(s);
  }

  private connect(): void {
    this.drop();
    const round = this.round;
    this.set({ name: "connecting" });
    this.ground.ticket().then(
      (url) => {
        if (round === this.round) this.dial(url, round);
      },
      (e: unknown) => {
        if (round === this.round) this.noTicket(e instanceof Problem ? e : new Problem(0, "", String(e), ""));
      },
    );
  }

  private dial(url: string, round: number): void {
    const channel = this.ground.open(url);
    this.channel = channel;
    this.callOff = this.ground.after(openPatience, () => this.renew());
    channel.addEventListener("open", () => {
      if (round !== this.round) return;
      this.callOff();
      const back = this.lost === null ? null : { code: this.lost.code, millis: this.ground.now() - this.lost.at };
      this.lost = null;
      this.openedAt = this.ground.now();
      this.set({ name: "open", back });
    });
    channel.addEventListener("close", (e) => {
      if (round !== this.round) return;
      this.callOff();
      this.round++;
      this.channel = null;
      this.closed(e.code, e.reason);
    });
    this.opened(channel);
  }

  private closed(code: number, reason: string): void {
    // Another connection that ends at once must not be followed by the next at once, and so on.
    if (this.state.name === "open" && this.ground.now() - this.openedAt >= steady) this.tries = 0;
    this.lost ??= { code, at: this.ground.now() };
    if (code === switchedOff) this.set({ name: "off" });
    else if (code === refused) this.set({ name: "ended", words: reason, problem: null });
    else this.later(code === moved ? reason : "the connection is lost", null);
  }

  private noTicket(p: Problem): void {
    if (p.code === "vm_not_running") this.set({ name: "off" });
    else if (p.status === 401 || p.status === 403 || p.status === 404) this.set({ name: "ended", words: p.words, problem: p });
    else this.later(p.words, p);
  }

  private later(words: string, problem: Problem | null): void {
    this.set({ name: "waiting", words, problem });
    const wait = Math.min(firstWait * 2 ** this.tries, longestWait);
    this.tries++;
    this.callOff = this.ground.after(wait, () => this.connect());
  }
}
