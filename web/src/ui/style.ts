/**
 * An element that takes the place of a <style>: its text becomes a style sheet
 * made by script, which a strict Content-Security-Policy allows.
 */
export function styleElement(): HTMLElement {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const e = document.createElement("span");
  e.hidden = true;
  Object.defineProperty(e, "textContent", {
    get: () => "",
    set: (text: string) => sheet.replaceSync(text),
  });
  e.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet);
    Element.prototype.remove.call(e);
  };
  return e;
}
