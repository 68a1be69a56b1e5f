package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// topicsPageSize is how many topics one page of the list is asked to hold.
const topicsPageSize = 1000

// Topic is a topic as the API shows it.
type Topic struct {
	Name       string      `json:"name"`
	ID         string      `json:"id"` // a topic that is created again has another
	Partitions int32       `json:"partitions"`
	Config     TopicConfig `json:"config,omitempty"`
}

// TopicConfig are settings by name, numbers in decimal: retention.ms is
// "604800000", compression.type is "zstd".
type TopicConfig map[string]string

// MarshalJSON writes numbers as numbers.
func (c TopicConfig) MarshalJSON() ([]byte, error) {
	values := map[string]any{}
	for name, value := range c {
		values[name] = value
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && strconv.FormatInt(n, 10) == value {
			values[name] = n
		}
	}
	return json.Marshal(values)
}

// UnmarshalJSON takes texts and numbers.
func (c *TopicConfig) UnmarshalJSON(text []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	*c = TopicConfig{}
	for name, value := range values {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		(*c)[name] = text
	}
	return nil
}

// TopicSettings say how a topic is to be.
type TopicSettings struct {
	Partitions int32       // 0: one for a new topic, no change for another
	Config     TopicConfig // settings that are not named keep their value
	Reset      []string    // settings that go back to their default; of AlterTopic only
}

func (s TopicSettings) body() map[string]any {
	config := map[string]any{}
	for name, value := range s.Config {
		one, _ := TopicConfig{name: value}.MarshalJSON() // a map of texts never fails
		var values map[string]json.RawMessage
		_ = json.Unmarshal(one, &values)
		config[name] = values[name]
	}
	for _, name := range s.Reset {
		config[name] = nil
	}
	body := map[string]any{}
	if len(config) > 0 {
		body["config"] = config
	}
	if s.Partitions != 0 {
		body["partitions"] = s.Partitions
	}
	return body
}

func topicPath(topic string, rest ...string) []string {
	return append([]string{"v1", "topics", topic}, rest...)
}

func partitionPath(topic string, partition int32, rest ...string) []string {
	return topicPath(topic, append([]string{"partitions", strconv.Itoa(int(partition))}, rest...)...)
}

// partitionKey keeps requests about one partition at one server.
func partitionKey(topic string, partition int32) string {
	return topic + "/" + strconv.Itoa(int(partition))
}

// checkTopic keeps what would be another path from being one.
func checkTopic(name string) error {
	if name == "" || name == "." || name == ".." {
		return invalidArgument("%q is not a name of a topic", name)
	}
	return nil
}

// GetTopic returns a topic, or ErrTopicNotFound.
func (c *Client) GetTopic(ctx context.Context, name string) (Topic, error) {
	if err := checkTopic(name); err != nil {
		return Topic{}, err
	}
	var t Topic
	_, err := c.callJSON(ctx, request{method: http.MethodGet, path: topicPath(name)}, IsRetryable, nil, &t)
	if err == nil && t.Partitions < 1 {
		err = fmt.Errorf("answer about topic %s names %d partitions", name, t.Partitions)
	}
	return t, err
}

// CreateTopic creates a topic and returns it with true, or with false if it was
// there with the same settings. With others the error is ErrTopicExists. If an
// attempt got no answer and the topic is there at the next, created is true,
// though somebody else may have been first.
func (c *Client) CreateTopic(ctx context.Context, name string, settings TopicSettings) (t Topic, created bool, err error) {
	if err := checkTopic(name); err != nil {
		return Topic{}, false, err
	}
	if len(settings.Reset) > 0 {
		return Topic{}, false, invalidArgument("a new topic has nothing to reset")
	}
	// An attempt whose answer was lost may have been the one that created it.
	lost := false
	again := func(err error) bool {
		lost = lost || IsOutcomeUnknown(err)
		return IsRetryable(err)
	}
	res, err := c.callJSON(ctx, request{method: http.MethodPut, path: topicPath(name)}, again, settings.body(), &t)
	return t, res.status == http.StatusCreated || lost && err == nil, err
}

// OpenTopic returns a topic to write to: as GetTopic, but nodes that create
// topics when they are first written to create it.
func (c *Client) OpenTopic(ctx context.Context, name string) (Topic, error) {
	t, err := c.GetTopic(ctx, name)
	if !errors.Is(err, ErrTopicNotFound) {
		return t, err
	}
	// To store no records at all is refused, but not before the node has looked
	// for the topic.
	r := request{method: http.MethodPost, path: topicPath(name, "records")}
	_, err = c.callJSON(ctx, r, IsRetryable, map[string]any{"records": []any{}}, nil)
	if answer := (*Error)(nil); err != nil && (!errors.As(err, &answer) || answer.Status != http.StatusBadRequest) {
		return Topic{}, err
	}
	return c.GetTopic(ctx, name)
}

// AlterTopic changes settings, or raises the number of partitions; keys then
// go to other partitions.
func (c *Client) AlterTopic(ctx context.Context, name string, settings TopicSettings) (Topic, error) {
	if err := checkTopic(name); err != nil {
		return Topic{}, err
	}
	var t Topic
	_, err := c.callJSON(ctx, request{method: http.MethodPatch, path: topicPath(name)}, IsRetryable, settings.body(), &t)
	return t, err
}

// DeleteTopic deletes a topic with all of its records. Where it is unknown
// whether it did, it is not repeated: that could hit a topic of the same name
// that was created meanwhile.
func (c *Client) DeleteTopic(ctx context.Context, name string) error {
	if err := checkTopic(name); err != nil {
		return err
	}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: topicPath(name)}, retryableWithoutEffect)
	return err
}

// retryableWithoutEffect is what may be repeated of requests that must not be
// carried out twice.
func retryableWithoutEffect(err error) bool { return IsRetryable(err) && HadNoEffect(err) }

// Topics walks the topics whose name begins with prefix, by name, a page at a
// time. An error ends it.
func (c *Client) Topics(ctx context.Context, prefix string) iter.Seq2[Topic, error] {
	return func(yield func(Topic, error) bool) {
		query := url.Values{"page_size": {strconv.Itoa(topicsPageSize)}}
		if prefix != "" {
			query.Set("prefix", prefix)
		}
		for {
			var page struct {
				Topics []Topic `json:"topics"`
				Next   string  `json:"next_page_token"`
			}
			r := request{method: http.MethodGet, path: []string{"v1", "topics"}, query: query}
			if _, err := c.callJSON(ctx, r, IsRetryable, nil, &page); err != nil {
				yield(Topic{}, err)
				return
			}
			for _, t := range page.Topics {
				if !yield(t, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == query.Get("page_token") {
				yield(Topic{}, errors.New("the list of topics does not go on: the same page token twice"))
				return
			}
			query.Set("page_token", page.Next)
		}
	}
}
