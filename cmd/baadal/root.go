package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"baadal/client"
)

// defaultServer is where the command line looks for a server that nobody named.
const defaultServer = "http://127.0.0.1:8080"

// cli is what the commands work with: the streams, the environment, the global
// flags and the connection to the server, which is made on first use.
type cli struct {
	in                                   io.Reader
	out, err                             io.Writer
	inTerminal, outTerminal, errTerminal bool
	getenv                               func(string) string
	now                                  func() time.Time
	columns                              func() int                          // width of the terminal; 0 if it cannot be told
	rows                                 func() int                          // its height, likewise
	readPassword                         func(prompt string) (string, error) // from the terminal, without echo

	flags struct {
		server, tokenFile            string
		json, noWait, quiet, noColor bool
	}
	server  string // the URL in use
	client  *client.Client
	running bool // the command line was understood: errors are no longer about usage
}

// newCLI returns a cli on the process's own streams and environment.
func newCLI() *cli {
	terminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	c := &cli{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTerminal: terminal(os.Stdin), outTerminal: terminal(os.Stdout), errTerminal: terminal(os.Stderr),
		getenv: os.Getenv, now: time.Now,
	}
	c.columns = func() int {
		width, _, err := term.GetSize(int(os.Stdout.Fd()))
		if err != nil {
			return 0
		}
		return width
	}
	c.rows = func() int {
		_, height, err := term.GetSize(int(os.Stdout.Fd()))
		if err != nil {
			return 0
		}
		return height
	}
	c.readPassword = func(prompt string) (string, error) {
		fmt.Fprint(c.err, prompt)
		secret, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(c.err)
		return string(secret), err
	}
	return c
}

// width returns how wide tables may be; 0 means as wide as they like, as in a
// pipe.
func (c *cli) width() int {
	if !c.outTerminal {
		return 0
	}
	if n, err := strconv.Atoi(c.getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if n := c.columns(); n > 0 {
		return n
	}
	return 80
}

// run executes one command line and returns the exit code; what went wrong has
// then been printed.
func (c *cli) run(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*exitError](err); !ok && !c.running {
		err = &usageError{err}
	}
	code := exitCode(err)
	if e, ok := errors.AsType[*exitError](err); ok {
		if err = e.err; err == nil {
			return code
		}
	}
	c.print(c.report(err))
	if code == exitUsage && !c.running && !c.flags.json {
		fmt.Fprintf(c.err, "next: see how it is used: %s --help\n", cmd.CommandPath())
	}
	return code
}

const rootLong = `Baadal is a private cloud for universities and labs: virtual machines for
courses and research on the KVM hosts you have. This one program is the server,
the command line and the practice lab.

New here? "baadal demo" builds a small cloud on this machine and shows it.
With a server at hand: "baadal login --server URL", then "baadal vm create".

The server is named by --server or BAADAL_SERVER, else the one last signed in
to is used. Programs sign in with BAADAL_TOKEN or --token-file. Results go to
standard output, progress and errors to standard error; --json writes what the
API answers. NO_COLOR is respected.

` + exitHelp

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use: "baadal", Short: "A private cloud for universities and labs", Long: rootLong,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	f := root.PersistentFlags()
	f.StringVar(&c.flags.server, "server", "", "`URL` of the server")
	f.StringVar(&c.flags.tokenFile, "token-file", "", "read the API token from this `file`")
	f.BoolVar(&c.flags.json, "json", false, "write what the API answers, as JSON")
	f.BoolVar(&c.flags.noWait, "no-wait", false, "do not wait for the task; print its id")
	f.BoolVarP(&c.flags.quiet, "quiet", "q", false, "no progress and no remarks; lists print names only")
	f.BoolVar(&c.flags.noColor, "no-color", false, "no colours")
	root.AddGroup(
		&cobra.Group{ID: "cloud", Title: "The cloud:"},
		&cobra.Group{ID: "people", Title: "People and their access:"},
		&cobra.Group{ID: "care", Title: "Looking after it:"},
		&cobra.Group{ID: "server", Title: "Server and practice lab:"},
	)
	c.addGroup(root, "cloud", c.vmCommand(), c.backupCommand(), c.templateCommand(), c.networkCommand(), c.publicCommand(), c.affinityCommand(), c.secGroupCommand(), c.hostCommand(), c.datastoreCommand())
	c.addGroup(root, "people", c.loginCommand(), c.logoutCommand(), c.whoamiCommand(), c.passwdCommand(), c.userCommand(), c.tokenCommand())
	c.addGroup(root, "care", c.taskCommand(), c.eventsCommand(), c.auditCommand(), c.settingCommand())
	c.addGroup(root, "server", demoCommand(), serveCommand(), rescueCommand(), clearNATCommand(), labCommand())
	root.AddCommand(c.versionCommand(), c.completionCommand())
	c.prepare(root)
	return root
}

func (c *cli) addGroup(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, cmd := range cmds {
		cmd.GroupID = id
		root.AddCommand(cmd)
	}
}

// prepare makes every command tell a wrong command line from a failure, and a
// group without a verb show its help.
func (c *cli) prepare(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			c.running = true
			return run(cmd, args)
		}
	} else if cmd.Run == nil && cmd.HasSubCommands() {
		cmd.Args, cmd.DisableFlagsInUseLine = unknownVerb, true
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range cmd.Commands() {
		c.prepare(sub)
	}
}

// unknownVerb refuses a word that is no command and names the nearest ones.
func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("there is no command %q; did you mean %s?", cmd.CommandPath()+" "+args[0], strings.Join(near, " or "))
	}
	return usagef("there is no command %q", cmd.CommandPath()+" "+args[0])
}

// group makes a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(subs...)
	return cmd
}

// api returns the client for the server and credentials in force.
func (c *cli) api() (*client.Client, error) {
	if c.client != nil {
		return c.client, nil
	}
	url, token, err := c.credentials()
	if err != nil {
		return nil, err
	}
	return c.connect(url, token)
}

// connect makes the client for a server; an empty token means not signed in.
func (c *cli) connect(url, token string) (*client.Client, error) {
	api, err := client.New(client.Config{BaseURL: url, Token: token, UserAgent: "baadal-cli/" + version()})
	if err != nil {
		return nil, usagef("server %q: %w", url, err)
	}
	c.client, c.server = api, url
	return api, nil
}

// version returns what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	if revision == "" {
		return "devel"
	}
	return revision + modified
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if c.flags.json {
				return c.json(map[string]string{"version": version()})
			}
			fmt.Fprintln(c.out, "baadal", version())
			return nil
		},
	}
}
