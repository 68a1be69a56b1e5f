package reader

import "context"

// window is the sources that one fetch wants, in order, and the loads that it
// began for them.
type window struct {
	*loader
	sources []source
	flights []*flight // by source; nil where another's load, or the cache, serves
	begun   int       // sources that were looked at
	used    int       // sources before this one are not held any more
	held    int       // loads that are in flights
}

// lookAhead is how many sources for each load that may be under way are looked at
// before they are needed: what is in the cache now may have left it by then.
const lookAhead = 4

// wait returns the block of source i, and begins the loads of those after it.
func (w *window) wait(ctx context.Context, i int) (block, error) {
	// Sources that repeat the one before were passed over. They are done with,
	// and what would be begun for them now would never be let go of.
	w.begun = max(w.begun, i)
	for w.begun < min(i+lookAhead*w.cfg.LoadsPerFetch, len(w.sources)) && w.held < w.cfg.LoadsPerFetch {
		if w.cache.has(w.sources[w.begun].key) {
			w.begun++
			continue
		}
		w.begin(w.begun)
	}
	f := w.flights[i]
	if f == nil {
		if b, ok := w.cache.get(w.sources[i].key); ok {
			w.metrics.hits.Inc()
			return b, nil
		}
		// Another fetch's load, or the cache has lost it again. A load that
		// begins now waits for its share behind those begun before it, and
		// must not wait for what is held here.
		w.letGo()
		var began int
		if f, began = w.loader.begin(w.sources[i].lane, w.sources[i:i+1]); began > 0 {
			w.flights[i] = f
			w.held++
			w.used = min(w.used, i)
		}
	}
	w.metrics.misses.Inc()
	select {
	case <-f.done:
		return f.result(w.sources[i].key)
	case <-ctx.Done():
		return block{}, ctx.Err()
	}
}

// begin begins the load of source i, and with the same request of the blocks that
// follow it, if nobody has.
func (w *window) begin(i int) {
	group := []source{w.sources[i]}
	size := group[0].key.len
	end := i + 1
	for ; end < len(w.sources); end++ {
		s, last := &w.sources[end], &group[len(group)-1]
		if s.key == last.key {
			continue
		}
		if !s.continues(last) || size+s.key.len > w.cfg.RangeBytesMax || w.cache.has(s.key) {
			break
		}
		group = append(group, *s)
		size += s.key.len
	}
	f, began := w.loader.begin(group[0].lane, group)
	w.begun = i + 1
	if began == 0 {
		return
	}
	w.held++
	last := group[began-1].key
	w.flights[i] = f
	for w.begun < end && (w.sources[w.begun].key == last || w.sources[w.begun-1].key != last) {
		w.flights[w.begun] = f
		w.begun++
	}
}

// letGoBefore lets go of what is held for the sources before i alone.
func (w *window) letGoBefore(i int) {
	for ; w.used < i; w.used++ {
		f := w.flights[w.used]
		w.flights[w.used] = nil
		if f != nil && (w.used+1 == len(w.sources) || w.flights[w.used+1] != f) {
			w.release(f)
			w.held--
		}
	}
}

func (w *window) letGo() { w.letGoBefore(w.begun) }
