import { attribute, el } from "../ui/dom.ts";
import { strokesFor, type Stroke } from "./keys.ts";

/**
 * A row of keys for screens that one touches: those that a phone's keyboard lacks,
 * and a button that brings that keyboard. Ctrl and Alt hold for the next key.
 */
export class Touch {
  readonly element = el("div", { class: "touch", role: "group", "aria-label": "Keys" });
  private readonly held = { Ctrl: el("button", {}), Alt: el("button", {}) };
  private readonly input = el("textarea", { class: "offscreen", "aria-label": "Type into the VM", autocapitalize: "none", autocomplete: "off", autocorrect: "off", spellcheck: "false", oninput: () => this.typed(), onkeydown: (e: KeyboardEvent) => this.onKey(e) });

  constructor(private readonly press: (name: string, control: boolean, alt: boolean) => void, private readonly stroke: (s: Stroke, text: string, control: boolean, alt: boolean) => boolean) {
    const button = (label: string, onclick: () => void): HTMLButtonElement => el("button", { type: "button", onclick, onpointerdown: (e: Event) => e.preventDefault() }, label);
    const hold = (name: "Ctrl" | "Alt"): HTMLButtonElement => {
      const b = button(name, () => attribute(b, "aria-pressed", b.getAttribute("aria-pressed") === "true" ? "false" : "true"));
      attribute(b, "aria-pressed", "false");
      this.held[name] = b;
      return b;
    };
    this.element.append(button("Keyboard", () => this.input.focus()), this.input, hold("Ctrl"), hold("Alt"),
      ...["Esc", "Tab", "←", "↑", "↓", "→"].map((name) => button(name, () => this.send(name))));
  }

  private take(name: "Ctrl" | "Alt"): boolean {
    const on = this.held[name].getAttribute("aria-pressed") === "true";
    attribute(this.held[name], "aria-pressed", "false");
    return on;
  }

  private send(name: string): void {
    this.press(name, this.take("Ctrl"), this.take("Alt"));
  }

  private typed(): void {
    const text = this.input.value;
    this.input.value = "";
    const control = this.take("Ctrl");
    const alt = this.take("Alt");
    for (const c of text) {
      const s = strokesFor(c).strokes[0] ?? { keysym: 0x01000000 + (c.codePointAt(0) ?? 0), code: "", shift: false };
      this.stroke(s, lineText(c, control, alt), control, alt);
    }
  }

  private onKey(e: KeyboardEvent): void {
    if (e.key !== "Backspace") return;
    e.preventDefault();
    this.stroke({ keysym: 0xff08, code: "Backspace", shift: false }, "\x7f", false, false);
  }
}

/** What a terminal sends for a character with Ctrl and Alt. */
export function lineText(c: string, control: boolean, alt: boolean): string {
  let text = c === "\n" ? "\r" : c;
  if (control && /[a-z]/i.test(c)) text = String.fromCharCode(c.toLowerCase().charCodeAt(0) - 96);
  return alt ? `\x1b${text}` : text;
}
