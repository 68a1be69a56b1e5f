package catalog

// Topic is a topic. It is immutable: a change puts another in its place.
type Topic struct {
	ID         TopicID
	Name       string
	Partitions int32
	Config     TopicConfig
}

// TopicNameLenMax is the longest name of a topic in bytes, as in Kafka.
const TopicNameLenMax = 249

// ValidTopicName tells whether a topic may have this name: 1 to 249 of the
// characters a-z, A-Z, 0-9, dot, underscore and dash, but not "." nor "..".
// These are Kafka's rules.
func ValidTopicName(name string) bool {
	if name == "" || len(name) > TopicNameLenMax || name == "." || name == ".." {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
