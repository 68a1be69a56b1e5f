package httpapi

import (
	"context"
	"net/http"

	"github.com/wadilog/wadi/catalog"
)

// getFence serves a partition's fencing token.
func (s *Server) getFence(x *exchange) error {
	name, partition, err := x.partitionPath()
	if err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	t, err := s.confirmedPartition(ctx, name, partition)
	if err != nil {
		return err
	}
	// The view was confirmed after the request came, or is newer yet.
	x.answerFence(s.topics.View().Fence(catalog.TopicPartition{Topic: t.ID, Partition: partition}))
	return nil
}

// setFence serves PUT of a partition's fencing token.
func (s *Server) setFence(x *exchange) error {
	name, partition, err := x.partitionPath()
	if err != nil {
		return err
	}
	if err := requireJSON(x.r); err != nil {
		return err
	}
	text, err := x.readSmallBody()
	if err != nil {
		return err
	}
	edit, err := decodeFence(text)
	if err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	t, err := s.confirmedPartition(ctx, name, partition)
	if err != nil {
		return err
	}
	edit.Partition = catalog.TopicPartition{Topic: t.ID, Partition: partition}
	result, err := s.topics.Propose(ctx, edit)
	if err != nil {
		return err
	}
	if result.Err != nil {
		return result.Err
	}
	x.answerFence(edit.Token)
	return nil
}

// decodeFence reads {"token":…,"expected":…}; null is no token, and an expected
// that is not there is no condition.
func decodeFence(text []byte) (edit catalog.SetFence, err error) {
	c := newCursor(text)
	given := false
	err = c.object(func(name string) (err error) {
		switch name {
		case "token":
			given = true
			edit.Token, err = c.token()
		case "expected":
			edit.Conditional = true
			edit.Expected, err = c.token()
		default:
			return c.unknown(name)
		}
		return err
	})
	if err == nil {
		err = c.end()
	}
	if err == nil && !given {
		err = kindInvalidJSON.newf("token is needed; null takes it away")
	}
	return edit, err
}

// token reads a fencing token, "" for null.
func (c *cursor) token() (string, error) {
	raw, err := c.value()
	if err != nil || raw.Kind() == 'n' {
		return "", err
	}
	text, err := c.unquote(nil, raw)
	if err != nil {
		return "", err
	}
	if !catalog.ValidToken(string(text)) {
		return "", c.wrong(tokenRule)
	}
	return string(text), nil
}

var tokenRule = "must be 1 to " + itoa(catalog.TokenLenMax) + " printable ASCII characters without spaces"

func (x *exchange) answerFence(token string) {
	text := append([]byte(`{"token":`), appendToken(nil, token)...)
	x.answer(http.StatusOK, append(text, "}\n"...))
}

// appendToken appends a fencing token as JSON, null for none.
func appendToken(dst []byte, token string) []byte {
	if token == "" {
		return append(dst, "null"...)
	}
	return appendJSONString(dst, token)
}

// partitionPath reads the path of a partition's resource that has no parameters.
func (x *exchange) partitionPath() (name string, partition int32, err error) {
	if name, err = x.topicParam(); err != nil {
		return "", 0, err
	}
	if partition, err = x.partitionParam(); err != nil {
		return "", 0, err
	}
	return name, partition, parseQuery(x.r).done()
}

// confirmedPartition finds the topic that has the name now, with the partition.
func (s *Server) confirmedPartition(ctx context.Context, name string, partition int32) (*catalog.Topic, error) {
	t, err := s.confirmedTopic(ctx, name)
	if err == nil {
		err = checkPartition(t, partition)
	}
	return t, err
}
