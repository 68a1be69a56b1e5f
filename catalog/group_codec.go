package catalog

// appendJoin encodes a JoinGroup.
func appendJoin(dst []byte, e *JoinGroup) []byte {
	dst = appendString(dst, e.Group)
	dst = appendString(dst, e.Member)
	dst = appendString(dst, e.ClientID)
	dst = appendUvarint(dst, uint64(len(e.Topics)))
	for _, topic := range e.Topics {
		dst = appendString(dst, topic)
	}
	dst = append(dst, byte(e.Strategy))
	return appendUvarint(dst, uint64(uint32(e.SessionTimeoutMs)))
}

func (r *wireReader) join() JoinGroup {
	e := JoinGroup{Group: r.string(), Member: r.string(), ClientID: r.string()}
	n := r.count(1)
	if n > 0 {
		e.Topics = make([]string, 0, min(n, editsPrealloc))
	}
	for range n {
		if r.err != nil {
			break
		}
		e.Topics = append(e.Topics, r.string())
	}
	e.Strategy = Strategy(r.byte())
	e.SessionTimeoutMs = int32(r.number())
	return e
}

// appendMember encodes whom an edit concerns, and under which epoch.
func appendMember(dst []byte, group, member string, epoch int64) []byte {
	dst = appendString(dst, group)
	dst = appendString(dst, member)
	return appendUvarint(dst, uint64(epoch))
}

func (r *wireReader) member() (group, member string, epoch int64) {
	return r.string(), r.string(), int64(r.uvarint())
}

// appendOffsets encodes offsets to commit in runs of one topic each.
func appendOffsets(dst []byte, offsets []GroupOffset) []byte {
	dst = appendUvarint(dst, uint64(topicRuns(offsets)))
	for len(offsets) > 0 {
		n := topicRun(offsets)
		dst = append(dst, offsets[0].Partition.Topic[:]...)
		dst = appendUvarint(dst, uint64(n))
		for i := range offsets[:n] {
			o := &offsets[i]
			dst = appendUvarint(dst, uint64(uint32(o.Partition.Partition)))
			dst = appendVarint(dst, int64(o.Offset))
			dst = appendString(dst, o.Metadata)
		}
		offsets = offsets[n:]
	}
	return dst
}

// topicRun is how many of the first offsets are of one topic.
func topicRun(offsets []GroupOffset) int {
	n := 1
	for n < len(offsets) && offsets[n].Partition.Topic == offsets[0].Partition.Topic {
		n++
	}
	return n
}

func topicRuns(offsets []GroupOffset) (runs int) {
	for len(offsets) > 0 {
		offsets = offsets[topicRun(offsets):]
		runs++
	}
	return runs
}

// The shortest encodings, in bytes, of a run of offsets and of one of them.
const (
	groupOffsetLenMin = 3
	topicRunLenMin    = 16 + 1 + groupOffsetLenMin
)

func (r *wireReader) offsets() []GroupOffset {
	var offsets []GroupOffset
	for range r.count(topicRunLenMin) {
		topic := TopicID(r.id())
		n := r.count(groupOffsetLenMin)
		// One spelling: no run is empty or goes on with the topic of the one before.
		r.require(n > 0 && (len(offsets) == 0 || offsets[len(offsets)-1].Partition.Topic != topic))
		for range n {
			if r.err != nil {
				return nil
			}
			offsets = append(offsets, GroupOffset{
				Partition: TopicPartition{Topic: topic, Partition: int32(r.number())},
				Offset:    Offset(r.varint()),
				Metadata:  r.string(),
			})
		}
	}
	return offsets
}

// appendPartition encodes a partition in a list that is in order: the step from
// the number of the one before, or 0 and the whole of it if that is of another
// topic. before is the zero TopicPartition at the beginning.
func appendPartition(dst []byte, tp, before TopicPartition) []byte {
	if tp.Topic == before.Topic {
		return appendUvarint(dst, uint64(tp.Partition-before.Partition))
	}
	dst = append(dst, 0)
	dst = append(dst, tp.Topic[:]...)
	return appendUvarint(dst, uint64(tp.Partition))
}

// partition reads what appendPartition encodes.
func (r *wireReader) partition(before TopicPartition) TopicPartition {
	step := r.number()
	if step != 0 {
		tp := TopicPartition{Topic: before.Topic, Partition: before.Partition + int32(step)}
		r.require(before.Topic != TopicID{} && tp.Partition > before.Partition)
		return tp
	}
	tp := TopicPartition{Topic: r.id(), Partition: int32(r.number())}
	r.require(tp.Partition >= 0 && tp.Topic != before.Topic && before.compare(tp) < 0)
	return tp
}
