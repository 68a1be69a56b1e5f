package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
)

// groupInfo is a consumer group as it is listed.
type groupInfo struct {
	Name     string  `json:"group"`
	State    string  `json:"state"`
	Strategy *string `json:"strategy"` // nil for none, without members
	Members  int     `json:"members"`
}

// groupDescription is a consumer group with its members and partitions.
type groupDescription struct {
	Name       string           `json:"group"`
	State      string           `json:"state"`
	Strategy   *string          `json:"strategy"`
	Epoch      int64            `json:"epoch"`
	Members    []groupMember    `json:"members"`
	Partitions []groupPartition `json:"partitions"`
	Lag        int64            `json:"lag"`
}

type groupMember struct {
	ID               string            `json:"member_id"`
	ClientID         *string           `json:"client_id"`
	Topics           []string          `json:"topics"`
	Epoch            int64             `json:"epoch"`
	SessionTimeoutMs int64             `json:"session_timeout_ms"`
	Assignment       []topicPartitions `json:"assignment"`
	Revoked          []topicPartitions `json:"revoked"`
}

// topicPartitions is some partitions of a topic.
type topicPartitions struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions"`
}

// groupPartition is a partition to which a group subscribes, or in which it
// committed.
type groupPartition struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Member    *string `json:"member_id"` // that reads it
	Committed *int64  `json:"committed"` // nil if nothing was
	LogStart  int64   `json:"log_start_offset"`
	End       int64   `json:"end_offset"`
	Lag       int64   `json:"lag"`
}

// groupOffset is an offset to commit for a group.
type groupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func groupPath(group string, rest ...string) []string {
	return append([]string{"v1", "groups", group}, rest...)
}

// groupsPageSize is how many groups one page of the list is asked to hold.
const groupsPageSize = 1000

// groups calls each with every group whose name begins with prefix, in the node's
// order, until each returns an error.
func (c *client) groups(ctx context.Context, prefix string, each func(groupInfo) error) error {
	query := url.Values{"page_size": {strconv.Itoa(groupsPageSize)}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	for {
		var page struct {
			Groups []groupInfo `json:"groups"`
			Next   string      `json:"next_page_token"`
		}
		r := request{method: http.MethodGet, path: []string{"v1", "groups"}, query: query, timeout: controlTimeout}
		if _, err := c.doJSON(ctx, r, nil, &page); err != nil {
			return err
		}
		for _, info := range page.Groups {
			if err := each(info); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		if page.Next == query.Get("page_token") {
			return errors.New("the list of groups does not go on: the same page token twice")
		}
		query.Set("page_token", page.Next)
	}
}

// groupAnswerBytesMax bounds the description of a group, which may have very
// many partitions.
const groupAnswerBytesMax = 256 << 20

// group returns a group, or a *problemError of status 404.
func (c *client) group(ctx context.Context, name string) (groupDescription, error) {
	var d groupDescription
	r := request{method: http.MethodGet, path: groupPath(name), timeout: controlTimeout, answerMax: groupAnswerBytesMax}
	_, err := c.doJSON(ctx, r, nil, &d)
	return d, err
}

func (c *client) deleteGroup(ctx context.Context, name string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: groupPath(name), timeout: controlTimeout})
	return err
}

// setGroupOffsets commits offsets for a group that has no members: all or none.
func (c *client) setGroupOffsets(ctx context.Context, name string, offsets []groupOffset) error {
	r := request{method: http.MethodPut, path: groupPath(name, "offsets"), timeout: controlTimeout}
	_, err := c.doJSON(ctx, r, map[string]any{"offsets": offsets}, nil)
	return err
}
