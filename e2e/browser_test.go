package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"baadal/internal/needs"
)

// browser is a real Chromium with one page.
type browser struct {
	ctx context.Context
	t   *testing.T

	mu         sync.Mutex
	complaints []string // of the page: exceptions, and what its security policy forbade
}

// openBrowser starts Chromium with a profile of its own. It ends with the test.
func openBrowser(ctx context.Context, t *testing.T) *browser {
	t.Helper()
	needs.Programs(t, "chromium")
	if os.Getenv("BAADAL_TEST_BINARY") == "" {
		needs.Skip(t, "the page is in the program that make built: BAADAL_TEST_BINARY is not set")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 860), chromedp.DisableGPU)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{ctx: ctx, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			b.picture("failed")
		}
	})
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // starts it; it lives as long as this context
		t.Fatalf("start Chromium: %v", err)
	}
	messages := chromedp.Console(ctx)
	go func() { // ends with the browser
		for m, err := range messages {
			if err != nil {
				return
			}
			b.hear(m)
		}
	}()
	return b
}

// hear notes errors and what the security policy forbade. What the network says
// is no complaint: refusals are part of the test.
func (b *browser) hear(m chromedp.ConsoleMessage) {
	if !m.IsException() && m.Type != chromedp.ConsoleError || strings.HasPrefix(m.Text, "Failed to load resource") || strings.HasPrefix(m.Text, "WebSocket connection to") ||
		strings.HasPrefix(m.Text, "Failed when connecting: ") { // noVNC's words for the same
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, m.Text)
}

// wantNoComplaints fails the test if the page threw or met its security policy.
func (b *browser) wantNoComplaints() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, words := range b.complaints {
		b.t.Errorf("the page complains: %s", words)
	}
}

// do drives the page; it fails the test after half a minute, with a picture.
func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, browserPatience)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(what, err)
	}
}

const browserPatience = 30 * time.Second

func (b *browser) fail(what string, err error) {
	b.t.Helper()
	b.t.Fatalf("%s: %v\nthe page complains: %q", what, err, b.complaints)
}

// evaluate asks the page for the value of an expression.
func evaluate[T any](b *browser, expression string, options ...chromedp.EvaluateOption) T {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, browserPatience)
	defer stop()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		b.fail(expression, err)
	}
	return v
}

// picture keeps a picture of the page where BAADAL_TEST_PICTURES says.
func (b *browser) picture(name string) {
	dir := os.Getenv("BAADAL_TEST_PICTURES")
	if dir == "" {
		return
	}
	ctx, stop := context.WithTimeout(b.ctx, 10*time.Second)
	defer stop()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "page-"+name+".png"), png, 0o600)
	}
	if err != nil {
		b.t.Errorf("picture %s: %v", name, err)
	}
}

// until waits until an expression of the page is true; on failure it tells what
// the page says.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	begun := time.Now()
	for {
		if evaluate[bool](b, expression) {
			return
		}
		if time.Since(begun) > 40*time.Second {
			b.t.Fatalf("not %s: the page says %q and complains %q", what, b.text("body"), b.complaints)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// text returns what is to be read in the elements of a selector.
func (b *browser) text(selector string) string {
	b.t.Helper()
	return evaluate[string](b, fmt.Sprintf(`[...document.querySelectorAll(%s)].map((e) => e.innerText).join("\n")`, quoted(selector)))
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string always can
	return string(b)
}

// click clicks the first visible button whose label begins so; of a dialog, if one
// is open.
func (b *browser) click(label string) {
	b.t.Helper()
	button := fmt.Sprintf(`[...(document.querySelector("dialog[open]") ?? document).querySelectorAll("button")].find((e) => e.checkVisibility() && e.innerText.startsWith(%s))`, quoted(label))
	b.do("click "+label, chromedp.Click(chromedp.JSPath(button)))
}

// typed presses the keys of a text, one after the other; without Shift, which a
// screen, unlike a terminal, wants pressed by itself.
func (b *browser) typed(text string) {
	b.t.Helper()
	for _, c := range strings.ReplaceAll(text, "\n", "\r") {
		b.do("type", press(c), chromedp.Sleep(20*time.Millisecond))
	}
}

// pressedAt presses the key at a place of the keyboard, named as on a US one, that
// types c there.
func (b *browser) pressedAt(code string, c rune) {
	b.t.Helper()
	b.do("press "+code, pressAt(code, c))
}

// press presses a key as Chromium itself does: its character belongs to the key,
// so that a page that takes the key does not get the character too.
func press(c rune) chromedp.Action[chromedp.Void] { return pressAt("", c) }

// pressAt does so at another place than a US keyboard has the key at.
func pressAt(code string, c rune) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		keys := kb.Encode(c) // down, the character, up
		down, up := *keys[0], *keys[len(keys)-1]
		down.Text, down.UnmodifiedText = keys[1].Text, keys[1].UnmodifiedText
		if code != "" {
			down.Code, up.Code = code, code
		}
		if _, err := cdp.Call(ctx, t, input.DispatchKeyEvent, down); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, up)
		return err
	})
}

// phone makes the page as small as a phone's, and touched; wide makes it large again.
func (b *browser) phone() {
	b.t.Helper()
	b.do("be a phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
}

func (b *browser) wide() {
	b.t.Helper()
	b.do("be a desktop", chromedp.EmulateReset(), chromedp.EmulateViewport(1280, 860))
}
