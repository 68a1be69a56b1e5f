package soak

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
	"github.com/wadilog/wadi/verify"
)

// shard is that of the catalog.
const shard = "000"

// ReadAll reads every partition of every topic through every node from its start
// to its end, when nothing fails and nobody produces any more, and finds what is
// missing: a record that was acknowledged or promised and is neither there nor
// below the log start.
func (l *Load) ReadAll(ctx context.Context) {
	c := &client{http: l.HTTP, model: l.Model}
	for _, node := range l.Nodes {
		for i := range l.Topics {
			for number := range l.Partitions {
				l.readPartition(ctx, c, node, nameOf(i), number)
			}
		}
	}
	l.Model.checkComplete()
}

// Verify proves the log from the bucket alone, as `wadi verify` does. Nodes may run.
func (m *Model) Verify(ctx context.Context, bucket objstore.Bucket) error {
	v, err := verify.New(verify.DefaultConfig(), bucket, shard, slog.New(slog.DiscardHandler), func(f verify.Finding) {
		if f.Class == verify.Damage || f.Class == verify.Unread {
			m.Find("verify: %s", f)
		}
	})
	if err != nil {
		return err
	}
	summary, err := v.Run(ctx)
	if err != nil {
		return err
	}
	if !summary.Whole || !summary.Complete {
		m.Find("verify: %+v", summary)
	}
	return nil
}

func (l *Load) readPartition(ctx context.Context, c *client, node, name string, number int32) {
	at := int64(-1)
	for {
		if ctx.Err() != nil {
			l.Model.Find("%s: %s/%d cannot be read from %d on", node, name, number, at)
			return
		}
		if at < 0 {
			start, _, o := c.bounds(ctx, l.Model.Ask(node, name, number, 0))
			if o == notFound || o == wrong {
				return
			}
			if o == served {
				at = start
			}
			continue
		}
		next, o := c.fetch(ctx, l.Model.Ask(node, name, number, at), 1000, 0)
		switch {
		case o == below: // what is kept goes on growing less
			at = next
		case o == served && next > at:
			at = next
		case o == corrupt:
			l.Model.Find("%s: %s/%d is damaged at %d or after it", node, name, number, at)
			return
		case o == served || o == wrong || o == notFound:
			return
		default:
			sleep(ctx, 100*time.Millisecond)
		}
	}
}

// checkComplete finds what is missing after every partition was read.
func (m *Model) checkComplete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	promisedOf := map[*partition]int{}
	for _, r := range m.records {
		if r.fate != promised || r.offset != unknown {
			continue
		}
		// A node may have promised it to a topic that was deleted before.
		if may := m.topics[r.name]; len(may) == 1 {
			promisedOf[may[0].partitions[r.partition]]++
		}
	}
	for _, all := range m.topics {
		for _, t := range all {
			if !t.deleted.IsZero() {
				continue
			}
			for _, p := range t.partitions {
				m.checkPartition(p, promisedOf[p])
			}
		}
	}
}

func (m *Model) checkPartition(p *partition, promises int) {
	start, end := p.starts.last(), p.ends.last()
	unseen := 0
	for offset := range end {
		if p.records[offset] != nil {
			continue
		}
		if unseen++; offset >= start {
			m.find("%s/%d from %d to %d has nothing at %d", p.topic.name, p.number, start, end, offset)
			return
		}
	}
	// Of those that went before anybody read them, each may be one of these.
	if promises > unseen {
		m.find("%s/%d: %d records were promised and never seen, and only %d went unseen", p.topic.name, p.number, promises, unseen)
	}
}

// CheckRetained finds partitions that keep more than their settings say, once
// there was time enough to notice: all that is older than retention.ms and late
// must be gone, and of what retention.bytes does not keep no more than an extent
// of extentMax bytes is left.
func (m *Model) CheckRetained(late time.Duration, extentMax int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, all := range m.topics {
		for _, t := range all {
			last := t.settings[len(t.settings)-1]
			for _, s := range t.settings[:len(t.settings)-1] {
				if s.until.IsZero() { // nobody knows which are in force
					last = nil
				}
			}
			if !t.deleted.IsZero() || last == nil {
				continue
			}
			for _, p := range t.partitions {
				m.checkRetained(p, last.Settings, now.Add(-late), extentMax)
			}
		}
	}
}

func (m *Model) checkRetained(p *partition, s Settings, now time.Time, extentMax int64) {
	start, kept := p.starts.last(), int64(0)
	for offset := start; offset < p.ends.last(); offset++ {
		r := p.records[offset]
		if r == nil {
			continue // somebody says so already
		}
		kept += r.storedMin()
		if limit := time.Duration(s.RetentionMs) * time.Millisecond; s.RetentionMs >= 0 && now.Sub(r.called) > limit && r.fate == acked {
			m.find("%s/%d: %s at %d is kept for %s, and retention.ms is %s", p.topic.name, p.number, r, offset, now.Sub(r.called), limit)
			return
		}
	}
	if s.RetentionBytes >= 0 && kept > s.RetentionBytes+extentMax {
		m.find("%s/%d keeps more than %d bytes, and retention.bytes is %d", p.topic.name, p.number, kept, s.RetentionBytes)
	}
}

// Usage is what a bucket holds.
type Usage struct {
	Objects, Bytes               int64 // all
	LiveObjects, LiveBytes       int64
	GarbageObjects, GarbageBytes int64 // known to the catalog
	OrphanObjects, OrphanBytes   int64 // segments that the catalog does not know
	CatalogObjects, CatalogBytes int64 // journal and snapshots
	Missing                      []string
	Foreign                      []string // keys of no kind that is known
	Uploads                      []objstore.Upload
}

// Leaked is the share of the bytes that serves nobody.
func (u *Usage) Leaked() float64 {
	return float64(u.GarbageBytes+u.OrphanBytes) / float64(max(1, u.Bytes))
}

// String is for people.
func (u *Usage) String() string {
	return fmt.Sprintf("%d objects of %d bytes: %d live (%d bytes), %d garbage (%d bytes), %d orphans (%d bytes), %d of the catalog (%d bytes), %d uploads",
		u.Objects, u.Bytes, u.LiveObjects, u.LiveBytes, u.GarbageObjects, u.GarbageBytes, u.OrphanObjects, u.OrphanBytes, u.CatalogObjects, u.CatalogBytes, len(u.Uploads))
}

// Measure compares a bucket with a view of its catalog, which no edit must follow
// meanwhile. It finds live objects by the extents that readers go by.
func Measure(ctx context.Context, bucket objstore.Bucket, view *catalog.State) (*Usage, error) {
	live := liveObjects(view)
	u := &Usage{}
	for after, more := "", true; more; {
		page, err := bucket.List(ctx, "", after, objstore.ListPageMax)
		if err != nil {
			return nil, err
		}
		more = page.More
		for _, o := range page.Objects {
			after = o.Key
			u.add(o, view, live)
		}
	}
	for id := range live {
		u.Missing = append(u.Missing, segment.Key(id))
	}
	slices.Sort(u.Missing)
	var err error
	u.Uploads, err = bucket.ListUploads(ctx, "")
	return u, err
}

func liveObjects(view *catalog.State) map[catalog.ObjectID]bool {
	live := map[catalog.ObjectID]bool{}
	const page = 1000
	for after, more := "", true; more; {
		topics := view.Topics("", after, page)
		more = len(topics) == page
		for _, t := range topics {
			after = t.Name
			for number := range t.Partitions {
				p := view.Partition(catalog.TopicPartition{Topic: t.ID, Partition: number})
				for at := p.LogStart(); at < p.End(); {
					extents := p.Extents(at, page)
					if len(extents) == 0 {
						break // who reads there finds it
					}
					for _, e := range extents {
						live[e.Object] = true
						at = e.End()
					}
				}
			}
		}
	}
	return live
}

const catalogPrefix = "catalog/"

// add counts an object; what is left of live afterwards is missing.
func (u *Usage) add(o objstore.ObjectInfo, view *catalog.State, live map[catalog.ObjectID]bool) {
	u.Objects++
	u.Bytes += o.Size
	if len(o.Key) > len(catalogPrefix) && o.Key[:len(catalogPrefix)] == catalogPrefix {
		u.CatalogObjects++
		u.CatalogBytes += o.Size
		return
	}
	id, err := segment.ParseKey(o.Key)
	switch {
	case err != nil:
		u.Foreign = append(u.Foreign, o.Key)
	case live[id]:
		delete(live, id)
		u.LiveObjects++
		u.LiveBytes += o.Size
	case view.Known(id):
		u.GarbageObjects++
		u.GarbageBytes += o.Size
	default:
		u.OrphanObjects++
		u.OrphanBytes += o.Size
	}
}
