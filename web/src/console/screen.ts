import RFB from "@novnc/novnc";
import { el } from "../ui/dom.ts";
import { altKey, controlKey, key, shiftKey, type Key, type Stroke } from "./keys.ts";

/** A VM's screen, on whichever connection there is; between two the last picture stays, dimmed. */
export class Screen {
  readonly element = el("div", { class: "view screen" });
  private readonly live = el("div", { class: "live" });
  private readonly last = el("canvas", { class: "last", hidden: true, "aria-hidden": "true" });
  private rfb: RFB | null = null;

  constructor(private readonly resized: (width: number, height: number) => void) {
    this.element.append(this.last, this.live);
    new MutationObserver(() => this.look()).observe(this.live, { subtree: true, childList: true, attributeFilter: ["width", "height"] });
  }

  private get canvas(): HTMLCanvasElement | null {
    return this.live.querySelector("canvas");
  }

  private look(): void {
    const c = this.canvas;
    if (c === null) return;
    c.setAttribute("aria-label", "The screen of the VM. Escape twice leaves it.");
    c.setAttribute("role", "application");
    c.tabIndex = 0; // in reach of the Tab key
    if (c.width > 0) this.resized(c.width, c.height);
  }

  /** Shows what comes over a new connection. */
  connect(channel: WebSocket): void {
    channel.addEventListener("close", () => this.keepPicture()); // heard before noVNC takes its canvas away
    this.rfb?.disconnect();
    const rfb = new RFB(this.live, channel, { shared: true });
    rfb.scaleViewport = true;
    rfb.background = "transparent";
    rfb.addEventListener("connect", () => {
      // Its first picture is a moment away.
      window.setTimeout(() => {
        if (this.rfb === rfb) this.last.hidden = true;
      }, 300);
    });
    rfb.addEventListener("disconnect", () => {
      if (this.rfb === rfb) this.rfb = null;
    });
    this.rfb = rfb;
  }

  private keepPicture(): void {
    const c = this.canvas;
    if (c === null || c.width === 0) return;
    this.last.width = c.width;
    this.last.height = c.height;
    this.last.getContext("2d")?.drawImage(c, 0, 0);
    this.last.hidden = false;
  }

  focus(): void {
    this.rfb?.focus({ preventScroll: true });
  }

  blur(): void {
    this.rfb?.blur();
  }

  /** Presses keys together, and lets them go. */
  private press(...keys: Key[]): void {
    for (const k of keys) this.rfb?.sendKey(k.keysym, k.code, true);
    for (const k of [...keys].reverse()) this.rfb?.sendKey(k.keysym, k.code, false);
  }

  pressNamed(name: string, control: boolean, alt: boolean): void {
    this.stroke({ ...key(name), shift: false }, control, alt);
  }

  ctrlAltDel(): void {
    this.rfb?.sendCtrlAltDel();
  }

  stroke(s: Stroke, control = false, alt = false): void {
    this.press(...(control ? [controlKey] : []), ...(alt ? [altKey] : []), ...(s.shift ? [shiftKey] : []), s);
  }
}
