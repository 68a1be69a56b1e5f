package linear

// log is the state of a partition: what was appended, newest first. It is never
// changed; an append makes a new one that shares what was before. nil is an
// empty log.
type log struct {
	before *log
	base   int64
	batch  Request
	chain  uint64 // hash of all batches up to this one
}

func (l *log) end() int64 {
	if l == nil {
		return 0
	}
	return l.base + int64(len(l.batch.Records))
}

func (l *log) hash() uint64 {
	if l == nil {
		return 0
	}
	return l.chain
}

// append returns the log with a request's records at its end.
func (l *log) append(r Request) *log {
	const prime = 1099511628211 // of FNV-1a
	chain := l.hash()
	mix := func(v uint64) {
		for range 8 {
			chain = (chain ^ v&0xff) * prime
			v >>= 8
		}
	}
	for _, d := range r.Records {
		mix(uint64(d))
	}
	// Where a batch begins and whose it is decides what later repeats get.
	mix(uint64(l.end()))
	mix(uint64(r.Producer))
	mix(uint64(r.Sequence))
	return &log{before: l, base: l.end(), batch: r, chain: chain}
}

// holds tells whether records are what stands at offset.
func (l *log) holds(offset int64, records []Digest) bool {
	if offset < 0 || offset+int64(len(records)) > l.end() {
		return false
	}
	for ; l != nil && l.end() > offset; l = l.before {
		for i, d := range l.batch.Records {
			at := l.base + int64(i) - offset
			if at >= 0 && at < int64(len(records)) && records[at] != d {
				return false
			}
		}
	}
	return true
}

// remembered is how many batches of a producer are recognised when they come
// again.
const remembered = 5

// judge tells what becomes of an idempotent append: it is a duplicate of one at
// base, or it is due, or else the sequence that is due.
func (l *log) judge(r Request) (base int64, duplicate bool, due int64) {
	seen := 0
	for ; l != nil && seen < remembered; l = l.before {
		if l.batch.Producer != r.Producer {
			continue
		}
		if seen++; seen == 1 {
			due = l.batch.Sequence + int64(len(l.batch.Records))
		}
		if l.batch.Sequence == r.Sequence && len(l.batch.Records) == len(r.Records) {
			return l.base, true, due
		}
	}
	return 0, false, due
}
