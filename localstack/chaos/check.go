package chaos

// PartitionLog is a partition as it was read at the end: the record at index i has
// offset Start+i.
type PartitionLog struct {
	Start   int64
	Records []RecordID
}

// place is where a record is; partition -1 is nowhere.
type place struct {
	partition int32
	offset    int64
}

// Check compares a history with the log that nodes serve after it:
//
//   - every acknowledged record is there, at the offset that was told (P1, P5);
//   - nothing is there that was not sent or that was refused, and nothing twice (P2);
//   - each request is there as a whole or not at all, its records of a partition
//     side by side (P4);
//   - the records of each producer stand in each partition in the order in which
//     it sent them: all of an idempotent one; those acknowledged with acks=all;
//     those acknowledged with acks=1 by one running node (P4);
//   - the log start is one that a trim asked for, and not below one that was
//     acknowledged (P7).
//
// Of a trimmed partition, what is below the log start is not looked for.
// Requests whose offsets nobody knows must not go to one.
func Check(h *History, logs []PartitionLog, found *Findings) {
	c := checker{history: h, logs: logs, found: found, newest: map[lane]RecordID{}}
	c.index()
	for _, r := range h.Requests {
		c.request(r)
	}
	c.trims()
}

// lane is what keeps its order: a producer on a partition, and with acks=1 on a
// running node.
type lane struct {
	producer  uint32
	partition int32
	node      string
}

type checker struct {
	history *History
	logs    []PartitionLog
	found   *Findings
	places  [][]place         // by producer and sequence
	newest  map[lane]RecordID // last record that was seen of each
}

// index notes where each record is.
func (c *checker) index() {
	for _, n := range c.history.sent() {
		places := make([]place, n)
		for i := range places {
			places[i].partition = -1
		}
		c.places = append(c.places, places)
	}
	for p, log := range c.logs {
		for i, id := range log.Records {
			at := place{int32(p), log.Start + int64(i)}
			if int(id.Producer) >= len(c.places) || int(id.Seq) >= len(c.places[id.Producer]) {
				c.found.Add(phantom, "record %v at %d/%d was never sent", id, at.partition, at.offset)
				continue
			}
			known := &c.places[id.Producer][id.Seq]
			if known.partition >= 0 {
				c.found.Add(phantom, "record %v is there twice: at %d/%d and %d/%d", id, known.partition, known.offset, at.partition, at.offset)
				continue
			}
			*known = at
		}
	}
}

func (c *checker) request(r *Request) {
	there, total := 0, 0 // of the records that the log can show
	for i, part := range r.Parts {
		base := int64(-1)
		if r.Outcome == Acked && r.Bases != nil {
			base = r.Bases[i]
		}
		n, visible := c.part(r, part, base)
		there, total = there+n, total+visible
	}
	first := RecordID{r.Producer, uint32(r.Parts[0].Seq)}
	kind := c.history.Producers[r.Producer]
	switch {
	case r.Outcome == Acked && there < total:
		c.found.Add(lost, "request %d (%s, from record %v) was acknowledged, and %d of its %d records are there", r.Number, kind, first, there, total)
	case r.Outcome == NoEffect && there > 0:
		c.found.Add(phantom, "request %d (%s, from record %v) was refused, and %d of its %d records are there", r.Number, kind, first, there, total)
	case there != 0 && there != total:
		c.found.Add(atomicity, "request %d (%s, from record %v) is torn: %d of its %d records are there", r.Number, kind, first, there, total)
	}
	if kind == Idempotent && r.Outcome != Acked {
		c.found.Add(live, "request %d of idempotent producer %d was never acknowledged", r.Number, r.Producer)
	}
}

// part judges the records of one partition. It tells how many are there, and how
// many could be: those that are known to be trimmed away could not.
func (c *checker) part(r *Request, part Part, base int64) (there, total int) {
	kind := c.history.Producers[r.Producer]
	start := c.logs[part.Partition].Start
	order := lane{producer: r.Producer, partition: part.Partition}
	if kind == PlainOne {
		order.node = r.Node
	}
	ordered := kind == Idempotent || r.Outcome == Acked && (kind == PlainAll || r.Node != "")
	first := int64(-1) // offset that the part's first record has or should have
	for i := range part.Count {
		if base >= 0 && base+int64(i) < start {
			continue
		}
		total++
		id := RecordID{r.Producer, uint32(part.Seq) + uint32(i)}
		at := c.places[id.Producer][id.Seq]
		if at.partition < 0 {
			continue
		}
		there++
		if at.partition != part.Partition {
			c.found.Add(visible, "record %v is in partition %d, not %d", id, at.partition, part.Partition)
			continue
		}
		if want := base + int64(i); base >= 0 && at.offset != want {
			c.found.Add(visible, "record %v has offset %d/%d, and %d was told", id, at.partition, at.offset, want)
		}
		if first < 0 {
			first = at.offset - int64(i)
		}
		if at.offset != first+int64(i) {
			c.found.Add(atomicity, "record %v has offset %d/%d, not side by side with those of its request from %d", id, at.partition, at.offset, first)
		}
		if !ordered {
			continue // it may have landed after a later one
		}
		if before, ok := c.newest[order]; ok {
			if earlier := c.places[before.Producer][before.Seq]; earlier.offset > at.offset {
				c.found.Add(atomicity, "record %v has offset %d/%d, behind the later record %v at %d", id, at.partition, at.offset, before, earlier.offset)
			}
		}
		c.newest[order] = id
	}
	return there, total
}

func (c *checker) trims() {
	acknowledged := map[int32]int64{}
	for _, t := range c.history.Trims {
		acknowledged[t.Partition] = max(acknowledged[t.Partition], t.Start)
	}
	for p, log := range c.logs {
		asked, told := c.history.TrimAsked[int32(p)], acknowledged[int32(p)]
		switch {
		case log.Start < told:
			c.found.Add(trimmed, "partition %d starts at %d, and a trim to %d was acknowledged", p, log.Start, told)
		case log.Start > asked:
			c.found.Add(lost, "partition %d starts at %d, and no trim asked for more than %d", p, log.Start, asked)
		}
	}
}
