import { ticket, type Problem } from "../api.ts";
import { Link, type State } from "./link.ts";
import type { Stroke } from "./keys.ts";
import type { Screen } from "./screen.ts";
import type { Serial } from "./serial.ts";

export type Kind = "screen" | "serial";

/** What a view tells the page. */
export interface Told {
  state(kind: Kind, s: State): void;
  size(kind: Kind, words: string): void;
  problem(p: Problem): void;
}

/**
 * One of the VM's consoles with its connection. The code that draws it is loaded
 * when it is first looked at; from then on it stays connected, also out of sight.
 */
export class View {
  readonly link: Link<WebSocket>;
  screen: Screen | null = null;
  serial: Serial | null = null;
  private loading: Promise<void> | null = null;

  constructor(readonly kind: Kind, ref: string, private readonly place: HTMLElement, private readonly told: Told) {
    const ground = {
      ticket: async () => (await ticket(ref, kind)).url,
      open: (path: string) => {
        const url = new URL(path, location.href);
        url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
        return new WebSocket(url);
      },
      now: () => performance.now(),
      after: (millis: number, then: () => void) => {
        const timer = window.setTimeout(then, millis);
        return () => window.clearTimeout(timer);
      },
    };
    this.link = new Link(ground, (channel) => this.connect(channel), (s) => {
      this.told.state(kind, s);
      if (s.name === "ended" && s.problem !== null) this.told.problem(s.problem);
    });
  }

  private connect(channel: WebSocket): void {
    this.screen?.connect(channel);
    this.serial?.connect(channel);
  }

  get element(): HTMLElement | undefined {
    return (this.screen ?? this.serial)?.element;
  }

  /** Loads what draws it, puts it in its place and connects. */
  load(): Promise<void> {
    this.loading ??= this.fetch().then(() => {
      if (this.element !== undefined) this.place.append(this.element);
      this.serial?.fit();
    });
    return this.loading.then(() => this.link.start());
  }

  private async fetch(): Promise<void> {
    if (this.kind === "screen") {
      const m = await import("./screen.ts");
      this.screen = new m.Screen((w, h) => this.told.size("screen", `${w} × ${h}, fitted`));
    } else {
      const m = await import("./serial.ts");
      this.serial = new m.Serial((columns, rows) => this.told.size("serial", `${columns} × ${rows} characters`));
    }
  }

  focus(): void {
    (this.screen ?? this.serial)?.focus();
  }

  blur(): void {
    (this.screen ?? this.serial)?.blur();
  }

  /** Types one character; false if there is no connection. */
  stroke(s: Stroke, text: string, control = false, alt = false): boolean {
    if (this.link.state.name !== "open") return false;
    this.screen?.stroke(s, control, alt);
    return this.serial === null || this.serial.send(text);
  }
}
