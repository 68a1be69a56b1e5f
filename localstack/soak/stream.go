package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// follow reads a stream of server-sent events, or of lines, until ctx ends or the
// stream does, and returns where it got to. Between two parts it waits as long as
// pause says, so that what it is sent may have to wait for it.
func (c *client) follow(ctx context.Context, q Question, events bool, pause func()) (next int64, o outcome) {
	accept, url := "application/x-ndjson", partitionURL(q)+"/records?follow=true&offset="+strconv.FormatInt(q.Offset, 10)
	if events {
		accept, url = "text/event-stream", partitionURL(q)+"/records?offset="+strconv.FormatInt(q.Offset, 10)
	}
	response, err := c.open(ctx, http.MethodGet, url, accept, nil)
	if err != nil {
		return q.Offset, nothing
	}
	defer response.Body.Close()
	in := bufio.NewReaderSize(response.Body, 64<<10)
	if response.StatusCode != http.StatusOK {
		text, err := in.ReadString('\n')
		if err != nil && text == "" {
			return q.Offset, nothing
		}
		return c.failed(q, reply{status: response.StatusCode, body: []byte(text)})
	}
	c.model.Count("streams")
	s := &follower{client: c, q: q, events: events}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return s.q.Offset, served
		}
		if o := s.take(strings.TrimSuffix(line, "\n")); o != served {
			return s.q.Offset, o
		}
		pause()
	}
}

// follower is where a stream has got to.
type follower struct {
	*client
	q      Question
	events bool
	event  string // of the event whose lines are being read
	id     int64
}

// take takes a line. It returns served as long as the stream goes on.
func (f *follower) take(line string) outcome {
	if !f.events {
		return f.line(line)
	}
	name, value, _ := strings.Cut(line, ": ")
	switch name {
	case "event":
		f.event = value
	case "id":
		id, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			f.model.Find("%s: stream of %s: %q", f.q.Node, f.q.Topic, line)
			return wrong
		}
		f.id = id
	case "data":
		return f.data(value)
	}
	return served
}

func (f *follower) data(text string) outcome {
	if f.event == "error" {
		return f.end(text)
	}
	var a Records
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		f.model.Find("%s: stream of %s: %v: %.200s", f.q.Node, f.q.Topic, err, text)
		return wrong
	}
	if f.id != a.Next {
		f.model.Find("%s: stream of %s: an event ends at %d, its id is %d", f.q.Node, f.q.Topic, a.Next, f.id)
		return wrong
	}
	if len(a.Records) == 0 { // a ping may be older than what others know
		return served
	}
	next, o := f.judge(f.q, a)
	f.q.Offset = next
	return o
}

// line takes a line of a stream of lines: a record, nothing, or the problem that
// ends it.
func (f *follower) line(text string) outcome {
	if text == "" {
		return served
	}
	var r struct {
		Fetched
		Code string `json:"code"`
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		f.model.Find("%s: stream of %s: %v: %.200s", f.q.Node, f.q.Topic, err, text)
		return wrong
	}
	if r.Code != "" {
		return f.end(text)
	}
	q := f.q
	q.Until = q.Offset + 1 // a line says nothing of the bounds
	next, o := f.judge(q, Records{Records: []Fetched{r.Fetched}, Next: q.Offset + 1})
	f.q.Offset = next
	return o
}

// end judges the problem that ends a stream.
func (f *follower) end(text string) outcome {
	var p struct {
		Status int `json:"status"`
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		f.model.Find("%s: stream of %s: %v: %.200s", f.q.Node, f.q.Topic, err, text)
		return wrong
	}
	f.model.Count(fmt.Sprintf("streams ended by %d", p.Status))
	next, o := f.failed(f.q, reply{status: p.Status, body: []byte(text)})
	f.q.Offset = next
	return o
}
