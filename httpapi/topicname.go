package httpapi

import (
	"strings"

	"github.com/wadilog/wadi/catalog"
)

const topicNameLenMax = catalog.TopicNameLenMax

// checkTopicName tells what is wrong with a topic's name.
func checkTopicName(name string) error { return checkName(name, "topic name", kindInvalidTopicName) }

// checkGroupName tells what is wrong with a consumer group's name. It may look
// like a topic's.
func checkGroupName(name string) error { return checkName(name, "group name", kindInvalidGroupName) }

// checkMemberID tells what is wrong with the id of a group's member.
func checkMemberID(id string) error { return checkName(id, "member id", kindInvalidMemberID) }

func checkName(name, what string, k kind) error {
	switch {
	case name == "":
		return k.newf("a %s must not be empty", what)
	case len(name) > topicNameLenMax:
		return k.newf("a %s has at most %d characters, not %d", what, topicNameLenMax, len(name)).
			with("limit", int64(topicNameLenMax))
	case name == "." || name == "..":
		return k.newf("%q cannot be a %s", name, what)
	case !catalog.ValidTopicName(name):
		return k.newf("%q holds a character other than A-Z a-z 0-9 . _ -", name)
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
