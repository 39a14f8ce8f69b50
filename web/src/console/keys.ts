/** A key as VNC knows it: what it means, and which one it is on the keyboard. */
export interface Key {
  keysym: number;
  code: string;
}

export interface Stroke extends Key {
  shift: boolean;
}

export const shiftKey: Key = { keysym: 0xffe1, code: "ShiftLeft" };
export const controlKey: Key = { keysym: 0xffe3, code: "ControlLeft" };
export const altKey: Key = { keysym: 0xffe9, code: "AltLeft" };

const named: Record<string, Key> = {
  Esc: { keysym: 0xff1b, code: "Escape" },
  Tab: { keysym: 0xff09, code: "Tab" },
  Enter: { keysym: 0xff0d, code: "Enter" },
  Backspace: { keysym: 0xff08, code: "Backspace" },
  Print: { keysym: 0xff61, code: "PrintScreen" },
  "←": { keysym: 0xff51, code: "ArrowLeft" },
  "↑": { keysym: 0xff52, code: "ArrowUp" },
  "→": { keysym: 0xff53, code: "ArrowRight" },
  "↓": { keysym: 0xff54, code: "ArrowDown" },
};

/** A key by its name on this page: Esc, Print, F1 to F12 … */
export function key(name: string): Key {
  const f = /^F(\d+)$/.exec(name);
  if (f !== null) return { keysym: 0xffbd + Number(f[1]), code: name };
  const k = named[name];
  if (k === undefined) throw new Error(`there is no key ${name}`);
  return k;
}

/** What a terminal sends for the keys that a serial line has. */
export const serialKeys: Record<string, string> = {
  Esc: "\x1b", Tab: "\t", "↑": "\x1b[A", "↓": "\x1b[B", "→": "\x1b[C", "←": "\x1b[D",
  F1: "\x1bOP", F2: "\x1bOQ", F3: "\x1bOR", F4: "\x1bOS", F5: "\x1b[15~", F6: "\x1b[17~",
  F7: "\x1b[18~", F8: "\x1b[19~", F9: "\x1b[20~", F10: "\x1b[21~", F11: "\x1b[23~", F12: "\x1b[24~",
};

// A US keyboard, row by row: the key, what it types, and with Shift.
const rows: [string, string, string][] = [
  ["Backquote Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal", "`1234567890-=", "~!@#$%^&*()_+"],
  ["KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Backslash", "qwertyuiop[]\\", "QWERTYUIOP{}|"],
  ["KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote", "asdfghjkl;'", 'ASDFGHJKL:"'],
  ["KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash", "zxcvbnm,./", "ZXCVBNM<>?"],
];

const strokes = new Map<string, Stroke>([
  [" ", { keysym: 0x20, code: "Space", shift: false }],
  ["\n", { ...key("Enter"), shift: false }],
  ["\t", { ...key("Tab"), shift: false }],
]);
for (const [codes, plain, shifted] of rows) {
  codes.split(" ").forEach((code, i) => {
    // In ASCII a keysym is the character's number.
    strokes.set(plain.charAt(i), { keysym: plain.charCodeAt(i), code, shift: false });
    strokes.set(shifted.charAt(i), { keysym: shifted.charCodeAt(i), code, shift: true });
  });
}

/**
 * The strokes that type a text on a US keyboard, which a guest's console has until
 * somebody changes it, and which characters are not on it.
 */
export function strokesFor(text: string): { strokes: Stroke[]; missing: string[] } {
  const out: Stroke[] = [];
  const missing = new Set<string>();
  for (const c of text.replace(/\r\n?/g, "\n")) {
    const s = strokes.get(c);
    if (s === undefined) missing.add(c);
    else out.push(s);
  }
  return { strokes: out, missing: [...missing] };
}
