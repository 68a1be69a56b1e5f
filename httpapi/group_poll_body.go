package httpapi

import (
	"math"

	"github.com/wadilog/wadi/catalog"
)

// parse reads
//
//	{"epoch":7,"commit":[{"topic":"t","partition":0,"offset":42,"metadata":"m"}],
//	 "positions":[{"topic":"t","partition":0,"offset":42}],"start":"earliest",
//	 "max_bytes":1048576,"min_bytes":1,"max_wait_ms":0}
//
// of which epoch is needed.
func (p *groupPoll) parse() error {
	var err error
	if p.membership, err = p.memberPath(); err != nil {
		return err
	}
	if err := parseQuery(p.r).done(); err != nil {
		return err
	}
	if _, err := acceptable(p.r, []string{mediaJSON}); err != nil {
		return err
	}
	if err := requireJSON(p.r); err != nil {
		return err
	}
	text, err := p.readBody(p.s.cfg.PollBodyBytesMax, p.memory.hold)
	if err != nil {
		return err
	}
	p.useDefaults()
	c := newCursor(text)
	err = c.object(func(name string) (err error) {
		switch name {
		case "epoch":
			p.epoch, err = c.epoch()
		case "commit":
			p.commits, err = c.offsets(offsetsToCommit)
		case "positions":
			p.positions, err = c.offsets(offsetsToReadFrom(p.s.cfg.PollPartitionsMax))
		case "start":
			p.latest, err = c.start()
		default:
			return p.parseLimit(c, name)
		}
		return err
	})
	if err == nil {
		err = c.end()
	}
	switch {
	case err != nil:
		return err
	case p.epoch == 0:
		return kindInvalidJSON.newf("epoch is needed")
	}
	return p.checkLimits()
}

// start reads where to begin without an offset.
func (c *cursor) start() (latest bool, err error) {
	text, err := c.text()
	if err == nil && text != "earliest" && text != "latest" {
		err = c.wrong("must be earliest or latest")
	}
	return text == "latest", err
}

// namedOffset is an offset of a partition that a request names.
type namedOffset struct {
	namedPartition
	offset   catalog.Offset
	metadata string

	at catalog.TopicPartition // once it is resolved
}

// offsetRules are what a list of offsets may hold.
type offsetRules struct {
	most     int
	metadata bool // may be there
	forget   bool // null may stand for an offset
}

var (
	offsetsToCommit = offsetRules{most: catalog.CommitOffsetsMax, metadata: true}
	offsetsToSet    = offsetRules{most: catalog.CommitOffsetsMax, metadata: true, forget: true}
)

func offsetsToReadFrom(partitions int) offsetRules { return offsetRules{most: partitions} }

// offsets reads a list of offsets, each of another partition.
func (c *cursor) offsets(rules offsetRules) ([]namedOffset, error) {
	var all []namedOffset
	metadata := 0
	named := map[namedPartition]bool{}
	err := c.array(func(i int) error {
		if i == rules.most {
			return kindInvalidJSON.newf("one request holds at most %d offsets", rules.most).with("limit", int64(rules.most))
		}
		var o namedOffset
		err := c.partition(&o.namedPartition, func(name string) (err error) {
			switch {
			case name == "offset":
				o.offset, err = c.offset(rules.forget)
			case name == "metadata" && rules.metadata:
				o.metadata, err = c.metadata()
			default:
				return c.unknown(name)
			}
			return err
		}, "offset")
		if err != nil {
			return err
		}
		if named[o.namedPartition] {
			return c.wrong("names a partition that is named before")
		}
		if metadata += len(o.metadata); metadata > catalog.CommitMetadataBytesMax {
			return kindInvalidJSON.newf("one request holds at most %d bytes of metadata", catalog.CommitMetadataBytesMax).
				with("limit", int64(catalog.CommitMetadataBytesMax))
		}
		named[o.namedPartition] = true
		all = append(all, o)
		return nil
	})
	return all, err
}

// offset reads an offset, or catalog.NoOffset for null where that may be.
func (c *cursor) offset(orNull bool) (catalog.Offset, error) {
	if orNull && c.dec.PeekKind() == 'n' {
		_, err := c.value()
		return catalog.NoOffset, err
	}
	n, err := c.integer(0, math.MaxInt64)
	return catalog.Offset(n), err
}

func (c *cursor) metadata() (string, error) {
	text, err := c.text()
	if err == nil && len(text) > catalog.OffsetMetadataLenMax {
		err = c.wrong("must be at most " + itoa(catalog.OffsetMetadataLenMax) + " bytes")
	}
	return text, err
}
