package baadal

import "fmt"

// nameOf and valueOf turn numbered states into stable names and back: the
// numbers are the specification's and live in the store, the names in the API.
func nameOf[T ~int](names map[T]string, v T) string {
	if s, ok := names[v]; ok {
		return s
	}
	return fmt.Sprintf("state %d", int(v))
}

func valueOf[T ~int](names map[T]string, what, name string) (T, error) {
	for v, s := range names {
		if s == name {
			return v, nil
		}
	}
	return 0, Errorf(Invalid, "there is no %s %q", what, name)
}
