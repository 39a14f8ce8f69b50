// Command baadal is the whole of Baadal: the server, the command line, and the
// practice lab. Every noun of the command line is one file that talks to the
// server through package client and nothing else; serve.go is where the
// server's parts meet.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(newCLI().run(ctx, os.Args[1:]))
}
