import type { VM } from "../api.ts";

export interface Act {
  name: string; // in the API's path, and among a VM's actions
  label: string;
  warns?: string; // what is lost; asked before it is done
}

/** What the power menu offers, in its order. A label with … asks first. */
const acts: Act[] = [
  { name: "start", label: "Start" },
  { name: "resume", label: "Resume" },
  { name: "shutdown", label: "Shut down" },
  { name: "reboot", label: "Restart" },
  { name: "suspend", label: "Pause" },
  { name: "save", label: "Save to disk" },
  { name: "destroy", label: "Power off…", warns: "Its power cord is pulled. What is not on its disks is lost." },
  { name: "reset", label: "Reset…", warns: "Its reset button is pressed. What is not on its disks is lost." },
];

export interface Offer extends Act {
  reason?: string; // why not now
}

/** The power menu of a VM: Start or what a running one can do, each with the API's reason if it cannot. */
export function offers(vm: VM): Offer[] {
  const down = vm.state === "off" || vm.state === "crashed";
  return acts
    .filter((a) => (a.name === "resume" ? vm.state === "paused" : a.name === "start" ? down : !down || a.name === "destroy"))
    .filter((a) => !(a.name === "suspend" && vm.state === "paused"))
    .filter((a) => !(a.name === "destroy" && down && vm.actions?.["destroy"]?.allowed !== true))
    .map((a) => {
      const access = vm.actions?.[a.name];
      if (access?.allowed === true) return a;
      return { ...a, reason: access?.reason ?? "That is not yours to do" };
    });
}
