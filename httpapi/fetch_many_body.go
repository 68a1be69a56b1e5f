package httpapi

import (
	"math"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// parse reads
//
//	{"partitions":[{"topic":"t","partition":0,"offset":42,"max_bytes":65536}],
//	 "max_bytes":1048576,"min_bytes":1,"max_wait_ms":0}
//
// of which partitions is needed, and of its elements all but max_bytes.
func (m *manyFetch) parse() error {
	if err := parseQuery(m.r).done(); err != nil {
		return err
	}
	if _, err := acceptable(m.r, []string{mediaJSON}); err != nil {
		return err
	}
	if err := requireJSON(m.r); err != nil {
		return err
	}
	text, err := m.readBody(m.s.cfg.FetchBodyBytesMax, m.memory.hold)
	if err != nil {
		return err
	}
	m.useDefaults()
	c := newCursor(text)
	seen := false
	err = c.object(func(name string) error {
		if name == "partitions" {
			seen = true
			return m.parseParts(c)
		}
		return m.parseLimit(c, name)
	})
	if err == nil {
		err = c.end()
	}
	switch {
	case err != nil:
		return err
	case !seen:
		return kindInvalidJSON.newf("the body must have a member partitions")
	case len(m.parts) == 0:
		return kindInvalidJSON.newf("partitions is empty")
	}
	return m.checkLimits()
}

func (m *manyFetch) useDefaults() { m.maxBytes, m.minBytes = m.s.cfg.FetchBytes, 1 }

// parseLimit reads one of the members that hold for all partitions together.
func (m *manyFetch) parseLimit(c *cursor, name string) error {
	cfg := m.s.cfg
	switch name {
	case "max_bytes":
		return c.into(&m.maxBytes, 1, cfg.FetchBytesMax)
	case "min_bytes":
		return c.into(&m.minBytes, 0, cfg.FetchBytesMax)
	case "max_wait_ms":
		var ms int
		err := c.into(&ms, 0, int(cfg.FetchWaitMax.Milliseconds()))
		m.maxWait = time.Duration(ms) * time.Millisecond
		return err
	}
	return c.unknown(name)
}

func (m *manyFetch) checkLimits() error {
	m.maxBytes = min(m.maxBytes, int(m.s.cfg.FetchedBytesMax/answerShare))
	if m.minBytes > m.maxBytes {
		return kindInvalidJSON.newf("min_bytes must not be over max_bytes")
	}
	return nil
}

func (m *manyFetch) parseParts(c *cursor) error {
	named := map[namedPartition]bool{}
	limit := m.s.cfg.FetchPartitionsMax
	return c.array(func(i int) error {
		if i == limit {
			return kindInvalidJSON.newf("one request fetches at most %d partitions", limit).with("limit", int64(limit))
		}
		p, err := m.parsePart(c)
		if err != nil {
			return err
		}
		if named[p.namedPartition] {
			return c.wrong("names a partition that is named before")
		}
		named[p.namedPartition] = true
		m.parts = append(m.parts, p)
		return nil
	})
}

func (m *manyFetch) parsePart(c *cursor) (*partFetch, error) {
	p := &partFetch{}
	err := c.partition(&p.namedPartition, func(name string) error {
		switch name {
		case "offset":
			return p.parseOffset(c)
		case "max_bytes":
			return c.into(&p.maxBytes, 1, m.s.cfg.FetchBytesMax)
		}
		return c.unknown(name)
	}, "offset")
	return p, err
}

// namedPartition is a partition as requests and answers name it.
type namedPartition struct {
	name      string // of the topic
	partition int32
}

// partition reads an object that names a partition; member reads its other
// members, of which those in needed must be there.
func (c *cursor) partition(at *namedPartition, member func(name string) error, needed ...string) error {
	seen := map[string]bool{}
	err := c.object(func(name string) (err error) {
		seen[name] = true
		switch name {
		case "topic":
			if at.name, err = c.text(); err != nil {
				return err
			}
			return checkTopicName(at.name)
		case "partition":
			n, err := c.integer(0, math.MaxInt32)
			at.partition = int32(n)
			return err
		}
		return member(name)
	})
	if err != nil {
		return err
	}
	for _, name := range append([]string{"topic", "partition"}, needed...) {
		if !seen[name] {
			return c.wrong("must have a member " + name)
		}
	}
	return nil
}

func (p *partFetch) parseOffset(c *cursor) error {
	if c.dec.PeekKind() == '0' {
		n, err := c.integer(0, math.MaxInt64)
		p.fetchStart = fetchStart{offset: catalog.Offset(n)}
		return err
	}
	raw, err := c.value()
	if err != nil {
		return err
	}
	const what = "must be a number, earliest, latest or timestamp:MS"
	if raw.Kind() != '"' {
		return c.wrong(what)
	}
	text, err := c.unquote(nil, raw)
	if err != nil {
		return err
	}
	start, err := parseStart(string(text))
	switch {
	case err != nil:
		return c.wrong(err.Error())
	case start.start == startOffset: // a number in quotes
		return c.wrong(what)
	}
	p.fetchStart = start
	return nil
}

// into reads an integer from low to high.
func (c *cursor) into(n *int, low, high int) error {
	v, err := c.integer(int64(low), int64(high))
	if err == nil {
		*n = int(v)
	}
	return err
}
