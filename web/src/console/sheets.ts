import { attribute, el } from "../ui/dom.ts";
import { strokesFor, type Stroke } from "./keys.ts";
import type { Typist } from "./typist.ts";
import { count } from "./words.ts";

/** Asks before something is done that cannot be taken back. */
export function confirm(title: string, words: string, button: string): Promise<boolean> {
  return new Promise((done) => {
    const dialog = el("dialog", { class: "sheet", "aria-label": title }, el("form", { method: "dialog" },
      el("h1", {}, title), el("p", {}, words),
      el("div", { class: "buttons" },
        el("button", { value: "no", autofocus: true }, "Cancel"),
        el("button", { value: "yes", class: "danger" }, button))));
    dialog.addEventListener("close", () => {
      done(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** What the sheet types on. */
export interface Keyboard {
  serial: boolean; // a line that takes any character
  stroke(s: Stroke, text: string): boolean;
}

const serialPace = 5; // milliseconds from one character to the next
const screenPace = 30; // a guest's keyboard holds few that are not read yet

/** The sheet that types a text into the VM, which can be stopped. */
export function typeText(typist: Typist, keyboard: Keyboard, closed: () => void): void {
  const box = el("textarea", { rows: "6", spellcheck: "false", autocapitalize: "none", "aria-label": "Text to type", autofocus: true, oninput: () => look() });
  const said = el("p", { class: "said", role: "status", "aria-live": "polite" });
  const go = el("button", { type: "button", class: "primary", onclick: () => type() }, "Type");
  const stop = el("button", { type: "button", onclick: () => typist.stop() }, "Stop");
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const words = keyboard.serial
    ? "It is sent to the serial line as it is."
    : "It is typed key by key, as on a US keyboard: that is what a VM has until somebody changes it.";
  const dialog = el("dialog", { class: "sheet wide", "aria-label": "Type text" }, el("h1", {}, "Type text"), el("p", {}, words), box, said,
    el("div", { class: "buttons" }, close, stop, go));

  const pieces = (): { pieces: [Stroke, string][]; missing: string[] } => {
    const none: Stroke = { keysym: 0, code: "", shift: false };
    const text = box.value.replace(/\r\n?/g, "\n");
    if (keyboard.serial) return { pieces: [...text].map((c) => [none, c === "\n" ? "\r" : c]), missing: [] };
    const found = strokesFor(text);
    return { pieces: found.strokes.map((s) => [s, ""]), missing: found.missing };
  };
  const look = (): void => {
    const { pieces: all, missing } = pieces();
    const not = missing.length === 0 ? "" : ` Not on that keyboard, and left out: ${missing.slice(0, 12).join(" ")}`;
    said.textContent = `${count(all.length, "character", "characters")}.${not}`;
    attribute(go, "aria-disabled", all.length === 0 || typist.busy ? "true" : null);
    stop.hidden = !typist.busy;
  };
  const type = (): void => {
    const { pieces: all } = pieces();
    if (all.length === 0 || typist.busy) return;
    box.readOnly = true;
    typist.type(all, keyboard.serial ? serialPace : screenPace, ([s, text]) => keyboard.stroke(s, text), (done, end) => {
      stop.hidden = end !== null;
      said.textContent = end === null ? `${done} of ${all.length} …` : end === "typed" ? `Typed ${count(done, "character", "characters")}.` : `Stopped after ${done} of ${all.length}.`;
      if (end === null) return;
      box.readOnly = false;
      if (end === "typed") dialog.close();
    });
  };
  dialog.addEventListener("close", () => {
    typist.stop();
    dialog.remove();
    closed();
  });
  document.body.append(dialog);
  look();
  dialog.showModal();
}
