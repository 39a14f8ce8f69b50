// Package web holds the browser's pages, embedded: what Vite made of src. It
// knows nothing of how they are served. `make build` makes them first, if Node is
// there; without it there are none, and everything else works.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var files embed.FS

// Pages returns the built pages; it has no files in a binary built without them.
func Pages() fs.FS {
	pages, err := fs.Sub(files, "dist/pages")
	if err != nil {
		panic("the name of the pages' folder: " + err.Error())
	}
	return pages
}
