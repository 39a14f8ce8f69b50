package ssh

import (
	"strings"

	"baadal"
)

// Quote joins an argument list to a command line that a POSIX shell splits
// into exactly these arguments again. sshd passes a command only as a string
// to the user's shell; this is the one place where such a string is made. An
// empty list and NUL bytes, which no process can be given, are Invalid.
func Quote(argv []string) (string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return "", baadal.Errorf(baadal.Invalid, "no command given")
	}
	var b strings.Builder
	for i, a := range argv {
		if strings.IndexByte(a, 0) >= 0 {
			return "", baadal.Errorf(baadal.Invalid, "argument %d of %s contains a NUL byte", i, argv[0])
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		quoteArg(&b, a)
	}
	return b.String(), nil
}

// quoteArg puts everything between single quotes, where a shell knows no
// special character; a single quote itself is written outside of them.
func quoteArg(b *strings.Builder, a string) {
	b.WriteByte('\'')
	for i, part := range strings.Split(a, "'") {
		if i > 0 {
			b.WriteString(`'\''`)
		}
		b.WriteString(part)
	}
	b.WriteByte('\'')
}
