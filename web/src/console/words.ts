import type { Viewer, VM } from "../api.ts";
import { moved, type Back } from "./link.ts";

const states: Record<VM["state"], string> = {
  running: "Running", off: "Off", paused: "Paused", creating: "Creating", missing: "Needs attention",
  unknown: "Needs attention", crashed: "Needs attention", deleted: "Deleted",
};

/** What a task does to a VM, by its kind (task.go). */
const doing: Record<string, string> = {
  "Create VM": "Creating", "Start VM": "Starting", "Shutdown VM": "Shutting down", "Reboot VM": "Restarting",
  "Destroy VM": "Powering off", "Reset VM": "Resetting", "Suspend VM": "Pausing", "Resume VM": "Resuming",
  "Save VM": "Saving", "Migrate VM Between Hosts": "Migrating", "Delete VM": "Deleting", "Restore VM": "Restoring",
};

/** A VM's state in words, with the mark that stands before them. */
export function stateOf(vm: VM): { mark: string; words: string } {
  if (vm.task !== undefined) {
    const what = doing[vm.task.kind] ?? "Busy";
    return { mark: "busy", words: vm.task.progress > 0 ? `${what} · ${vm.task.progress} %` : `${what} …` };
  }
  if (!vm.reachable) return { mark: "alarm", words: "Its host does not answer" };
  const mark = { running: "running", paused: "paused", off: "off", creating: "busy" }[vm.state as string] ?? "alarm";
  return { mark, words: vm.state === "off" && vm.reason === "saved" ? "Off, saved" : states[vm.state] };
}

export function duration(millis: number): string {
  return millis < 9950 ? `${(millis / 1000).toFixed(1)} s` : `${Math.round(millis / 1000)} s`;
}

/** What to say of a connection that is back. */
export function backWords(back: Back, before: string, now: string): string {
  const took = `Reconnected in ${duration(back.millis)}.`;
  if (back.code !== moved) return took;
  if (now !== before && now !== "") return `Moved to ${now}. ${took}`;
  return took;
}

const mostNamed = 3;

/** Who else looks at a console, for its foot; nobody is nothing. */
export function othersWords(all: readonly Viewer[], kind: string): string {
  const names = all.filter((v) => v.kind === kind && (!v.yours || v.vnc_client === true))
    .map((v) => (v.vnc_client !== true ? v.user : v.yours ? "your VNC client" : `a VNC client of ${v.user}`));
  const others = [...new Set(names)];
  if (others.length === 0) return "";
  const more = others.length - mostNamed;
  return `Also here: ${others.slice(0, mostNamed).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

export function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}
