import { getVM, Problem, type VM } from "../api.ts";

const again = 3000; // milliseconds, after a look that failed

/**
 * Follows a VM: looks at it whenever the server says that it, or the task that holds
 * it, changed. While nobody sees the page it rests: a browser opens few connections
 * to one server.
 */
export class Watch {
  private events: EventSource | null = null;
  private following = "";
  private timer = 0;
  private looking = false;
  private dirty = false;

  constructor(
    private readonly ref: string,
    private readonly seen: (vm: VM) => void,
    private readonly failed: (p: Problem) => void,
  ) {
    document.addEventListener("visibilitychange", () => this.onVisibility());
    window.addEventListener("online", () => this.look());
  }

  private onVisibility(): void {
    if (document.hidden) this.unfollow();
    else this.look();
  }

  /** Looks now. */
  look(): void {
    window.clearTimeout(this.timer);
    if (this.looking) {
      this.dirty = true;
      return;
    }
    this.looking = true;
    getVM(this.ref).then((vm) => this.looked(vm), (e: unknown) => this.lookFailed(e)).finally(() => {
      this.looking = false;
      if (this.dirty) this.soon(50);
      this.dirty = false;
    });
  }

  private looked(vm: VM): void {
    if (!document.hidden) this.follow(vm);
    this.seen(vm);
  }

  private lookFailed(e: unknown): void {
    const p = e instanceof Problem ? e : new Problem(0, "", String(e), "");
    this.unfollow();
    if (p.status === 0 || p.status >= 500 || p.status === 429) this.soon(again);
    this.failed(p);
  }

  private soon(millis: number): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.look(), millis);
  }

  private follow(vm: VM): void {
    const ids = vm.task === undefined ? [vm.id] : [vm.id, vm.task.id];
    const path = `/api/v1/events?topics=vm,task&ids=${ids.join(",")}`;
    if (this.events !== null && this.following === path && this.events.readyState !== EventSource.CLOSED) return;
    this.unfollow();
    this.following = path;
    const events = new EventSource(path);
    let opened = false;
    events.addEventListener("open", () => {
      // What happened between the look and now, or while it was away.
      if (this.events === events) this.soon(opened ? 0 : 20);
      opened = true;
    });
    for (const topic of ["vm", "task", "reset"]) events.addEventListener(topic, () => this.soon(50));
    events.addEventListener("error", () => {
      if (this.events === events && events.readyState === EventSource.CLOSED) this.soon(again);
    });
    this.events = events;
  }

  private unfollow(): void {
    this.events?.close();
    this.events = null;
    this.following = "";
  }
}
