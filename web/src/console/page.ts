import { act, getVM, Problem, viewers, type Viewer, type VM } from "../api.ts";
import { askFor } from "../signin.ts";
import { attribute, el, Notices } from "../ui/dom.ts";
import { Menu, type Item } from "../ui/menu.ts";
import { serialKeys } from "./keys.ts";
import type { State } from "./link.ts";
import { offers, type Offer } from "./power.ts";
import { Pulse } from "./pulse.ts";
import { confirm, typeText } from "./sheets.ts";
import { Touch } from "./touch.ts";
import { Typist } from "./typist.ts";
import { View, type Kind } from "./view.ts";
import { Watch } from "./watch.ts";
import { backWords, othersWords, stateOf } from "./words.ts";

export type { Kind };

const doubleEscape = 400; // milliseconds between the two that leave the keyboard

/** The console page: a bar, one of two views, a foot; and what holds them together. */
export class Page {
  private readonly name = el("h1", {});
  private readonly state = el("span", { class: "state" });
  private readonly tabs: Record<Kind, HTMLButtonElement>;
  private readonly stage = el("main", { class: "stage" });
  private readonly empty = el("section", { class: "empty", hidden: true });
  private readonly notices = new Notices();
  private readonly path = el("span", { class: "path" });
  private readonly size = el("span", { class: "size" });
  private readonly others = el("span", { class: "others", role: "status" });
  private readonly bar: HTMLElement;
  private readonly views: Record<Kind, View>;
  private readonly watch: Watch;
  private readonly typist = new Typist((millis, then) => {
    const timer = window.setTimeout(then, millis);
    return () => window.clearTimeout(timer);
  });
  private kind: Kind = "screen";
  private vm: VM | null = null;
  private gone: Problem | null = null; // the API does not show the VM
  private hostAtOpen = ""; // where it was when the connection was opened
  private troubled = false; // a notice says that the API does not answer
  private delay: number | null = null;
  private looking: Viewer[] = []; // who looks at the VM, oneself too
  private escaped = 0;
  private readonly sizes: Record<Kind, string> = { screen: "", serial: "" };

  constructor(root: HTMLElement, private readonly ref: string, kind: Kind, private readonly turned: (k: Kind) => void) {
    const tab = (k: Kind, label: string): HTMLButtonElement => el("button", { type: "button", "aria-pressed": "false", onclick: () => this.show(k) }, label);
    this.tabs = { screen: tab("screen", "Screen"), serial: tab("serial", "Serial") };
    const told = {
      state: (k: Kind, s: State) => this.onLink(k, s),
      size: (k: Kind, words: string) => {
        this.sizes[k] = words;
        this.render();
      },
      problem: (p: Problem) => this.onProblem(p),
    };
    this.views = { screen: new View("screen", ref, this.stage, told), serial: new View("serial", ref, this.stage, told) };
    this.bar = this.makeBar();
    const touch = new Touch((name, control, alt) => this.press(name, control, alt), (s, text, control, alt) => this.view.stroke(s, text, control, alt));
    this.stage.append(this.empty, this.notices.element);
    root.append(this.bar, this.stage, touch.element, el("footer", {}, this.path, this.others, this.size, el("span", { class: "hint" }, "Esc Esc leaves the keyboard")));
    document.addEventListener("keydown", (e) => this.onKey(e), { capture: true });
    new Pulse((millis) => {
      this.delay = millis;
      this.render();
      if (millis !== null) this.lookAround();
    }, () => {
      for (const v of Object.values(this.views)) v.link.renew();
    }).start();
    this.watch = new Watch(ref, (vm) => this.onVM(vm), (p) => this.onProblem(p));
    window.addEventListener("online", () => this.nudge());
    this.kind = kind;
    this.render();
    this.watch.look();
  }

  private get view(): View {
    return this.views[this.kind];
  }

  private makeBar(): HTMLElement {
    const back = (): void => this.focus();
    const tool = (label: string, onclick: () => void): HTMLElement => el("button", { type: "button", class: "tool", onclick }, label);
    return el("header", { class: "bar" },
      el("span", { class: "mark", "aria-hidden": "true" }), this.name, this.state,
      el("div", { class: "tabs", role: "group", "aria-label": "Console" }, this.tabs.screen, this.tabs.serial),
      el("div", { class: "tools", role: "group", "aria-label": "Tools" },
        new Menu("Keys", () => this.keyItems(), back).element,
        tool("Type text", () => typeText(this.typist, { serial: this.kind === "serial", stroke: (s, text) => this.view.stroke(s, text) }, back)),
        el("a", { class: "tool", href: `/api/v1/vms/${encodeURIComponent(this.ref)}/screenshot`, download: `${this.ref}.png` }, "Picture"),
        new Menu("Power", () => this.powerItems(), back).element,
        tool("Full screen", () => this.fullScreen())));
  }

  /** Turns to a view; the other one stays connected. */
  show(kind: Kind): void {
    this.kind = kind;
    this.turned(kind);
    this.render();
    if (this.vm === null) return;
    void this.view.load().then(() => {
      this.render();
      this.view.serial?.fit();
      this.focus();
    }, () => this.notices.say("A part of this page did not arrive. Load it again.", 0));
  }

  private focus(): void {
    if (document.querySelector("dialog[open]") === null) this.view.focus();
  }

  private nudge(): void {
    for (const v of Object.values(this.views)) v.link.nudge();
  }

  private onVM(vm: VM): void {
    const first = this.vm === null || this.gone !== null;
    const ran = this.vm !== null && (this.vm.state === "running" || this.vm.state === "paused");
    const runs = vm.state === "running" || vm.state === "paused";
    this.vm = vm;
    this.gone = null;
    document.title = `${vm.name} console · Baadal`;
    if (this.hostAtOpen === "") this.hostAtOpen = vm.host;
    if (this.troubled) this.notices.say("");
    this.troubled = false;
    this.lookAround(); // somebody who came is what is new, too
    if (first) this.show(this.kind);
    else if (runs && (!ran || this.view.link.state.name === "off")) this.nudge();
    this.render();
  }

  /** Asks who else looks; while that cannot be had, nothing is said. */
  private lookAround(): void {
    if (this.vm === null || document.hidden) return;
    viewers(this.ref).catch(() => []).then((all) => {
      this.looking = all;
      this.render();
    });
  }

  private onProblem(p: Problem): void {
    const form = askFor(p);
    if (form !== null) {
      void form.then(() => {
        for (const v of Object.values(this.views)) if (v.link.state.name === "ended") v.link.start();
        this.watch.look();
      });
      return;
    }
    if (p.status === 403 || p.status === 404) {
      this.gone = p;
      this.vm = null;
    } else {
      this.notices.say(`${p.words} Trying again.`, 0);
      this.troubled = true;
    }
    this.render();
  }

  private onLink(kind: Kind, s: State): void {
    if (kind === this.kind) {
      if (s.name === "open") this.onOpen(s);
      else if (s.name === "waiting") this.notices.say(`${capital(s.words)} Connecting again …`, 0);
      else if (s.name === "off" || s.name === "ended") this.notices.say(s.name === "off" ? "" : `${capital(s.words)}`, 0);
    }
    if (s.name === "off" || s.name === "ended") this.watch.look(); // asks for a sign-in, if that is what is missing
    this.render();
  }

  private onOpen(s: State & { name: "open" }): void {
    if (s.back === null) {
      this.notices.say("");
      return;
    }
    const back = s.back;
    this.notices.say(backWords(back, "", ""));
    // Where it is now, the API knows: it has just led us there.
    getVM(this.ref).then((vm) => {
      this.notices.say(backWords(back, this.hostAtOpen, vm.host));
      this.hostAtOpen = vm.host;
      this.onVM(vm);
    }, () => this.watch.look());
  }

  private onKey(e: KeyboardEvent): void {
    const inside = e.target instanceof Node && this.view.element?.contains(e.target) === true;
    if (!inside || e.key !== "Escape") {
      this.escaped = 0;
      return;
    }
    if (e.timeStamp - this.escaped > doubleEscape) {
      this.escaped = e.timeStamp; // the first goes to the VM
      return;
    }
    this.escaped = 0;
    e.preventDefault();
    e.stopImmediatePropagation();
    this.view.blur();
    this.tabs[this.kind].focus();
    this.notices.say("The keyboard is yours again. A click on the console gives it back.");
  }

  private press(name: string, control = false, alt = false): void {
    if (this.kind === "screen") this.view.screen?.pressNamed(name, control, alt);
    else this.view.serial?.send(serialKeys[name] ?? "");
  }

  private keyItems(): Item[] {
    const noLine = this.kind === "serial" ? { reason: "A serial line has no such key" } : this.view.link.state.name === "open" ? {} : { reason: "It is not connected" };
    const f = Array.from({ length: 12 }, (_, i) => `F${i + 1}`);
    const onLine = this.view.link.state.name === "open" ? {} : { reason: "It is not connected" };
    return [
      { label: "Ctrl Alt Del", act: () => this.view.screen?.ctrlAltDel(), ...noLine },
      { label: "Print", act: () => this.press("Print"), ...noLine },
      ...["Esc", "Tab"].map((name) => ({ label: name, act: () => this.press(name), ...onLine })),
      ...f.map((name) => ({ label: name, act: () => this.press(name), ...onLine })),
      ...f.map((name) => ({ label: `Ctrl Alt ${name}`, act: () => this.press(name, true, true), ...noLine })),
    ];
  }

  private powerItems(): Item[] {
    if (this.vm === null) return [{ label: "Power", reason: "The VM is not known yet", act: () => {} }];
    return offers(this.vm).map((o) => ({ label: o.label, act: () => void this.power(o), ...(o.reason === undefined ? {} : { reason: o.reason }) }));
  }

  private async power(o: Offer): Promise<void> {
    const name = this.vm?.name ?? "";
    const label = o.label.replace("…", "");
    if (o.warns !== undefined && !(await confirm(`${label} ${name}?`, o.warns, label))) return;
    try {
      await act(this.ref, o.name);
    } catch (e) {
      if (!(e instanceof Problem)) throw e;
      if (askFor(e) === null) this.notices.say(e.words, 0);
      else this.onProblem(e);
    }
    this.watch.look();
  }

  private fullScreen(): void {
    const done = document.fullscreenElement === null ? this.stage.requestFullscreen() : document.exitFullscreen();
    done.then(() => this.focus(), () => this.notices.say("This browser has no full screen."));
  }

  private render(): void {
    const vm = this.vm;
    this.name.textContent = vm?.name ?? this.ref;
    const s = this.gone !== null || vm === null ? { mark: "", words: "" } : stateOf(vm);
    attribute(this.state, "data-mark", s.mark);
    this.state.textContent = s.words;
    for (const k of ["screen", "serial"] as const) {
      attribute(this.tabs[k], "aria-pressed", String(k === this.kind));
      this.views[k].element?.classList.toggle("shown", k === this.kind);
    }
    const link = this.view.link.state;
    attribute(this.stage, "data-link", link.name);
    attribute(this.stage, "data-kind", this.kind);
    this.renderEmpty(link);
    const dot = this.delay === null && link.name !== "open" ? "lost" : link.name === "open" ? "open" : "trying";
    attribute(this.path, "data-link", dot);
    const words = { open: "Connected through Baadal", connecting: "Connecting …", waiting: "Connecting again …", off: "Not connected", ended: "Not connected", idle: "" }[link.name];
    this.path.textContent = [words, vm?.host ?? "", this.delay === null ? "" : `${Math.max(1, Math.round(this.delay))} ms`].filter((w) => w !== "").join(" · ");
    this.size.textContent = this.sizes[this.kind];
    const others = link.name === "open" ? othersWords(this.looking, this.kind) : "";
    if (this.others.textContent !== others) this.others.textContent = others; // is read aloud when it changes
  }

  /** Says in the middle of the stage why there is nothing to see. */
  private renderEmpty(link: State): void {
    const key = this.gone !== null ? "gone" : this.vm !== null && link.name === "off" ? `off ${this.vm.state} ${this.vm.task?.id ?? ""} ${this.vm.actions?.["start"]?.allowed ?? ""}` : "";
    this.empty.hidden = key === "";
    if (this.empty.dataset["key"] === key) return;
    this.empty.dataset["key"] = key;
    if (this.gone !== null) {
      this.empty.replaceChildren(el("h2", {}, `There is no VM ${this.ref}, or it is not yours.`), el("p", {}, "Its name may have changed, or somebody who answers for it can let you in."));
      return;
    }
    const vm = this.vm;
    if (vm === null || key === "") return;
    const busy = vm.task !== undefined;
    const start = vm.actions?.["start"];
    this.empty.replaceChildren(
      el("h2", {}, busy ? `${vm.name}: ${stateOf(vm).words}` : `${vm.name} is ${stateOf(vm).words.toLowerCase()}.`),
      el("p", {}, busy ? "This page connects by itself when it runs." : start?.allowed === true ? "There is nothing to see until it runs." : start?.reason ?? ""),
      ...(!busy && start?.allowed === true ? [el("button", { type: "button", class: "primary", onclick: () => void this.power({ name: "start", label: "Start" }) }, "Start")] : []),
    );
  }
}

function capital(words: string): string {
  const sentence = /[.!?…]$/.test(words) ? words : `${words}.`;
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}
