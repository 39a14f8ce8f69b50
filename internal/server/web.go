package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// pageSecurity is what a built page may do: all code and styles are files of
// ours, nothing is inline; noVNC draws mouse pointers as data: pictures.
const pageSecurity = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// noPages is said where a page would be in a program that was built without.
const noPages = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Baadal</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<h1>This page is not there</h1>
<p>This program was built without its pages: there was no Node.js when it was built. The API and the command line are whole.</p>
<p>Install Node.js 18 or newer with npm (on Debian: <code>apt install nodejs npm</code>), then in Baadal's source:</p>
<pre>make build</pre>
<p>Until then, on the command line:</p>
<pre>baadal vm console NAME
baadal vm vnc NAME</pre>
</main>
</body>
</html>
`

// webFile is a file of the pages as it is sent.
type webFile struct {
	plain, packed []byte // packed with gzip; nil if that is no smaller
	etag          string // of what is in it
	contentType   string
	forever       bool // another content has another name
}

// registerWeb serves the pages that were built, packed once. Who asks and what
// for does not matter to them: what they show comes from the API.
func (s *Server) registerWeb(pages fs.FS) {
	files := sync.OnceValues(func() (map[string]webFile, error) { return readPages(pages) })
	send := func(w http.ResponseWriter, r *http.Request, name string) {
		all, err := files()
		f, ok := all[name]
		switch {
		case err != nil:
			s.log.ErrorContext(r.Context(), "pages not read", "request_id", callOf(r.Context()).id, "error", err)
			s.writeProblem(w, r, err)
		case ok:
			f.send(w, r)
		case strings.HasPrefix(name, "assets/"):
			s.writeProblem(w, r, noRoute(r))
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = w.Write([]byte(noPages)) // the client went away: nobody is left to tell
		}
	}
	s.mux.HandleFunc("GET /vms/{ref}/console", func(w http.ResponseWriter, r *http.Request) { send(w, r, "console.html") })
	s.mux.HandleFunc("GET /assets/{name}", func(w http.ResponseWriter, r *http.Request) { send(w, r, "assets/"+r.PathValue("name")) })
}

// readPages reads all files; none if the pages were not built.
func readPages(pages fs.FS) (map[string]webFile, error) {
	all := map[string]webFile{}
	if pages == nil {
		return all, nil
	}
	err := fs.WalkDir(pages, ".", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == "." {
			return fs.SkipAll
		}
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(pages, name)
		if err != nil {
			return err
		}
		all[name], err = newWebFile(name, b)
		return err
	})
	return all, err
}

func newWebFile(name string, b []byte) (webFile, error) {
	sum := sha256.Sum256(b)
	f := webFile{plain: b, etag: hex.EncodeToString(sum[:12]), contentType: mime.TypeByExtension(path.Ext(name)), forever: strings.HasPrefix(name, "assets/")}
	if f.contentType == "" {
		f.contentType = "application/octet-stream"
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return f, err
	}
	_, err = z.Write(b)
	if err = errors.Join(err, z.Close()); err != nil {
		return f, err
	}
	if packed.Len() < len(b) {
		f.packed = packed.Bytes()
	}
	return f, nil
}

func (f webFile) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Security-Policy", pageSecurity)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache") // kept, and asked for again
	if f.forever {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body, etag := f.plain, f.etag
	if f.packed != nil && acceptsGzip(r) {
		body, etag = f.packed, etag+"-gz"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip reports whether the client names gzip and does not rule it out.
func acceptsGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q = strings.ReplaceAll(q, " ", "")
			return q != "q=0" && !strings.HasPrefix(q, "q=0.000")
		}
	}
	return false
}
