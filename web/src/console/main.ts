import "./console.css";
import { Page, type Kind } from "./page.ts";

const ref = decodeURIComponent(/^\/vms\/([^/]+)\/console$/.exec(location.pathname)?.[1] ?? "");
const root = document.getElementById("page");
if (root === null) throw new Error("the page has no place for the console");

function kindOf(search: string): Kind {
  return new URLSearchParams(search).get("kind") === "serial" ? "serial" : "screen";
}

const page = new Page(root, ref, kindOf(location.search), (kind) => {
  if (kind !== kindOf(location.search)) history.pushState(null, "", `?kind=${kind}`);
});
window.addEventListener("popstate", () => page.show(kindOf(location.search)));
