package httpapi

import (
	"strings"

	"github.com/wadilog/wadi/catalog"
)

const topicNameLenMax = catalog.TopicNameLenMax

// checkTopicName tells what is wrong with a topic's name.
func checkTopicName(name string) error {
	switch {
	case name == "":
		return kindInvalidTopicName.newf("a topic name must not be empty")
	case len(name) > topicNameLenMax:
		return kindInvalidTopicName.newf("a topic name has at most %d characters, not %d", topicNameLenMax, len(name)).
			with("limit", int64(topicNameLenMax))
	case name == "." || name == "..":
		return kindInvalidTopicName.newf("%q cannot be a topic name", name)
	case !catalog.ValidTopicName(name):
		return kindInvalidTopicName.newf("%q holds a character other than A-Z a-z 0-9 . _ -", name)
	}
	return nil
}

func topicNameCharacters(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return false
		}
		return true
	}) < 0
}
