package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// GroupInfo is a consumer group as it is listed.
type GroupInfo struct {
	Name     string  `json:"group"`
	State    string  `json:"state"`
	Strategy *string `json:"strategy"` // nil for none, without members
	Members  int     `json:"members"`
}

// GroupDescription is a consumer group with its members and partitions.
type GroupDescription struct {
	Name       string           `json:"group"`
	State      string           `json:"state"`
	Strategy   *string          `json:"strategy"`
	Epoch      int64            `json:"epoch"`
	Members    []GroupMember    `json:"members"`
	Partitions []GroupPartition `json:"partitions"`
	Lag        int64            `json:"lag"`
}

// GroupMember is a member of a consumer group.
type GroupMember struct {
	ID               string            `json:"member_id"`
	ClientID         *string           `json:"client_id"`
	Topics           []string          `json:"topics"`
	Epoch            int64             `json:"epoch"`
	SessionTimeoutMs int64             `json:"session_timeout_ms"`
	Assignment       []TopicPartitions `json:"assignment"`
	Revoked          []TopicPartitions `json:"revoked"`
}

// TopicPartitions are some partitions of a topic.
type TopicPartitions struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions"`
}

// GroupPartition is a partition to which a group subscribes, or in which it
// committed.
type GroupPartition struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Member    *string `json:"member_id"` // that reads it
	Committed *int64  `json:"committed"` // nil if nothing was
	LogStart  int64   `json:"log_start_offset"`
	End       int64   `json:"end_offset"`
	Lag       int64   `json:"lag"`
}

// GroupOffset is an offset to commit for a group.
type GroupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func groupPath(group string, rest ...string) []string {
	return append([]string{"v1", "groups", group}, rest...)
}

// checkGroup keeps what would be another path from being one.
func checkGroup(name string) error {
	if name == "" || name == "." || name == ".." {
		return invalidArgument("%q is not a name of a group", name)
	}
	return nil
}

// groupsPageSize is how many groups one page of the list is asked to hold.
const groupsPageSize = 1000

// groupAnswerBytesMax bounds the description of a group, which may have very
// many partitions.
const groupAnswerBytesMax = 256 << 20

// Groups walks the consumer groups whose name begins with prefix, by name, a page
// at a time. An error ends it.
func (c *Client) Groups(ctx context.Context, prefix string) iter.Seq2[GroupInfo, error] {
	return func(yield func(GroupInfo, error) bool) {
		query := url.Values{"page_size": {strconv.Itoa(groupsPageSize)}}
		if prefix != "" {
			query.Set("prefix", prefix)
		}
		for {
			var page struct {
				Groups []GroupInfo `json:"groups"`
				Next   string      `json:"next_page_token"`
			}
			r := request{method: http.MethodGet, path: []string{"v1", "groups"}, query: query}
			if _, err := c.callJSON(ctx, r, IsRetryable, nil, &page); err != nil {
				yield(GroupInfo{}, err)
				return
			}
			for _, g := range page.Groups {
				if !yield(g, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == query.Get("page_token") {
				yield(GroupInfo{}, errors.New("the list of groups does not go on: the same page token twice"))
				return
			}
			query.Set("page_token", page.Next)
		}
	}
}

// DescribeGroup returns a consumer group, or ErrGroupNotFound.
func (c *Client) DescribeGroup(ctx context.Context, name string) (GroupDescription, error) {
	var d GroupDescription
	if err := checkGroup(name); err != nil {
		return d, err
	}
	r := request{method: http.MethodGet, path: groupPath(name), answerMax: groupAnswerBytesMax}
	_, err := c.callJSON(ctx, r, IsRetryable, nil, &d)
	return d, err
}

// DeleteGroup forgets a group without members. Where it is unknown whether it did,
// it is not repeated: that could hit a group that was made again meanwhile.
func (c *Client) DeleteGroup(ctx context.Context, name string) error {
	if err := checkGroup(name); err != nil {
		return err
	}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: groupPath(name)}, retryableWithoutEffect)
	return err
}

// SetGroupOffsets commits offsets for a group that has no members, up to 10,000 of
// them: all or none. A group that is not there is made.
func (c *Client) SetGroupOffsets(ctx context.Context, name string, offsets []GroupOffset) error {
	if err := checkGroup(name); err != nil {
		return err
	}
	r := request{method: http.MethodPut, path: groupPath(name, "offsets")}
	_, err := c.callJSON(ctx, r, IsRetryable, map[string]any{"offsets": offsets}, nil)
	return err
}
