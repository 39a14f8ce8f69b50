package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"baadal"
	"baadal/client"
)

// Expressions about the console page.
const (
	pageOpen     = `document.querySelector(".stage")?.dataset.link === "open"`
	pageColours  = `(() => { const c = document.querySelector(".live canvas"); if (!c || !c.width) return 0; const d = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer); return new Set(d).size; })()`
	pageLit      = `(() => { const c = document.querySelector(".live canvas"); if (!c || !c.width) return 0; const d = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer); return d.filter((p) => (p & 0xffffff) !== 0).length; })()`
	pageTerminal = `document.querySelector(".xterm-rows").innerText`
	// How a WebSocket with a ticket ends that is opened twice in one page.
	pageTwice = `(async () => {
	  const r = await fetch("/api/v1/vms/page/console", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"kind":"serial"}' });
	  const url = (await r.json()).url.replace(/^/, "ws://" + location.host);
	  const open = () => new Promise((done) => { const w = new WebSocket(url); w.onopen = () => done("open"); w.onclose = (e) => done("closed " + e.code); });
	  return (await open()) + ", " + (await open());
	})()`
)

// TestConsolePage sits at a guest in a real browser: its screen, its serial line,
// over a live migration, a power cut and a start.
func TestConsolePage(t *testing.T) {
	ctx := begin(t)
	key, err := theLab.SSHPublicKey()
	if err != nil {
		t.Fatal(err)
	}
	vm := create(ctx, t, baadal.VMCreate{Name: "page", SSHKeys: []string{key}})
	defer func() { remove(ctx, t, vm.UUID) }()
	stale, err := cloud.Client.ConsoleTicket(ctx, vm.UUID, baadal.ConsoleSerial)
	if err != nil {
		t.Fatal(err)
	}
	b := openBrowser(ctx, t)
	signsIn(b, vm)
	if vm, err = cloud.WaitAnswer(ctx, vm.UUID); err != nil {
		t.Fatal(err)
	}
	password, err := cloud.Client.VMPassword(ctx, vm.UUID)
	if err != nil {
		t.Fatal(err)
	}
	typesOnScreen(ctx, b, vm, password)
	answersOnSerial(b, password)
	b.phone()
	b.picture("phone")
	b.wide()
	comesBack(ctx, b, vm)
	if ends := evaluate[string](b, pageTwice, chromedp.EvalAwaitPromise); ends != "open, closed 1006" {
		t.Errorf("a ticket used twice: %s", ends)
	}
	other := anotherSeat(ctx, t)
	refusesTickets(ctx, t, other, vm, stale)
	sharesScreen(ctx, b, other, vm)
	b.wantNoComplaints()
	goesOffAndOn(b)
	b.do("look for another VM", chromedp.Navigate(cloud.URL+"/vms/nobody/console"))
	b.until("told that there is none", `document.querySelector(".empty")?.innerText.includes("There is no VM nobody")`)
	b.picture("unknown")
}

// signsIn meets the form, and comes back to the page that was asked for.
func signsIn(b *browser, vm baadal.VM) {
	b.t.Helper()
	begun := time.Now()
	b.do("open the page", chromedp.Navigate(cloud.URL+"/vms/"+vm.Name+"/console"), chromedp.WaitVisible("#username"))
	b.t.Logf("the form is there after %s", time.Since(begun).Round(time.Millisecond))
	b.picture("sign-in")
	b.do("sign in wrongly", chromedp.SendKeys("#username", "admin"), chromedp.SendKeys("#password", "not this one\r"))
	b.until("refused", `document.querySelector("dialog .error").innerText !== "" && document.activeElement.id === "password"`)
	b.do("sign in", chromedp.SendKeys("#password", cloud.Password+"\r"))
	begun = time.Now()
	b.until("connected", pageOpen)
	b.until("a picture of the guest", pageColours+" > 1")
	b.t.Logf("the guest's picture is there %s after the sign-in", time.Since(begun).Round(time.Millisecond))
}

// typesOnScreen logs in on the guest's screen, key by key and with the sheet, and
// looks at both ends.
func typesOnScreen(ctx context.Context, b *browser, vm baadal.VM, password string) {
	b.t.Helper()
	// What one types before the guest asks is lost.
	atScreen := func(what, process string, there bool) {
		b.t.Helper()
		eventually(b.t, 40*time.Second, what, func() error {
			if list := ssh(ctx, b.t, vm, "ps"); strings.Contains(list, process) != there {
				return fmt.Errorf("%q among its processes should be %t:\n%s", process, there, list)
			}
			return nil
		})
	}
	const asksName = "getty 38400 tty1"
	atScreen("asked who it is, on the screen", asksName, true)
	before := evaluate[int](b, pageLit)
	b.do("click on the screen", chromedp.Click(".live canvas"))
	b.typed("root\n")
	atScreen("asked for the password, on the screen", asksName, false)
	time.Sleep(500 * time.Millisecond)
	sheet := func(text string) {
		b.t.Helper()
		b.click("Type text")
		b.do("fill the sheet", chromedp.SendKeys("dialog textarea", text))
		b.picture("type-text")
		b.click("Type")
		b.until("typed", `document.querySelector("dialog") === null`)
	}
	does := func(what, file, want string) {
		b.t.Helper()
		eventually(b.t, 20*time.Second, what, func() error {
			if got := ssh(ctx, b.t, vm, "cat "+file+" 2>&1 || true"); got != want {
				return fmt.Errorf("the guest has %q", got)
			}
			return nil
		})
	}
	sheet(password + "\n")
	atScreen("signed in, on the screen", " -sh", true)
	b.typed("touch /tmp/by-hand\n")
	does("typed by hand", "/tmp/by-hand", "")
	b.typed("touch /tmp/")
	b.pressedAt("KeyY", 'z') // as on a German keyboard: the place counts, and the guest's layout is the US one
	b.typed("\n")
	does("typed on another keyboard", "/tmp/y", "")
	sheet("echo Hello_\"$((6*7))\" | tee /tmp/typed\n")
	does("typed by the sheet", "/tmp/typed", "Hello_42")
	time.Sleep(300 * time.Millisecond)
	after := evaluate[int](b, pageLit)
	b.t.Logf("%d pixels were lit, now %d", before, after)
	if before == 0 || after <= before {
		b.t.Errorf("nothing was written on the screen: %d pixels were lit, now %d", before, after)
	}
	b.picture("screen")
}

// answersOnSerial turns to the serial line and works there.
func answersOnSerial(b *browser, password string) {
	b.t.Helper()
	b.click("Serial")
	b.until("connected to the serial line", pageOpen+` && document.querySelector(".xterm-rows") !== null`)
	b.typed("\n")
	b.until("asked who it is", pageTerminal+`.includes("page login:")`)
	b.typed("root\n")
	b.until("asked for the password", pageTerminal+`.includes("Password:")`)
	b.typed(password + "\n")
	b.until("signed in", pageTerminal+`.includes("# ")`)
	b.typed("printf '\\033[38;2;255;120;0m%s\\033[0m\\n' truly-$((40+2))\n")
	b.until("answered", pageTerminal+`.includes("truly-42")`)
	colour := evaluate[string](b, `getComputedStyle([...document.querySelectorAll(".xterm-rows span")].find((e) => e.innerText.includes("truly-42"))).color`)
	if colour != "rgb(255, 120, 0)" { // a style attribute, which the page's security policy forbids
		b.t.Errorf("the words are %s", colour)
	}
	b.picture("serial")
}

// comesBack moves the VM to another host under the page, which follows.
func comesBack(ctx context.Context, b *browser, vm baadal.VM) {
	b.t.Helper()
	ch, err := cloud.Client.MigrateVM(ctx, vm.UUID, baadal.VMMigrate{}, baadal.ChangeOptions{})
	_, moved := did(ctx, b.t, "migrate", ch, err)
	begun := time.Now()
	b.until("told of the move", `document.querySelector(".notice").innerText.includes("Moved to `+moved.Host+`")`)
	b.t.Logf("%q %s after the task ended", b.text(".notice"), time.Since(begun).Round(time.Millisecond))
	b.until("connected again", pageOpen)
	b.typed("echo again-$((50+5))\n")
	b.until("answered on the other host", pageTerminal+`.includes("again-55") && `+pageTerminal+`.includes("truly-42")`) // what was said before is still there
	b.click("Screen")
	b.until("the picture is back", pageOpen+" && "+pageColours+` > 1 && document.querySelector(".last").hidden`)
	b.do("click on the screen", chromedp.Click(".live canvas"))
	b.typed("touch /tmp/moved\n")
	eventually(b.t, 20*time.Second, "typed in the guest on its new host", func() error {
		if got := ssh(ctx, b.t, moved, "ls /tmp/moved 2>&1 || true"); got != "/tmp/moved" {
			return fmt.Errorf("the guest has %q", got)
		}
		return nil
	})
	b.picture("moved")
}

// anotherSeat is another user, who may look at everything too.
func anotherSeat(ctx context.Context, t *testing.T) *client.Client {
	t.Helper()
	made, err := cloud.Client.CreateUser(ctx, baadal.UserCreate{Username: "other-seat", Roles: []baadal.Role{baadal.RoleAdmin}}, baadal.ChangeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const password = "another seat than yours"
	session, err := client.New(client.Config{BaseURL: cloud.URL})
	if err != nil {
		t.Fatal(err)
	}
	_, first := session.SignIn(ctx, "other-seat", made.OneTimePassword)
	change := session.ChangePassword(ctx, made.OneTimePassword, password)
	_, again := session.SignIn(ctx, "other-seat", password)
	token, err := session.CreateToken(ctx, "seat", 0)
	if err := errors.Join(first, change, again, err); err != nil {
		t.Fatal(err)
	}
	other, err := client.New(client.Config{BaseURL: cloud.URL, Token: token.Secret})
	if err != nil {
		t.Fatal(err)
	}
	return other
}

// sharesScreen has a VNC viewer of another user come who asks for the screen for
// himself, as many do: the page stays, and says who is there.
func sharesScreen(ctx context.Context, b *browser, other *client.Client, vm baadal.VM) {
	b.t.Helper()
	s, err := other.Console(ctx, vm.UUID, baadal.ConsoleScreen)
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Close()
	v := viewer{b.t, s}
	v.read(12)
	v.send([]byte("RFB 003.008\n")...)
	v.read(int(v.read(1)[0]))
	v.send(1)
	v.read(4)
	v.send(0) // for himself
	v.picture()
	b.until("told who else looks", `document.querySelector(".others").innerText === "Also here: other-seat"`)
	b.picture("shared")
	if !evaluate[bool](b, pageOpen) || evaluate[int](b, pageColours) < 2 {
		b.t.Errorf("the other viewer threw the page out: it says %q", b.text("body"))
	}
	_ = s.Close()
	b.until("told that nobody else looks", `document.querySelector(".others").innerText === ""`)
}

// refusesTickets tries a ticket twice, one that is too old, and one of another user's.
func refusesTickets(ctx context.Context, t *testing.T, other *client.Client, vm baadal.VM, stale baadal.ConsoleTicket) {
	t.Helper()
	ticket := func() baadal.ConsoleTicket {
		t.Helper()
		ticket, err := cloud.Client.ConsoleTicket(ctx, vm.UUID, baadal.ConsoleSerial)
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	refused := func(what string, c *client.Client, ticket baadal.ConsoleTicket) {
		t.Helper()
		s, err := c.OpenConsole(ctx, ticket)
		if baadal.CodeOf(err) != "bad_ticket" {
			t.Errorf("%s: %v", what, err)
		}
		if s != nil {
			_ = s.Close()
		}
	}
	good := ticket()
	refused("another user's", other, good)
	s, err := cloud.Client.OpenConsole(ctx, good)
	if err != nil {
		t.Fatalf("its own user after another's try: %v", err)
	}
	_ = s.Close()
	refused("used twice", cloud.Client, good)
	time.Sleep(time.Until(stale.ExpiresAt) + time.Second) // mostly past already
	refused("expired", cloud.Client, stale)
}

// goesOffAndOn pulls the power cord in the page's menu, and starts the VM again
// with the button in its middle.
func goesOffAndOn(b *browser) {
	b.t.Helper()
	b.click("Power")
	b.picture("power")
	b.click("Power off")
	b.picture("confirm")
	b.do("confirm", chromedp.Click("dialog .danger"))
	b.until("told that it is off", `document.querySelector(".empty")?.innerText.includes("page is off")`)
	b.picture("off")
	b.click("Start")
	b.until("connected after the start", pageOpen+" && "+pageColours+" > 1")
}
