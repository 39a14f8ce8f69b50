package disk

import (
	"fmt"
	"regexp"
	"strings"

	"baadal"
	"baadal/internal/ssh"
)

// The exit codes of the scripts; files/prelude.sh has the same list.
const (
	codeNotMounted     = 80
	codeForeign        = 81
	codeNothing        = 82
	codeNoTemplate     = 83
	codeBadImage       = 84
	codeOvertaken      = 85
	codeTwoFilesystems = 86
	codeInUse          = 87
	codeDamaged        = 90
	codeOpen           = 95
	codeDiffers        = 88
)

// causes are those that the tools tell only in words (in English: the
// scripts set LC_ALL=C). The first that is found counts.
var causes = []struct {
	words string
	make  func(host baadal.Host, ds baadal.Datastore, words string) *baadal.Error
}{
	{"No space left on device", full},
	{"Disk quota exceeded", full},
	{"Read-only file system", readOnly},
	{"Permission denied", readOnly},
	{"Operation not permitted", readOnly},
	{"Input/output error", sick},
	{"Stale file handle", sick},
	{"Transport endpoint is not connected", sick},
	{"Connection timed out", sick},
	{"Is another process using the image", inUse},
	{"--shrink", tooSmall}, // qemu-img resize, when the disk would be smaller than the template
}

var (
	notFoundRE = regexp.MustCompile(`([\w.-]+): (?:command )?not found`)
	// The shell says it once for itself and once for each command that it waited for.
	interruptedRE = regexp.MustCompile(`^(?:(?:Terminated|Killed)\s*)*$`)
	roomRE        = regexp.MustCompile(`(?m)^room:[ \t]*(?:(\d+)[ \t]+(\d+))?[ \t]*$`)
)

// explain turns a script that failed into an error with a kind.
func explain(host baadal.Host, ds baadal.Datastore, res ssh.Result) error {
	words := strings.TrimSpace(roomRE.ReplaceAllString(string(res.Stderr), ""))
	// A rename that failed looks like a younger attempt, but mv has said why.
	if res.Code != codeOvertaken {
		if e := explainCode(host, ds, res.Code, words); e != nil {
			return e
		}
	}
	for _, c := range causes {
		if strings.Contains(words, c.words) {
			return c.make(host, ds, string(res.Stderr))
		}
	}
	if e := explainCode(host, ds, res.Code, words); e != nil {
		return e
	}
	if m := notFoundRE.FindStringSubmatch(words); m != nil {
		return (&baadal.Error{
			Kind: baadal.Conflict, Code: "tool_missing", Err: failure(host, res.Code, words),
			Title: fmt.Sprintf("%s lacks the program %s", host.Name, m[1]),
		}).WithNext("Install it on "+host.Name, "apt-get install qemu-utils coreutils util-linux findutils")
	}
	if res.Code > 128 && interruptedRE.MatchString(words) { // by a signal
		return &baadal.Error{
			Kind: baadal.Unavailable, Code: "interrupted", Err: failure(host, res.Code, words),
			Title: fmt.Sprintf("the work on datastore %s was interrupted on %s", ds.Name, host.Name),
		}
	}
	return failure(host, res.Code, words)
}

func explainCode(host baadal.Host, ds baadal.Datastore, code int, words string) *baadal.Error {
	e := &baadal.Error{Kind: baadal.Conflict, Detail: lastLine(words), Err: failure(host, code, words)}
	switch code {
	case codeNotMounted:
		e.Code, e.Title = "datastore_not_mounted", fmt.Sprintf("datastore %s is not mounted on %s", ds.Name, host.Name)
		e.WithNext("Mount it on "+host.Name+" and let /etc/fstab name it", "mount "+ds.Path)
	case codeForeign:
		e.Code, e.Title = "folder_exists", "something that does not belong to this VM is in the way on datastore "+ds.Name
		e.WithNext("See what the datastore holds that nobody owns", "baadal audit")
	case codeNothing:
		e.Kind, e.Code, e.Title = baadal.NotFound, "folder_missing", "what is asked for is not on datastore "+ds.Name
	case codeNoTemplate:
		e.Code, e.Title = "template_missing", "the template's file is missing on datastore "+ds.Name
		e.WithNext("See the templates", "baadal template list")
	case codeBadImage:
		return badImage("%s", lastLine(words))
	case codeOvertaken:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "overtaken", "another attempt works on the same folder of datastore "+ds.Name
	case codeTwoFilesystems:
		e.Code, e.Title = "two_file_systems", fmt.Sprintf("the folders of datastore %s lie on several file systems", ds.Name)
		e.WithNext("Mount one file system at "+ds.Path+" and none below it", "findmnt -R "+ds.Path)
	case codeDiffers:
		e.Kind, e.Code, e.Title = baadal.Unavailable, "copy_differs", "the copy on datastore "+ds.Name+" differs from the disk"
	case codeOpen:
		e.Code, e.Title = "disk_in_use", "a disk on datastore "+ds.Name+" is open for writing: a VM runs on it somewhere"
		e.WithNext("Find out where", "baadal audit")
	case codeDamaged:
		e.Code, e.Title = "backup_damaged", "a file of the backup is not as it was"
	case codeInUse:
		e.Code, e.Title = "base_in_use", "a disk on datastore "+ds.Name+" stands on the base"
	default:
		return nil
	}
	return e
}

func full(host baadal.Host, ds baadal.Datastore, words string) *baadal.Error {
	e := &baadal.Error{
		Kind: baadal.Exhausted, Code: "datastore_full", Err: failure(host, 1, words),
		Title: "datastore " + ds.Name + " is full", Detail: "no space is left, seen from " + host.Name,
	}
	if m := roomRE.FindStringSubmatch(words); m != nil && m[1] != "" {
		var size, free int64
		_, _ = fmt.Sscan(m[1], &size)
		_, _ = fmt.Sscan(m[2], &free)
		e.WithDetail("%s of %s were free when the work was stopped", gib(free), gib(size))
	}
	return e.WithNext("Purge deleted VMs or add room", "baadal datastore list")
}

func readOnly(host baadal.Host, ds baadal.Datastore, words string) *baadal.Error {
	e := &baadal.Error{Kind: baadal.Conflict, Code: "datastore_read_only", Err: failure(host, 1, words)}
	e.Title = fmt.Sprintf("%s cannot write to datastore %s", host.Name, ds.Name)
	return e.WithDetail("%s", lastLine(roomRE.ReplaceAllString(words, ""))).
		WithNext("If it is mounted read-only, mount it for writing on "+host.Name, "mount -o remount,rw "+ds.Path).
		WithNext("If "+host.Name+" may not write, let its export allow root (no_root_squash)", "")
}

func sick(host baadal.Host, ds baadal.Datastore, words string) *baadal.Error {
	e := &baadal.Error{Kind: baadal.Unavailable, Code: "datastore_failing", Err: failure(host, 1, words)}
	e.Title = fmt.Sprintf("datastore %s does not work on %s", ds.Name, host.Name)
	return e.WithDetail("%s", lastLine(roomRE.ReplaceAllString(words, "")))
}

// inUse is what QEMU's lock on an image says.
func inUse(host baadal.Host, _ baadal.Datastore, words string) *baadal.Error {
	return (&baadal.Error{Kind: baadal.Conflict, Code: "disk_in_use", Title: "the disk is in use", Err: failure(host, 1, words)}).
		WithDetail("another process has it open for writing")
}

func tooSmall(host baadal.Host, _ baadal.Datastore, words string) *baadal.Error {
	return (&baadal.Error{
		Kind: baadal.Invalid, Code: "disk_too_small", Field: "disk_gib", Err: failure(host, 1, words),
		Title: "the disk would be smaller than its template",
	}).WithDetail("a disk can be larger than its template, never smaller")
}

// badImage is the refusal of an image file.
func badImage(format string, args ...any) *baadal.Error {
	return baadal.Errorf(baadal.Invalid, "that is not a usable disk image").WithCode("bad_image").WithDetail(format, args...)
}

// failure is the cause for the logs.
func failure(host baadal.Host, code int, words string) error {
	return fmt.Errorf("script on %s ended with code %d: %s", host.Name, code, strings.TrimSpace(words))
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// gib writes bytes for people.
func gib(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
