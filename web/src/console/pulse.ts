const every = 10_000; // milliseconds
const patience = 8_000;

/**
 * Measures how long the server takes to answer. A connection can die without a
 * word; who misses two answers in a row is told so.
 */
export class Pulse {
  private missed = 0;

  constructor(private readonly told: (millis: number | null) => void, private readonly silent: () => void) {}

  start(): void {
    void this.beat();
    window.setInterval(() => void this.beat(), every);
  }

  private async beat(): Promise<void> {
    if (document.hidden) return;
    const begun = performance.now();
    try {
      await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(patience) });
      this.missed = 0;
      this.told(performance.now() - begun);
    } catch {
      this.missed++;
      this.told(null);
      if (this.missed === 2) this.silent();
    }
  }
}
