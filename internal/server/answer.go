package server

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"baadal"
)

// Ref names one thing in a path.
type Ref struct {
	Ref string `path:"ref" maxLength:"255" doc:"Id or name."`
}

// ID names one thing in a path by its number.
type ID struct {
	ID int64 `path:"id" minimum:"1"`
}

// Page asks for one page of a list.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" doc:"Items on a page; 100 if not given."`
	After  string `query:"after" maxLength:"1024" doc:"The previous page's next."`
	Filter string `query:"filter" maxLength:"1024" doc:"Words and key:value pairs, as: state:off host:h07 web"`
	Sort   string `query:"sort" maxLength:"64" doc:"A key of the list; with a leading - for descending."`
}

func (p Page) query() baadal.ListQuery {
	return baadal.ListQuery{Limit: p.Limit, After: p.After, Filter: p.Filter, Sort: p.Sort}
}

// Dry goes with every change.
type Dry struct {
	DryRun bool `query:"dry_run" doc:"Answer with the plan and change nothing."`
}

func (d Dry) change() baadal.ChangeOptions { return baadal.ChangeOptions{DryRun: d.DryRun} }

// Options goes with every change of something that exists.
type Options struct {
	DryRun  bool   `query:"dry_run" doc:"Answer with the plan and change nothing."`
	IfMatch string `header:"If-Match" pattern:"^([*]|(W/)?\"[0-9]{1,18}\")$" doc:"The ETag that the change is meant for; 412 if it is no longer the current one."`
}

func (o Options) change() baadal.ChangeOptions {
	// The pattern lets nothing through that is neither a number nor *, which is 0.
	generation, _ := strconv.ParseInt(strings.Trim(strings.TrimPrefix(o.IfMatch, "W/"), `"`), 10, 64)
	return baadal.ChangeOptions{DryRun: o.DryRun, Generation: generation}
}

// oneOut is the answer about one thing.
type oneOut[T any] struct {
	ETag string `header:"ETag" doc:"The generation, quoted; send it back as If-Match."`
	Body T
}

func one[T any](v T, err error) (*oneOut[T], error) {
	if err != nil {
		return nil, err
	}
	return &oneOut[T]{ETag: etag(&v), Body: v}, nil
}

// listOut is one page.
type listOut[T any] struct {
	Body baadal.List[T]
}

func listed[T any](l baadal.List[T], err error) (*listOut[T], error) {
	if err != nil {
		return nil, err
	}
	if l.Items == nil {
		l.Items = []T{}
	}
	return &listOut[T]{Body: l}, nil
}

// all is the page of a list that has no pages.
func all[T any](items []T, err error) (*listOut[T], error) {
	return listed(baadal.List[T]{Items: items, Total: len(items)}, err)
}

// changeOut is the answer to a change.
type changeOut[T any] struct {
	Status   int
	Location string `header:"Location" doc:"The task that does the rest, or what was made."`
	ETag     string `header:"ETag"`
	Body     baadal.Change[T]
}

// changed answers 202 with the task's place if there is one, otherwise 200.
func changed[T any](c baadal.Change[T], err error) (*changeOut[T], error) {
	if err != nil {
		return nil, err
	}
	out := &changeOut[T]{Status: http.StatusOK, ETag: etag(c.Resource), Body: c}
	if c.Task != nil {
		out.Status, out.Location = http.StatusAccepted, taskPath(c.Task.ID)
	}
	return out, nil
}

// made is changed for what creates: 201 if no task is needed and it was no dry run.
func made[T any](c baadal.Change[T], err error) (*changeOut[T], error) {
	out, err := changed(c, err)
	if err == nil && out.Status == http.StatusOK && c.Resource != nil && c.Plan == nil {
		noun, id, _ := identify(c.Resource)
		out.Status, out.Location = http.StatusCreated, fmt.Sprintf("%s/%s/%d", Prefix, noun, id)
	}
	return out, err
}

func taskPath(id int64) string { return fmt.Sprintf("%s/tasks/%d", Prefix, id) }

// etag returns the strong ETag of a thing with a generation, otherwise "".
func etag(v any) string {
	_, _, generation := identify(v)
	return quoted(generation)
}

func quoted(generation int64) string {
	if generation <= 0 {
		return ""
	}
	return strconv.Quote(strconv.FormatInt(generation, 10))
}

// identify tells where a thing lives in the API and its generation; zeros for
// what has none.
func identify(v any) (noun string, id, generation int64) {
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() {
		return "", 0, 0
	}
	switch r := v.(type) {
	case *baadal.VM:
		return "vms", r.ID, r.Generation
	case *baadal.Host:
		return "hosts", r.ID, r.Generation
	case *baadal.Datastore:
		return "datastores", r.ID, r.Generation
	case *baadal.Template:
		return "templates", r.ID, r.Generation
	case *baadal.Network:
		return "networks", r.ID, r.Generation
	case *baadal.Affinity:
		return "affinities", r.ID, r.Generation
	case *baadal.SecGroup:
		return "secgroups", r.ID, r.Generation
	case *baadal.Task:
		return "tasks", r.ID, r.Generation
	case *baadal.User:
		return "users", r.ID, r.Generation
	case *baadal.Setting:
		return "settings", 0, r.Generation
	}
	return "", 0, 0
}
