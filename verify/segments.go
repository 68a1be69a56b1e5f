package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/segment"
)

// shards is into how many folders the keys of segments are spread.
const shards = 256

// errTooManyUnread ends a run against a store that does not answer.
var errTooManyUnread = errors.New("too many objects could not be read")

// segmentsPass checks the segments in some of the shards.
type segmentsPass struct {
	v       *Verifier
	h       history
	topics  map[string]bool
	first   int // shard
	end     int // shard after the last
	view    *catalog.State
	refs    references
	listed  map[catalog.ObjectID]objstore.ObjectInfo // those that are there
	unknown []objstore.ObjectInfo                    // to the view

	mu     sync.Mutex
	absent []absentObject // guarded by mu
}

// absentObject is one that was live in the view and is not there.
type absentObject struct {
	object catalog.NewObject
	refs   []reference
}

// checkSegments lists all segments and checks those that hold records.
func (v *Verifier) checkSegments(ctx context.Context, h history) error {
	if h.replay == nil {
		return v.checkUnclaimed(ctx)
	}
	view := h.replay.State()
	v.countCatalog(view)
	topics := map[string]bool{}
	for _, name := range v.cfg.Topics {
		if _, ok := view.TopicByName(name); !ok {
			return fmt.Errorf("topic %q: %w", name, catalog.ErrTopicNotFound)
		}
		topics[name] = true
	}
	passes := 1
	for passes < shards && view.Counts().Extents/int64(passes) > referencesMax {
		passes *= 2
	}
	for n := range passes {
		if n > 0 && h.whole { // what came meanwhile
			if err := v.follow(ctx, &h); err != nil {
				return err
			}
		}
		p := segmentsPass{v: v, h: h, topics: topics, first: n * shards / passes, end: (n + 1) * shards / passes}
		if err := p.run(ctx); err != nil {
			return err
		}
		h = p.h
	}
	return nil
}

// countCatalog notes how much there is to check.
func (v *Verifier) countCatalog(view *catalog.State) {
	counts := view.Counts()
	var records, bytes, garbageBytes int64
	for _, p := range view.AllPartitions() {
		records += int64(p.End() - p.LogStart())
	}
	for o := range view.AllObjects() {
		bytes += o.Size
	}
	for g := range view.AllGarbage() {
		garbageBytes += g.Size
	}
	v.bytesTotal.Store(bytes)
	v.count(func(s *Summary) {
		s.Topics, s.Partitions, s.Extents, s.Records = int64(counts.Topics), int64(counts.Partitions), counts.Extents, records
		s.Garbage, s.GarbageBytes = int64(counts.Garbage), garbageBytes
	})
}

// inShards tells whether an object is one of this pass.
func (p *segmentsPass) inShards(id catalog.ObjectID) bool {
	shard := int(id[len(id)-1])
	return shard >= p.first && shard < p.end
}

func (p *segmentsPass) run(ctx context.Context) error {
	p.view = p.h.replay.State()
	p.refs = collect(p.view, p.topics, p.inShards)
	if err := p.list(ctx); err != nil {
		return err
	}
	if err := p.checkLive(ctx); err != nil {
		return err
	}
	if err := p.checkGarbage(ctx); err != nil {
		return err
	}
	if len(p.unknown) > 0 || len(p.absent) > 0 {
		return p.settle(ctx)
	}
	return nil
}

// list lists the segments of the shards.
func (p *segmentsPass) list(ctx context.Context) error {
	p.listed = map[catalog.ObjectID]objstore.ObjectInfo{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.v.cfg.Concurrency)
	for shard := p.first; shard < p.end; shard++ {
		group.Go(func() error {
			return p.v.listShard(ctx, shard, func(o objstore.ObjectInfo, id catalog.ObjectID) {
				mu.Lock()
				defer mu.Unlock()
				if p.view.Known(id) {
					p.listed[id] = o
				} else {
					p.unknown = append(p.unknown, o)
				}
			})
		})
	}
	return group.Wait()
}

// listShard lists the segments of one shard, and reports keys that are not of one.
func (v *Verifier) listShard(ctx context.Context, shard int, each func(objstore.ObjectInfo, catalog.ObjectID)) error {
	prefix := fmt.Sprintf("%s%02x/", segment.KeyPrefix, shard)
	for after, more := "", true; more; {
		page, err := v.store.List(ctx, prefix, after)
		if err != nil {
			return err
		}
		more = page.More
		for _, o := range page.Objects {
			after = o.Key
			if id, err := segment.ParseKey(o.Key); err == nil {
				each(o, id)
			} else {
				v.found(Finding{Class: Foreign, Key: o.Key, Size: o.Size, AgeMs: ageOf(o)})
			}
		}
	}
	return nil
}

// checkLive checks the objects that the view knows: those that hold records
// must be there and whole.
func (p *segmentsPass) checkLive(ctx context.Context) error {
	return p.checkObjects(ctx, p.inShards)
}

func (p *segmentsPass) checkObjects(ctx context.Context, wanted func(catalog.ObjectID) bool) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.v.cfg.Concurrency)
	for o := range p.view.AllObjects() {
		if !wanted(o.ID) {
			continue
		}
		refs := p.refs.of(o.ID)
		if len(refs) == 0 {
			continue // of no topic that is asked for
		}
		group.Go(func() error { return p.checkObject(ctx, o.NewObject, refs) })
		if ctx.Err() != nil {
			break
		}
	}
	return group.Wait()
}

// checkGarbage checks what waits to be deleted, as far as it is there: a fetch
// that was planned before it became garbage may still read it.
func (p *segmentsPass) checkGarbage(ctx context.Context) error {
	if p.v.cfg.Metadata || len(p.topics) > 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.v.cfg.Concurrency)
	for g := range p.view.AllGarbage() {
		if info, there := p.listed[g.ID]; there && p.inShards(g.ID) {
			group.Go(func() error {
				if info.Size != g.Size {
					p.v.found(ofNoRecords("garbage", sizeDamage(g.NewObject, info.Size, nil)))
					return nil
				}
				return p.checkLoose(ctx, "garbage", segment.Key(g.ID), func() ([]Finding, error) { return p.v.checkSegment(ctx, g.NewObject, nil) })
			})
		}
	}
	return group.Wait()
}

// checkLoose checks an object that holds no records of the log, and may be
// deleted at any moment.
func (p *segmentsPass) checkLoose(ctx context.Context, what, key string, check func() ([]Finding, error)) error {
	found, err := check()
	if err == nil && len(found) > 0 { // once more, as any other
		found, err = check()
	}
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return p.v.unread(ctx, key, err, nil)
	}
	for _, f := range found {
		p.v.found(ofNoRecords(what, f))
	}
	return nil
}

// ofNoRecords says with a finding that no record of the log is concerned.
func ofNoRecords(what string, f Finding) Finding {
	f.Reason = what + ", so no record of the log is concerned: " + f.Reason
	return f
}

// checkObject checks one object that holds records.
func (p *segmentsPass) checkObject(ctx context.Context, o catalog.NewObject, refs []reference) error {
	defer p.v.bytesDone.Add(o.Size)
	key := segment.Key(o.ID)
	info, there := p.listed[o.ID]
	if !there {
		p.missing(o, refs)
		return nil
	}
	if info.Size != o.Size {
		p.v.found(sizeDamage(o, info.Size, refs))
		return nil
	}
	if p.v.cfg.Metadata {
		p.v.count(func(s *Summary) { s.Segments++ })
		return nil
	}
	found, err := p.v.checkSegment(ctx, o, refs)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		p.missing(o, refs)
		return nil
	case err != nil:
		return p.v.unread(ctx, key, err, refs)
	}
	if len(found) > 0 { // once more: something between may have changed the bytes
		if found, err = p.v.checkSegment(ctx, o, refs); err != nil {
			return p.v.unread(ctx, key, err, refs)
		}
	}
	for _, f := range found {
		p.v.found(f)
	}
	p.v.count(func(s *Summary) { s.Segments++; s.SegmentBytes += o.Size })
	return nil
}

// unread reports an object that the store did not give out.
func (v *Verifier) unread(ctx context.Context, key string, err error, refs []reference) error {
	if ctx.Err() != nil {
		return err
	}
	v.found(Finding{Class: Unread, Key: key, Reason: err.Error(), Records: recordsOf(refs)})
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.summary.UnreadObjects >= unreadMax {
		return fmt.Errorf("%w: %w", errTooManyUnread, err)
	}
	return nil
}

func sizeDamage(o catalog.NewObject, size int64, refs []reference) Finding {
	f := Finding{
		Class: Damage, Key: segment.Key(o.ID), Region: regionObject, Pos: min(size, o.Size), Len: max(size, o.Size) - min(size, o.Size), Size: size,
		Reason: fmt.Sprintf("it has %d bytes, not %d", size, o.Size), Records: recordsOf(refs),
	}
	return f
}

func (p *segmentsPass) missing(o catalog.NewObject, refs []reference) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.absent = append(p.absent, absentObject{object: o, refs: refs})
}

// settle judges what the view and the listing do not agree on, by a view that
// is newer than both. An object that was not there and is live by then is
// missing, since what was deleted is never live again. One that was there and is
// not known by then was not committed, so far.
func (p *segmentsPass) settle(ctx context.Context) error {
	if p.h.whole {
		if err := p.v.follow(ctx, &p.h); err != nil {
			return err
		}
		p.view = p.h.replay.State()
	}
	came := map[catalog.ObjectID]bool{}
	for _, o := range p.unknown {
		id, _ := segment.ParseKey(o.Key)
		if _, live := p.view.Object(id); live {
			came[id], p.listed[id] = true, o
		} else if !p.view.Known(id) && len(p.topics) == 0 {
			p.v.found(p.orphan(o, id))
			if !p.v.cfg.Metadata {
				err := p.checkLoose(ctx, "orphan", o.Key, func() ([]Finding, error) { return p.v.checkSelf(ctx, o, id) })
				if err != nil {
					return err
				}
			}
		}
	}
	p.judgeAbsent()
	if len(came) == 0 {
		return nil
	}
	wanted := func(id catalog.ObjectID) bool { return came[id] }
	p.refs = collect(p.view, p.topics, wanted)
	if err := p.checkObjects(ctx, wanted); err != nil {
		return err
	}
	if len(p.absent) > 0 && p.h.whole { // they came and went
		if err := p.v.follow(ctx, &p.h); err != nil {
			return err
		}
		p.view = p.h.replay.State()
	}
	p.judgeAbsent()
	return nil
}

// judgeAbsent reports the objects that are missing.
func (p *segmentsPass) judgeAbsent() {
	for _, a := range p.absent {
		if _, live := p.view.Object(a.object.ID); live {
			p.v.found(Finding{
				Class: Damage, Key: segment.Key(a.object.ID), Region: regionObject, Len: a.object.Size,
				Reason: "it is missing", Records: recordsOf(a.refs),
			})
		}
	}
	p.absent = nil
}

func (p *segmentsPass) orphan(o objstore.ObjectInfo, id catalog.ObjectID) Finding {
	f := Finding{Class: Orphan, Key: o.Key, Size: o.Size, AgeMs: max(0, p.view.Time()-int64(id.Time()))}
	if !p.h.whole {
		f.Reason = "the journal is damaged and could not be followed to its end; it may hold records that were acknowledged"
	}
	return f
}

// follow brings a view up to date. Nodes may have pruned the journal meanwhile;
// then the newest snapshot leads on.
func (v *Verifier) follow(ctx context.Context, h *history) error {
	for attempt := 1; ; attempt++ {
		err := h.replay.Follow(ctx, v.journal)
		if errors.Is(err, catalog.ErrLostPlace) && attempt < reloadsMax {
			if err = v.reload(ctx, h); err == nil {
				continue
			}
		}
		if f, ok := v.damageOf(err); ok {
			v.found(f)
			h.whole = false
			return nil
		}
		return err
	}
}

// reload begins anew from the newest snapshot.
func (v *Verifier) reload(ctx context.Context, h *history) error {
	info, err := v.journal.LatestSnapshot(ctx)
	if err != nil {
		return err
	}
	state, err := catalog.VerifySnapshot(info, func(decode func([]byte) error) error {
		return v.journal.ReadSnapshot(ctx, info, decode)
	})
	if err == nil {
		h.replay = catalog.ReplayFromSnapshot(info, state)
	}
	return err
}

// damageOf is the finding that an error of the journal stands for, if it does.
func (v *Verifier) damageOf(err error) (Finding, bool) {
	f := Finding{Class: Damage}
	corrupt, diverged := (*journal.CorruptError)(nil), (*catalog.DivergedError)(nil)
	switch {
	case errors.As(err, &corrupt):
		f.Key, f.Region, f.Reason = corrupt.Key, regionObject, corrupt.Err.Error()
	case errors.As(err, &diverged):
		f.Key, f.Region, f.Reason = v.journal.SlotKey(diverged.Slot), regionEntry, diverged.Error()
	default:
		return Finding{}, false
	}
	return f, true
}
