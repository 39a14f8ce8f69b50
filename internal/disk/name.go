package disk

import (
	"path"
	"regexp"
	"strings"

	"baadal"
)

var uuidRE = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// checkUUID refuses what is not a UUID: it names temporary files.
func checkUUID(uuid string) error {
	if !uuidRE.MatchString(uuid) {
		return baadal.Errorf(baadal.Invalid, "%q is not a UUID", uuid).WithCode("bad_uuid")
	}
	return nil
}

// checkEntry refuses names that would lead out of their folder, hide in it, or
// read as an option.
func checkEntry(what, name string) error {
	control := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	if name == "" || len(name) > 180 || name[0] == '.' || name[0] == '-' || strings.Contains(name, "/") || control {
		return baadal.Errorf(baadal.Invalid, "%s %q is not usable as a file name", what, name).WithCode("bad_name")
	}
	return nil
}

// checkVM checks what names a VM's folder.
func checkVM(identity, uuid string) error {
	if err := checkEntry("identity", identity); err != nil {
		return err
	}
	return checkUUID(uuid)
}

// checkFile refuses what is not a clean absolute path.
func checkFile(what, file string) error {
	if !path.IsAbs(file) || path.Clean(file) != file || strings.ContainsAny(file, "\x00\n\r") {
		return baadal.Errorf(baadal.Invalid, "%s %q is not a clean absolute path", what, file).WithCode("bad_name")
	}
	return nil
}
