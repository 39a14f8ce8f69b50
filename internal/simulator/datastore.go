package simulator

import (
	"path"
	"regexp"
	"strings"

	"baadal"
)

// datastore is a shared file system. Exported fields are its saved state.
type datastore struct {
	Path      string
	Capacity  int64
	Filler    int64              `json:",omitzero"` // bytes that something else occupies
	ReadOnly  bool               `json:",omitzero"`
	Templates map[string]*file   // below vm_templates, unfinished ones included
	Transfers map[string]*file   `json:",omitempty"` // below vm_migration_data
	Folders   map[string]*folder // by area/name

	used int64 // sum of all files
}

type folder struct {
	Mark  string // UUID of the VM that made it; empty if it has none
	Files map[string]*file
}

type file struct {
	Inode   int64
	Bytes   int64            // what it occupies
	Virtual int64            `json:",omitzero"` // size of the disk in it
	Format  string           `json:",omitzero"`
	Backing string           `json:",omitzero"` // absolute path
	SHA256  string           `json:",omitzero"`
	DiskID  int64            `json:",omitzero"`  // mark of an extra disk
	Bitmaps []string         `json:",omitempty"` // of checkpoints
	Saved   map[string]saved `json:",omitempty"` // data of internal snapshots by name
}

const (
	overlayBytes = 196 << 10 // what a fresh overlay occupies
	sectorBytes  = 512
)

func (f *folder) bytes() int64 {
	var n int64
	for _, file := range f.Files {
		n += file.Bytes
	}
	return n
}

func (ds *datastore) free() int64 { return max(0, ds.Capacity-ds.Filler-ds.used) }

// measure sums up what lies on the datastore.
func (ds *datastore) measure() {
	ds.used = 0
	for _, f := range ds.Templates {
		ds.used += f.Bytes
	}
	for _, f := range ds.Transfers {
		ds.used += f.Bytes
	}
	for _, f := range ds.Folders {
		ds.used += f.bytes()
	}
}

func (w *World) addDatastore(p string, capacity int64) {
	if w.state.Datastores[p] == nil {
		w.state.Datastores[p] = &datastore{Path: p, Capacity: capacity, Templates: map[string]*file{}, Folders: map[string]*folder{}}
		w.dirty = true
	}
}

// newFile makes a file with an inode of its own.
func (w *World) newFile(bytes int64) *file {
	w.state.Inode++
	w.dirty = true
	return &file{Inode: w.state.Inode, Bytes: bytes}
}

// mounted returns the datastore as the host sees it, nil if it does not.
func (w *World) mounted(h *host, p string) *datastore {
	if h.Unmounted[p] {
		return nil
	}
	return w.state.Datastores[p]
}

// readable returns the datastore if the host mounts it.
func (w *World) readable(h *host, p string) (*datastore, error) {
	if ds := w.mounted(h, p); ds != nil {
		return ds, nil
	}
	return nil, baadal.Errorf(baadal.Conflict, "datastore %s is not mounted on %s", p, h.Name).WithCode("datastore_not_mounted").
		WithDetail("nothing is mounted at %s", p).WithNext("Mount it on the host", "mount "+p)
}

// writable returns the datastore if the host can write to it.
func (w *World) writable(h *host, p string) (*datastore, error) {
	ds, err := w.readable(h, p)
	if err == nil && ds.ReadOnly {
		return nil, baadal.Errorf(baadal.Conflict, "datastore %s is read-only on %s", p, h.Name).WithCode("datastore_read_only").
			WithDetail("nothing was written").WithNext("Mount it writable", "mount -o remount,rw "+p)
	}
	return ds, err
}

// room refuses what does not fit any more.
func (ds *datastore) room(need int64) error {
	if need > ds.free() {
		return baadal.Errorf(baadal.Exhausted, "datastore %s is full", ds.Path).WithCode("datastore_full").
			WithDetail("%d bytes are needed, %d of %d are free", need, ds.free(), ds.Capacity)
	}
	return nil
}

// lookup returns the file at an absolute path; nil if there is none.
func (w *World) lookup(p string) (*datastore, *file) {
	for _, ds := range w.state.Datastores {
		rest, ok := strings.CutPrefix(p, ds.Path+"/")
		if !ok {
			continue
		}
		dir, name := path.Split(rest)
		dir = strings.TrimSuffix(dir, "/")
		if dir == baadal.DirTemplates {
			return ds, ds.Templates[name]
		}
		if dir == baadal.DirMigration {
			return ds, ds.Transfers[name]
		}
		if f := ds.Folders[dir]; f != nil {
			return ds, f.Files[name]
		}
	}
	return nil, nil
}

// usable returns a file that QEMU on the host can open, with all it stands on.
func (w *World) usable(h *host, p string) (*file, error) {
	var first *file
	for at := p; at != ""; {
		ds, f := w.lookup(at)
		if f == nil || w.mounted(h, ds.Path) == nil {
			code := "disk_missing"
			if first != nil {
				code = "template_missing"
			}
			return nil, baadal.Errorf(baadal.Conflict, "cannot open %s on %s", p, h.Name).WithCode(code).
				WithDetail("cannot access storage file '%s': no such file or directory", at)
		}
		if first == nil {
			first = f
		}
		at = f.Backing
	}
	return first, nil
}

// folderOf returns a VM's folder: nil if there is none, Conflict if it carries
// another mark or none.
func (ds *datastore) folderOf(key, uuid string) (*folder, error) {
	f := ds.Folders[key]
	if f == nil || f.Mark == uuid {
		return f, nil
	}
	whose := "it carries no mark"
	if f.Mark != "" {
		whose = "it is marked as that of " + f.Mark
	}
	return nil, baadal.Errorf(baadal.Conflict, "%s/%s is not this VM's", ds.Path, key).WithCode("folder_exists").WithDetail("%s", whose)
}

// removeFolder removes a VM's folder; none is success.
func (w *World) removeFolder(ds *datastore, key, uuid string) error {
	f, err := ds.folderOf(key, uuid)
	if f != nil {
		delete(ds.Folders, key)
		ds.used -= f.bytes()
		w.dirty = true
	}
	return err
}

// moveFolder renames a VM's folder. Already there is success.
func (w *World) moveFolder(ds *datastore, from, to, uuid string) error {
	target, err := ds.folderOf(to, uuid)
	if err != nil {
		return err
	}
	source, err := ds.folderOf(from, uuid)
	switch {
	case target != nil && source != nil:
		return baadal.Errorf(baadal.Conflict, "%s/%s and %s/%s are both this VM's", ds.Path, from, ds.Path, to).WithCode("folder_exists")
	case target != nil:
		return nil
	case err != nil:
		return err
	case source == nil:
		return baadal.Errorf(baadal.NotFound, "there is neither %s/%s nor %s/%s", ds.Path, from, ds.Path, to).WithCode("folder_missing")
	}
	if strings.HasPrefix(to, baadal.DirDeleted+"/") {
		for _, f := range source.Files {
			if err := w.idle(ds, f); err != nil {
				return err
			}
		}
	}
	delete(ds.Folders, from)
	ds.Folders[to] = source
	w.dirty = true
	return nil
}

// idle refuses a file that a domain has open for writing.
func (w *World) idle(ds *datastore, f *file) error {
	if by := w.writers[f.Inode]; by != nil {
		return baadal.Errorf(baadal.Conflict, "a disk on datastore %s is open for writing: a VM runs on it somewhere", ds.Path).WithCode("disk_in_use").
			WithDetail("%s runs on %s", by.Def.Name, by.host.Name).WithNext("Find out where", "baadal audit")
	}
	return nil
}

// checkName refuses what is not one name below a folder.
func checkName(field, s string) error {
	if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\x00\n") {
		return baadal.Errorf(baadal.Invalid, "%s %q is not usable", field, s).WithCode("bad_name").WithField(field)
	}
	return nil
}

var uuidRE = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func checkUUID(s string) error {
	if !uuidRE.MatchString(s) {
		return baadal.Errorf(baadal.Invalid, "%q is not a UUID", s).WithCode("bad_uuid")
	}
	return nil
}
