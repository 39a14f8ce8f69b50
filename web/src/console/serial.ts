import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { el } from "../ui/dom.ts";
import { Hush, Replay } from "./replay.ts";

/** A VM's serial line as a terminal; what it said before stays over all connections. */
export class Serial {
  readonly element = el("div", { class: "view serial" });
  private readonly terminal = new Terminal({
    fontFamily: "ui-monospace, 'DejaVu Sans Mono', monospace", fontSize: 14, lineHeight: 1.15, scrollback: 10_000, cursorBlink: false,
    theme: { background: "#000000" },
  });
  private readonly fitting = new FitAddon();
  private readonly replay = new Replay();
  private channel: WebSocket | null = null;
  private readonly encoder = new TextEncoder();
  private readonly hush = new Hush();

  constructor(private readonly resized: (columns: number, rows: number) => void) {
    this.terminal.loadAddon(this.fitting);
    this.terminal.onData((text) => {
      if (!this.hush.on) this.send(text);
    });
    this.terminal.onResize((size) => this.resized(size.cols, size.rows));
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  /** Fits the terminal into its place, which has to be in the page. */
  fit(): void {
    if (!this.element.isConnected || this.element.clientWidth === 0) return;
    if (this.terminal.element === undefined) {
      this.terminal.open(this.element);
      this.terminal.textarea?.setAttribute("aria-label", "The serial line of the VM. Escape twice leaves it.");
    }
    this.fitting.fit();
    this.resized(this.terminal.cols, this.terminal.rows);
  }

  connect(channel: WebSocket): void {
    channel.binaryType = "arraybuffer";
    this.channel = channel;
    let first = true;
    channel.addEventListener("message", (e: MessageEvent<ArrayBuffer>) => {
      if (this.channel !== channel) return;
      let piece: Uint8Array = new Uint8Array(e.data);
      if (!first) {
        this.replay.next(piece);
        this.terminal.write(piece);
        return;
      }
      first = false;
      piece = this.replay.first(piece);
      this.hush.during((shown) => this.terminal.write(piece, shown));
    });
  }

  /** Sends what is typed; false if nobody is there to take it. */
  send(text: string): boolean {
    if (this.channel?.readyState !== WebSocket.OPEN) return false;
    this.channel.send(this.encoder.encode(text));
    return true;
  }

  focus(): void {
    this.terminal.focus();
  }

  blur(): void {
    this.terminal.blur();
  }
}
