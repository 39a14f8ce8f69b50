type Child = Node | string | null;
type Props = Record<string, string | boolean | ((e: never) => void)>;

/** Makes an element: properties that begin with "on" are listeners, false leaves an attribute out. */
export function el<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (typeof value === "function") e.addEventListener(key.slice(2), value as EventListener);
    else if (value === true) e.setAttribute(key, "");
    else if (value !== false) e.setAttribute(key, value);
  }
  e.append(...children.filter((c) => c !== null));
  return e;
}

/** Says something to those who do not see the page, and shows it for a while to those who do. */
export class Notices {
  readonly element = el("div", { class: "notice", role: "status", "aria-live": "polite" });
  private timer = 0;

  say(words: string, seconds = 6): void {
    window.clearTimeout(this.timer);
    this.element.textContent = words;
    this.element.classList.toggle("shown", words !== "");
    if (seconds > 0 && words !== "") this.timer = window.setTimeout(() => this.say(""), seconds * 1000);
  }
}

/** Sets an attribute or takes it away, without touching one that is right. */
export function attribute(e: Element, name: string, value: string | null): void {
  if (e.getAttribute(name) === value) return;
  if (value === null) e.removeAttribute(name);
  else e.setAttribute(name, value);
}
