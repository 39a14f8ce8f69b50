package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOffersExist checks that every command line which the product offers to
// people, in errors and remarks, is one that exists.
func TestOffersExist(t *testing.T) {
	t.Parallel()
	c, _, _ := quietCLI()
	root := c.root()
	offer := regexp.MustCompile("[\"`]baadal ([a-z]+(?: [a-z-]+)*)")
	seen := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "../.." {
			return errorOr(err, fs.SkipDir)
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range offer.FindAllStringSubmatch(string(text), -1) {
			if m[1] == "controller" {
				continue // the comment of an SSH key
			}
			words := strings.Fields(m[1])
			cmd, rest, err := root.Find(words)
			if err != nil || cmd == root || cmd.HasSubCommands() && len(rest) > 0 {
				t.Errorf("%s offers %q, which is no command", path, "baadal "+m[1])
			}
			seen++
		}
		return nil
	})
	if err != nil || seen < 20 {
		t.Errorf("%d offers seen: %v", seen, err)
	}
}

func errorOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
