package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// controlTimeout bounds one request that moves no records.
const controlTimeout = 35 * time.Second

// topicsPageSize is how many topics one page of the list is asked to hold.
const topicsPageSize = 1000

// topicInfo is a topic as the API shows it.
type topicInfo struct {
	Name       string                 `json:"name"`
	ID         string                 `json:"id"`
	Partitions int32                  `json:"partitions"`
	Config     map[string]configValue `json:"config,omitempty"`
}

// configValue is the value of a topic's setting, text or number, as JSON.
type configValue json.RawMessage

func (v *configValue) UnmarshalJSON(b []byte) error {
	*v = append((*v)[:0], b...)
	return nil
}

func (v configValue) MarshalJSON() ([]byte, error) { return v, nil }

func (v configValue) String() string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	return string(v)
}

// partitionBounds are the offsets of a partition: [start, end).
type partitionBounds struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// timedOffset is a record found by time.
type timedOffset struct {
	Offset    int64 `json:"offset"`
	Timestamp int64 `json:"timestamp"` // ms
}

func topicPath(topic string, rest ...string) []string {
	return append([]string{"v1", "topics", topic}, rest...)
}

func partitionPath(topic string, partition int32, rest ...string) []string {
	return topicPath(topic, append([]string{"partitions", strconv.Itoa(int(partition))}, rest...)...)
}

// topic returns a topic, or a *problemError of status 404.
func (c *client) topic(ctx context.Context, name string) (topicInfo, error) {
	var info topicInfo
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: topicPath(name), timeout: controlTimeout}, nil, &info)
	if err == nil && info.Partitions < 1 {
		err = fmt.Errorf("answer about topic %s names %d partitions", name, info.Partitions)
	}
	return info, err
}

// topicChange is the body that creates or alters a topic.
type topicChange struct {
	Partitions int32                  `json:"partitions,omitempty"`
	Config     map[string]configValue `json:"config,omitempty"`
}

// createTopic returns the topic, and false if it was there before.
func (c *client) createTopic(ctx context.Context, name string, change topicChange) (topicInfo, bool, error) {
	var info topicInfo
	res, err := c.doJSON(ctx, request{method: http.MethodPut, path: topicPath(name), timeout: controlTimeout}, change, &info)
	return info, res.status == http.StatusCreated, err
}

// autoCreateTopic has the node create a topic if it is one that does so on
// the first record: it asks for no records at all to be stored, which the node
// refuses, but not before it has looked for the topic.
func (c *client) autoCreateTopic(ctx context.Context, name string) error {
	r := request{method: http.MethodPost, path: topicPath(name, "records"), timeout: controlTimeout}
	_, err := c.doJSON(ctx, r, map[string]any{"records": []any{}}, nil)
	var problem *problemError
	if errors.As(err, &problem) && problem.Status == http.StatusBadRequest {
		return nil
	}
	return err
}

func isNotFound(err error) bool {
	var problem *problemError
	return errors.As(err, &problem) && problem.Status == http.StatusNotFound
}

func (c *client) alterTopic(ctx context.Context, name string, change topicChange) (topicInfo, error) {
	var info topicInfo
	_, err := c.doJSON(ctx, request{method: http.MethodPatch, path: topicPath(name), timeout: controlTimeout}, change, &info)
	return info, err
}

func (c *client) deleteTopic(ctx context.Context, name string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: topicPath(name), timeout: controlTimeout})
	return err
}

// topics calls each with every topic whose name begins with prefix, in the
// node's order, until each returns an error.
func (c *client) topics(ctx context.Context, prefix string, each func(topicInfo) error) error {
	query := url.Values{"page_size": {strconv.Itoa(topicsPageSize)}}
	if prefix != "" {
		query.Set("prefix", prefix)
	}
	for {
		var page struct {
			Topics []topicInfo `json:"topics"`
			Next   string      `json:"next_page_token"`
		}
		r := request{method: http.MethodGet, path: []string{"v1", "topics"}, query: query, timeout: controlTimeout}
		if _, err := c.doJSON(ctx, r, nil, &page); err != nil {
			return err
		}
		for _, info := range page.Topics {
			if err := each(info); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		if page.Next == query.Get("page_token") {
			return errors.New("the list of topics does not go on: the same page token twice")
		}
		query.Set("page_token", page.Next)
	}
}

// bounds returns the offsets of a partition as of now.
func (c *client) bounds(ctx context.Context, topic string, partition int32) (partitionBounds, error) {
	var b partitionBounds
	r := request{method: http.MethodGet, path: partitionPath(topic, partition, "offsets"), timeout: controlTimeout}
	_, err := c.doJSON(ctx, r, nil, &b)
	return b, err
}

// boundsAt returns the offsets of a partition, and the first record at or
// after a time in ms, or nil if there is none.
func (c *client) boundsAt(ctx context.Context, topic string, partition int32, ms int64) (partitionBounds, *timedOffset, error) {
	var b struct {
		partitionBounds
		Offset    *int64 `json:"offset"`
		Timestamp int64  `json:"timestamp"`
	}
	r := request{
		method: http.MethodGet, path: partitionPath(topic, partition, "offsets"), timeout: controlTimeout,
		query: url.Values{"timestamp": {strconv.FormatInt(ms, 10)}},
	}
	if _, err := c.doJSON(ctx, r, nil, &b); err != nil {
		return partitionBounds{}, nil, err
	}
	if b.Offset == nil || *b.Offset < 0 {
		return b.partitionBounds, nil, nil
	}
	return b.partitionBounds, &timedOffset{*b.Offset, b.Timestamp}, nil
}

// trim moves the log start of a partition to before.
func (c *client) trim(ctx context.Context, topic string, partition int32, before int64) error {
	_, err := c.do(ctx, request{
		method: http.MethodDelete, path: partitionPath(topic, partition, "records"), timeout: controlTimeout,
		query: url.Values{"before": {strconv.FormatInt(before, 10)}},
	})
	return err
}
