package client

import (
	"context"
	"net/http"
)

// FencingToken returns the fencing token of a partition, "" if it has none.
func (c *Client) FencingToken(ctx context.Context, topic string, partition int32) (string, error) {
	return c.fence(ctx, topic, partition, http.MethodGet, IsRetryable, nil)
}

// SetFencingToken sets the fencing token of a partition, whatever it has; "" takes
// it away. From then on nothing lands that was sent with another token. Where it is
// unknown whether it did, it is not repeated: that could take the partition
// back from somebody else. ReplaceFencingToken can be.
func (c *Client) SetFencingToken(ctx context.Context, topic string, partition int32, token string) error {
	_, err := c.fence(ctx, topic, partition, http.MethodPut, retryableWithoutEffect, map[string]any{"token": orNull(token)})
	return err
}

// ReplaceFencingToken sets the fencing token of a partition that has the token
// expected, or has this one already; "" is none. If it has another, the error
// is ErrFencingTokenMismatch with that token.
func (c *Client) ReplaceFencingToken(ctx context.Context, topic string, partition int32, expected, token string) error {
	_, err := c.fence(ctx, topic, partition, http.MethodPut, IsRetryable,
		map[string]any{"token": orNull(token), "expected": orNull(expected)})
	return err
}

func orNull(token string) any {
	if token == "" {
		return nil
	}
	return token
}

func (c *Client) fence(ctx context.Context, topic string, partition int32, method string, again func(error) bool, in any) (string, error) {
	if err := checkTopic(topic); err != nil {
		return "", err
	}
	var answer struct {
		Token *string `json:"token"`
	}
	r := request{method: method, path: partitionPath(topic, partition, "fence"), key: partitionKey(topic, partition)}
	if _, err := c.callJSON(ctx, r, again, in, &answer); err != nil || answer.Token == nil {
		return "", err
	}
	return *answer.Token, nil
}
