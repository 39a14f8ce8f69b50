package probe

// ParseBoot is what Boot does with what a host printed.
func ParseBoot(out []byte) (string, error) { return parseBoot(out) }
