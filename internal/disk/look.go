package disk

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"baadal"
)

// Usage measures the datastore as the host sees it, and makes the folders of its
// layout if it is mounted and writable. A datastore that is not mounted is no
// error: Mounted is false then. A full one is writable.
func (d *Disks) Usage(ctx context.Context, host baadal.Host, ds baadal.Datastore) (baadal.DatastoreUsage, error) {
	var u baadal.DatastoreUsage
	out, _, err := d.run(ctx, host, ds, work{script: usageScript, limit: quick})
	if err != nil {
		return u, fmt.Errorf("measure datastore: %w", err)
	}
	f := fields(out)
	if len(f) != 5 {
		return u, fmt.Errorf("measure datastore: %s printed %q", host.Name, out)
	}
	u.Mounted, u.Writable = f[0] == "yes", f[1] == "yes"
	for i, n := range []*int64{&u.Capacity, &u.Used, &u.Free} {
		if *n, err = strconv.ParseInt(f[2+i], 10, 64); err != nil {
			return u, fmt.Errorf("measure datastore: %w", err)
		}
	}
	return u, nil
}

// Entries lists what lies in vm_templates, vm_images, vm_deleted and
// vm_extra_disks (there the folders and each file in them), what unfinished work left or has under way (names with a leading dot) included. An entry that
// vanished meanwhile may be listed with 0 bytes and without its mark.
func (d *Disks) Entries(ctx context.Context, host baadal.Host, ds baadal.Datastore) ([]baadal.DatastoreEntry, error) {
	out, stderr, err := d.run(ctx, host, ds, work{script: entriesScript, limit: slow, output: listLimit})
	if err != nil {
		return nil, fmt.Errorf("list datastore: %w", err)
	}
	// What could not be read must not look as if it were not there.
	for line := range strings.Lines(string(stderr)) {
		if !strings.Contains(line, "No such file or directory") {
			return nil, fmt.Errorf("list datastore: %w", sick(host, ds, line))
		}
	}
	entries, err := parseEntries(out)
	if err != nil {
		return nil, fmt.Errorf("list datastore: %w", err)
	}
	return entries, nil
}

// temporaryOf returns the UUID in the name of a VM's temporary folder, which may
// not have its mark yet or no longer; empty if it is none.
func temporaryOf(name string) string {
	const uuidLen = 36
	if len(name) > uuidLen+2 && name[0] == '.' && name[uuidLen+1] == '.' && uuidRE.MatchString(name[1:uuidLen+1]) {
		return name[1 : uuidLen+1]
	}
	return ""
}

// parseEntries reads the three lists that entries.sh prints.
func parseEntries(out []byte) ([]baadal.DatastoreEntry, error) {
	if len(out) == 0 {
		return nil, nil
	}
	var entries []baadal.DatastoreEntry
	at := map[string]int{} // area/name -> index
	next := func() (string, error) {
		i := bytes.IndexByte(out, 0)
		if i < 0 {
			return "", fmt.Errorf("the listing is cut off")
		}
		rec := string(out[:i])
		out = out[i+1:]
		return rec, nil
	}
	for {
		rec, err := next()
		if err != nil {
			return nil, err
		}
		if rec == "" {
			break
		}
		area, name, _ := strings.Cut(rec, "/")
		at[rec] = len(entries)
		entries = append(entries, baadal.DatastoreEntry{Area: area, Name: name, UUID: temporaryOf(path.Base(name))})
	}
	for {
		rec, err := next()
		if err != nil {
			return nil, err
		}
		if rec == "" {
			break
		}
		size, name, _ := strings.Cut(rec, "\t")
		if i, ok := at[name]; ok {
			entries[i].Bytes, _ = strconv.ParseInt(size, 10, 64)
		}
	}
	for len(out) > 0 {
		file, err := next()
		if err != nil {
			return nil, err
		}
		line, rest, _ := bytes.Cut(out, []byte("\n"))
		out = rest
		if i, ok := at[strings.TrimSuffix(file, "/.baadal")]; ok && uuidRE.Match(line) {
			entries[i].UUID = string(line)
		}
	}
	return entries, nil
}
