package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// pollAnswer is an answer to a poll.
type pollAnswer struct {
	Epoch      int64           `json:"epoch"`
	Partitions []pollPartition `json:"partitions"`
}

type pollPartition struct {
	Topic      string          `json:"topic"`
	Partition  int32           `json:"partition"`
	Records    []jsonRecord    `json:"records"`
	NextOffset int64           `json:"next_offset"`
	Problem    json.RawMessage `json:"problem"`
}

func (p *pollPartition) place() place { return place{p.Topic, p.Partition} }

// first is where the records begin.
func (p *pollPartition) first() int64 { return p.NextOffset - int64(len(p.Records)) }

// check holds an answer to what was asked: records follow one another and lead to
// next_offset.
func (a *pollAnswer) check(epoch int64, positions map[place]int64) error {
	if a.Epoch != epoch {
		return fmt.Errorf("answer of epoch %d instead of %d", a.Epoch, epoch)
	}
	for i := range a.Partitions {
		p := &a.Partitions[i]
		if p.Problem != nil {
			continue
		}
		for n := range p.Records {
			if want := p.first() + int64(n); p.Records[n].Offset != want {
				return fmt.Errorf("topic %s partition %d: offset %d where %d should be", p.Topic, p.Partition, p.Records[n].Offset, want)
			}
		}
		if asked, ok := positions[p.place()]; ok && asked != p.first() {
			return fmt.Errorf("topic %s partition %d: the answer begins at offset %d instead of %d", p.Topic, p.Partition, p.first(), asked)
		}
	}
	return nil
}

// problem returns why the partition could not be read.
func (p *pollPartition) problem() error {
	var status struct {
		Status int `json:"status"`
	}
	if err := json.Unmarshal(p.Problem, &status); err != nil {
		return err
	}
	e := newError(status.Status)
	e.read(p.Problem)
	return e
}

// jsonRecord is a record in the form of the HTTP API's JSON.
type jsonRecord struct {
	Offset      int64           `json:"offset"`
	Timestamp   int64           `json:"timestamp"`
	Key         *string         `json:"key"`
	KeyBase64   []byte          `json:"key_base64"`
	Value       *string         `json:"value"`
	ValueBase64 []byte          `json:"value_base64"`
	Headers     [][2]headerText `json:"headers"`
}

func (r *jsonRecord) record(p place) Record {
	record := Record{
		Topic: p.topic, Partition: p.partition, Offset: r.Offset, Timestamp: time.UnixMilli(r.Timestamp),
		Key: textOrBytes(r.Key, r.KeyBase64), Value: textOrBytes(r.Value, r.ValueBase64),
	}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, Header{Key: string(h[0]), Value: h[1]})
	}
	return record
}

func textOrBytes(text *string, bytes []byte) []byte {
	if text != nil {
		return []byte(*text)
	}
	return bytes
}

// headerText is the name or value of a header: a text, null, or {"base64":…}.
type headerText []byte

// UnmarshalJSON implements json.Unmarshaler.
func (h *headerText) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		*h = nil
		return nil
	}
	if text[0] == '"' {
		var s string
		err := json.Unmarshal(text, &s)
		*h = headerText(s)
		return err
	}
	var b struct {
		Base64 *[]byte `json:"base64"`
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	if b.Base64 == nil {
		return errors.New("a header is neither a text nor null nor base64")
	}
	*h = headerText(*b.Base64)
	return nil
}

// rebalanced is what a 409 says of a member.
type rebalanced struct {
	epoch     int64
	assigned  placeSet
	committed bool
}

func parseRebalanced(err error) (r rebalanced, ok bool) {
	var answer *Error
	if !errors.As(err, &answer) || answer.Code != ErrRebalanceInProgress {
		return r, false
	}
	var assignment []TopicPartitions
	if json.Unmarshal(answer.Members["epoch"], &r.epoch) != nil || json.Unmarshal(answer.Members["assignment"], &assignment) != nil {
		return r, false
	}
	_ = json.Unmarshal(answer.Members["committed"], &r.committed) // not there: no
	r.assigned = placesOf(assignment)
	return r, true
}
