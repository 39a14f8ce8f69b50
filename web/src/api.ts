/** What the API says of a VM, as far as this page shows it. */
export interface VM {
  id: number;
  uuid: string;
  name: string;
  host: string;
  state: "running" | "off" | "paused" | "creating" | "missing" | "unknown" | "crashed" | "deleted";
  reason?: string;
  reachable: boolean;
  task?: { id: number; kind: string; step?: string; progress: number };
  actions?: Record<string, Access>;
}

export interface Access {
  allowed: boolean;
  reason?: string;
}

export interface Ticket {
  url: string;
}

/** One who looks at a console of a VM now. */
export interface Viewer {
  user: string;
  kind: string;
  vnc_client?: boolean; // whoever has the client; the user let it in
  yours: boolean;
}

interface ProblemBody {
  title?: string;
  detail?: string;
  code?: string;
}

/** What the API refused, in its own words; status 0 means that it did not answer. */
export class Problem extends Error {
  constructor(readonly status: number, readonly code: string, title: string, readonly detail: string) {
    super(title);
  }

  get words(): string {
    const words = this.detail === "" ? `${this.message}.` : `${this.message}: ${this.detail}.`;
    return words.charAt(0).toUpperCase() + words.slice(1);
  }
}

const patience = 20_000; // milliseconds for an answer

/** Makes one call of the API. It fails with a Problem. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method, credentials: "same-origin", signal: AbortSignal.timeout(patience) };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "Content-Type": "application/json" };
  }
  let answer: Response;
  try {
    answer = await fetch(`/api/v1${path}`, init);
  } catch {
    throw new Problem(0, "no_answer", "Baadal does not answer", "your VMs keep running");
  }
  if (!answer.ok) throw await problem(answer);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

async function problem(answer: Response): Promise<Problem> {
  let body: ProblemBody = {};
  try {
    body = (await answer.json()) as ProblemBody;
  } catch {
    // Not one of ours: something between answered.
  }
  return new Problem(answer.status, body.code ?? "", body.title ?? `The answer was ${answer.status}`, body.detail ?? "");
}

const vmPath = (ref: string): string => `/vms/${encodeURIComponent(ref)}`;

export const getVM = (ref: string): Promise<VM> => call("GET", vmPath(ref));
export const viewers = async (ref: string): Promise<Viewer[]> => (await call<{ items: Viewer[] }>("GET", `${vmPath(ref)}/console`)).items;
export const ticket = (ref: string, kind: string): Promise<Ticket> => call("POST", `${vmPath(ref)}/console`, { kind });
export const act = (ref: string, action: string): Promise<unknown> => call("POST", `${vmPath(ref)}/${action}`);
export const signIn = (username: string, password: string): Promise<{ must_change_password: boolean }> => call("POST", "/auth/sign-in", { username, password });
export const changePassword = (old: string, next: string): Promise<void> => call("POST", "/auth/password", { old, new: next });
