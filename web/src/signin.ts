import { changePassword, Problem, signIn } from "./api.ts";
import { attribute, el } from "./ui/dom.ts";

interface Field {
  name: string;
  label: string;
  type: "text" | "password";
  autocomplete: AutoFill;
  least?: number;
}

/** Shows a form until it was sent and taken; try fails with what is wrong. */
function ask(title: string, words: string, fields: Field[], button: string, attempt: (values: string[]) => Promise<void>): Promise<void> {
  return new Promise((done) => {
    const error = el("p", { class: "error", role: "alert" });
    const inputs = fields.map((f) => el("input", { id: f.name, name: f.name, type: f.type, autocomplete: f.autocomplete, required: true, autocapitalize: "none", spellcheck: "false", ...(f.least === undefined ? {} : { minlength: String(f.least) }) }));
    const send = el("button", { type: "submit", class: "primary" }, button);
    const submit = (e: SubmitEvent): void => {
      e.preventDefault();
      attribute(send, "aria-disabled", "true");
      error.textContent = "";
      attempt(inputs.map((i) => i.value)).then(() => {
        dialog.close();
        dialog.remove();
        done();
      }, (p: unknown) => {
        error.textContent = p instanceof Problem ? p.words : String(p);
        attribute(send, "aria-disabled", null);
        const secret = inputs.find((i) => i.type === "password");
        if (secret === undefined) return;
        secret.value = "";
        secret.focus();
      });
    };
    const form = el("form", { onsubmit: submit }, el("h1", {}, title), el("p", {}, words),
      ...fields.map((f, i) => el("label", { for: f.name }, f.label, inputs[i] as HTMLInputElement)), error, send);
    const dialog = el("dialog", { class: "sheet", "aria-label": title, oncancel: (e: Event) => e.preventDefault() }, form);
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function signInForm(): Promise<void> {
  let mustChange = false;
  await ask("Sign in to Baadal", "You come back to this console.", [
    { name: "username", label: "User name", type: "text", autocomplete: "username" },
    { name: "password", label: "Password", type: "password", autocomplete: "current-password" },
  ], "Sign in", async ([username = "", password = ""]) => {
    mustChange = (await signIn(username, password)).must_change_password;
  });
  if (mustChange) await passwordForm();
}

function passwordForm(): Promise<void> {
  return ask("Choose a new password", "The present one was only for the first sign-in.", [
    { name: "old", label: "Present password", type: "password", autocomplete: "current-password" },
    { name: "new", label: "New password, ten characters or more", type: "password", autocomplete: "new-password", least: 10 },
  ], "Change it", async ([old = "", next = ""]) => changePassword(old, next));
}

let asking: Promise<void> | null = null;

/**
 * Asks for what a refusal says is missing, a sign-in or a new password, once
 * however often it is called meanwhile. It returns null if that is not what is wrong.
 */
export function askFor(p: Problem): Promise<void> | null {
  const form = p.status === 401 ? signInForm : p.code === "password_change_required" ? passwordForm : null;
  if (form === null) return null;
  asking ??= form().finally(() => {
    asking = null;
  });
  return asking;
}
