import { attribute, el } from "./dom.ts";

export interface Item {
  label: string;
  hint?: string; // shown beside it
  reason?: string; // why it cannot be chosen now
  act: () => void;
}

/**
 * A button that opens a menu, as the ARIA practices have it: arrows, Home, End,
 * first letters, Escape. Its items are asked for when it opens. What cannot be
 * chosen stays in reach and says why.
 */
export class Menu {
  readonly element: HTMLElement;
  private readonly button: HTMLButtonElement;
  private readonly list: HTMLElement;

  constructor(label: string, private readonly items: () => Item[], private readonly closed: () => void) {
    this.button = el("button", { type: "button", class: "tool", "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => this.toggle(), onkeydown: (e: KeyboardEvent) => this.onButtonKey(e) }, label, el("span", { class: "caret", "aria-hidden": "true" }, "▾"));
    this.list = el("ul", { role: "menu", "aria-label": label, hidden: true, onkeydown: (e: KeyboardEvent) => this.onKey(e) });
    this.element = el("div", { class: "menu", onfocusout: (e: FocusEvent) => this.onFocusOut(e) }, this.button, this.list);
  }

  get open(): boolean {
    return !this.list.hidden;
  }

  private onButtonKey(e: KeyboardEvent): void {
    if (e.key !== "ArrowDown" && e.key !== "ArrowUp") return;
    e.preventDefault();
    this.show();
  }

  private onFocusOut(e: FocusEvent): void {
    if (this.open && !(e.relatedTarget instanceof Node && this.element.contains(e.relatedTarget))) this.hide();
  }

  private toggle(): void {
    if (this.open) this.hide();
    else this.show();
  }

  private show(): void {
    this.list.replaceChildren(...this.items().map((item) => this.row(item)));
    this.list.hidden = false;
    attribute(this.button, "aria-expanded", "true");
    // Keep it in the window, also at phone width.
    this.list.classList.toggle("left", this.button.getBoundingClientRect().left < window.innerWidth / 2);
    this.rows()[0]?.focus();
  }

  private hide(): void {
    this.list.hidden = true;
    attribute(this.button, "aria-expanded", "false");
  }

  private row(item: Item): HTMLElement {
    const choose = (): void => {
      if (item.reason !== undefined) return;
      this.hide();
      item.act();
      this.closed();
    };
    return el("li", { role: "none" }, el("button", { type: "button", role: "menuitem", tabindex: "-1", "aria-disabled": item.reason !== undefined ? "true" : false, onclick: choose },
      item.label,
      item.hint === undefined ? null : el("small", {}, item.hint),
      item.reason === undefined ? null : el("small", { class: "reason" }, item.reason)));
  }

  private rows(): HTMLElement[] {
    return [...this.list.querySelectorAll<HTMLElement>("[role=menuitem]")];
  }

  private onKey(e: KeyboardEvent): void {
    const rows = this.rows();
    const at = rows.indexOf(document.activeElement as HTMLElement);
    const go = (i: number): void => rows[(i + rows.length) % rows.length]?.focus();
    if (e.key === "ArrowDown") go(at + 1);
    else if (e.key === "ArrowUp") go(at - 1);
    else if (e.key === "Home") go(0);
    else if (e.key === "End") go(-1);
    else if (e.key === "Escape") {
      this.hide();
      this.button.focus();
    } else if (e.key === "Tab") {
      this.hide();
      return;
    } else if (e.key.length === 1 && e.key !== " ") {
      const from = rows.slice(at + 1).concat(rows);
      from.find((r) => r.textContent?.toLowerCase().startsWith(e.key.toLowerCase()))?.focus();
    } else return;
    e.preventDefault();
    e.stopPropagation();
  }
}
