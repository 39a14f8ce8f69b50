// Package client speaks to the API: one typed method for each route. The
// command line and the end-to-end tests use nothing else, so what they can do,
// every program can.
//
// Errors that the server answered with are *Problem, which unwraps to
// *baadal.Error; a server that does not answer is a *baadal.Error of kind
// Unavailable, code "no_connection".
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"baadal"
)

// Config says where the server is and who asks.
type Config struct {
	BaseURL    string       // as http://127.0.0.1:8080
	Token      string       // API token or session secret; may be set later by SignIn
	HTTPClient *http.Client // one with sensible timeouts if nil
	UserAgent  string
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	agent string

	mu    sync.Mutex
	token string
}

const (
	prefix      = "/api/v1"
	callTimeout = 60 * time.Second // of an ordinary call
	maxAnswer   = 256 << 20        // bytes
	tries       = 3                // of calls that may be repeated
	busyTries   = 20               // while the server still works on the lost call
)

// New returns a client; it does not connect yet.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.BaseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, baadal.Errorf(baadal.Invalid, "%q is not the URL of a server", cfg.BaseURL).WithCode("bad_url").
			WithDetail("as http://127.0.0.1:8080")
	}
	u.Path, u.RawQuery, u.Fragment, u.User = strings.TrimRight(u.Path, "/"), "", "", nil
	c := &Client{base: u, http: cfg.HTTPClient, agent: cfg.UserAgent, token: cfg.Token}
	if c.http == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = 16
		c.http = &http.Client{Transport: t}
	}
	return c, nil
}

// BaseURL returns the server's URL.
func (c *Client) BaseURL() string { return c.base.String() }

// Token returns the token or session secret that calls carry.
func (c *Client) Token() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// SetToken sets what further calls carry.
func (c *Client) SetToken(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
}

// CloseIdle closes connections that no call uses.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// request is one call before it is made.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any           // encoded as JSON if not nil
	timeout      time.Duration // callTimeout if 0
	repeatable   bool          // may be sent again when no answer came
}

func get(path string, query url.Values) request {
	return request{method: http.MethodGet, path: path, query: query, repeatable: true}
}

// create may be sent twice without making two things: it carries a random key.
func create(path string, body any, opt baadal.ChangeOptions) request {
	r := change(http.MethodPost, path, body, opt)
	r.header.Set("Idempotency-Key", rand.Text())
	r.repeatable = true
	return r
}

func change(method, path string, body any, opt baadal.ChangeOptions) request {
	r := request{method: method, path: path, body: body, query: url.Values{}, header: http.Header{}}
	if opt.DryRun {
		r.query.Set("dry_run", "true")
	}
	if opt.Generation != 0 {
		r.header.Set("If-Match", strconv.Quote(strconv.FormatInt(opt.Generation, 10)))
	}
	return r
}

// call makes a request and decodes its answer into a T.
func call[T any](ctx context.Context, c *Client, r request) (T, error) {
	var out T
	_, err := c.do(ctx, r, &out)
	return out, err
}

// do makes a request, again when that is safe and no answer came, and decodes
// the answer into out if that is not nil.
func (c *Client) do(ctx context.Context, r request, out any) (http.Header, error) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", r.method, r.path, err)
		}
	}
	lost := false
	for try := 1; ; try++ {
		h, err := c.once(ctx, r, body, out)
		wait := time.Duration(0)
		switch {
		case err == nil || !r.repeatable || ctx.Err() != nil:
		case baadal.CodeOf(err) == codeNoConnection && try < tries:
			lost, wait = true, time.Duration(try*try)*200*time.Millisecond
		case lost && baadal.CodeOf(err) == "in_progress" && try < busyTries:
			wait = 500 * time.Millisecond
		}
		if wait == 0 {
			return h, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return h, err
		}
	}
}

func (c *Client) once(ctx context.Context, r request, body []byte, out any) (http.Header, error) {
	timeout := r.timeout
	if timeout == 0 {
		timeout = callTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := c.newRequest(ctx, r, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.send(req, out)
}

func (c *Client) newRequest(ctx context.Context, r request, body io.Reader) (*http.Request, error) {
	// The path is escaped already: names in it may hold anything.
	u := c.base.String() + prefix + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, r.header)
	req.Header.Set("Accept", "application/json")
	if c.agent != "" {
		req.Header.Set("User-Agent", c.agent)
	}
	if t := c.Token(); t != "" {
		req.Header.Set("Authorization", "Bearer "+t)
	}
	return req, nil
}

// send returns the answer's headers; an answer that is no success is a *Problem.
func (c *Client) send(req *http.Request, out any) (http.Header, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.noConnection(req.Context(), err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.noConnection(req.Context(), err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp.Header, readProblem(resp, data)
	}
	if out != nil && len(data) > 0 {
		if err := json.Unmarshal(data, out); err != nil {
			return resp.Header, baadal.Errorf(baadal.Internal, "the answer of %s is not understood: %w", c.base, err).WithCode("bad_answer")
		}
	}
	return resp.Header, nil
}

const codeNoConnection = "no_connection"

// noConnection makes an error of a call that got no answer. The caller's own
// cancellation stays what it is.
func (c *Client) noConnection(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("call %s: %w", c.base, err)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text repeats the whole URL
	}
	e := baadal.Errorf(baadal.Unavailable, "no server answers at %s", c.base).WithCode(codeNoConnection)
	if ctx.Err() != nil {
		e.Title, e.Code = fmt.Sprintf("the server at %s did not answer in time", c.base), "no_answer"
	}
	e.Err = err
	return e
}

func listQuery(q baadal.ListQuery) url.Values {
	v := url.Values{}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	for name, value := range map[string]string{"after": q.After, "filter": q.Filter, "sort": q.Sort} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

func at(noun, ref string, more ...string) string {
	return strings.Join(append([]string{"", noun, url.PathEscape(ref)}, more...), "/")
}

func id(n int64) string { return strconv.FormatInt(n, 10) }
