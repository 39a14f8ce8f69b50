import { defineConfig, type Plugin } from "vite";

// xterm makes <style> elements and style attributes, which the page's
// Content-Security-Policy forbids. The same is done with a style sheet that is
// made by script, and through an element's style object. A version of xterm that
// looks otherwise fails the build here.
function strictStyles(): Plugin {
  const replace = (code: string, what: RegExp, by: string, times: number): string => {
    const found = code.match(what)?.length ?? 0;
    if (found !== times) throw new Error(`xterm has ${what} ${found} times, not ${times}: look at strictStyles in vite.config.ts`);
    return code.replace(what, by);
  };
  return {
    name: "strict-styles",
    enforce: "pre",
    transform(code, id) {
      if (!id.endsWith("/@xterm/xterm/lib/xterm.mjs")) return null;
      code = replace(code, /[\w.]+\.createElement\("style"\)/g, "baadalStyleElement()", 3);
      code = replace(code, /t\.setAttribute\("style",`\$\{t\.getAttribute\("style"\)\|\|""\}\$\{e\};`\)/g, 't.style.cssText+=e+";"', 1);
      return { code: `import { styleElement as baadalStyleElement } from "/src/ui/style.ts";\n${code}`, map: null };
    },
  };
}

export default defineConfig({
  plugins: [strictStyles()],
  build: {
    outDir: "dist/pages",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // no data: addresses
    modulePreload: { polyfill: false },
    rollupOptions: { input: "console.html" },
    reportCompressedSize: true,
  },
  // For `npm run dev` beside a running server; its cookies want one origin.
  server: { proxy: { "/api": { target: "http://127.0.0.1:8080", ws: true }, "/healthz": "http://127.0.0.1:8080" } },
});
