/** Types one piece after the other, at a pace that a guest can follow. */
export class Typist {
  private timer: (() => void) | null = null;

  constructor(private readonly after: (millis: number, then: () => void) => () => void) {}

  get busy(): boolean {
    return this.timer !== null;
  }

  /**
   * Types all pieces; told is called after each, and at the end once more with
   * whether it came to it.
   */
  type<P>(pieces: readonly P[], pace: number, each: (piece: P) => boolean, told: (done: number, end: "typed" | "stopped" | null) => void): void {
    this.stop();
    let i = 0;
    const step = (): void => {
      this.timer = null;
      const piece = pieces[i];
      if (piece === undefined) {
        told(i, "typed");
        return;
      }
      if (!each(piece)) { // the connection is gone
        told(i, "stopped");
        return;
      }
      i++;
      told(i, null);
      this.timer = this.after(pace, step);
    };
    this.stopped = () => told(i, "stopped");
    step();
  }

  private stopped: () => void = () => {};

  /** Stops where it is; what was typed stays typed. */
  stop(): void {
    if (this.timer === null) return;
    this.timer();
    this.timer = null;
    this.stopped();
  }
}
