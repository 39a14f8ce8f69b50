package store

import "strconv"

// refID returns the id that a reference may be: people name things by id or by
// name, and an id that exists wins over a name that looks like one.
func refID(ref string) int64 {
	id, err := strconv.ParseInt(ref, 10, 64)
	if err != nil || id < 1 {
		return 0
	}
	return id
}
