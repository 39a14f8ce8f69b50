package main

import (
	"context"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// Ctrl-] leaves also while nobody takes what was typed before it: the console is
// about to come back.
func TestLeaveWhileTheConsoleComesBack(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	c.in = iotest.OneByteReader(strings.NewReader("whoami\r\r" + string(rune(consoleEscape)) + "more"))
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	left, leave := context.WithCancel(ctx)
	go newSerialSession(c, nil, "web", leave).read(ctx, true)
	<-left.Done()
	if ctx.Err() != nil {
		t.Error("what was typed before it is in its way")
	}
}
