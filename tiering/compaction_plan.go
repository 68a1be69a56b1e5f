package tiering

import (
	"math"
	"math/rand/v2"

	"github.com/wadilog/wadi/catalog"
)

// plan is what a job is to do: runs of extents of one topic, at most one for each
// partition, in ascending order.
type plan struct {
	topic *catalog.Topic
	runs  []plannedRun
	bytes int64
}

// plannedRun is extents of one partition that follow each other. Each group of them
// becomes one extent.
type plannedRun struct {
	partition int32
	groups    [][]catalog.Extent
	bytes     int64
	buffered  int64 // bytes of those extents that are held in memory
	extents   int
}

// backlog is what waits to be compacted, as far as a look at it went.
type backlog struct {
	extents  int64
	bytes    int64
	oldestMs int64 // age of the oldest extent
}

// The sizes at which an extent moves up a level. Extents are joined with those of
// their level and below, so that a byte is rewritten once for each level and not
// with each neighbour that comes.
var levelBytes = []int64{64 << 10, 512 << 10, 4 << 20, 32 << 20}

// joinSpanMs is the least span in ms of commit times that may be joined however
// young the records are.
const joinSpanMs = 24 * 60 * 60 * 1000

// planner looks for what to compact.
type planner struct {
	cfg     CompactorConfig
	now     int64 // ms
	damaged func(catalog.ObjectID) bool
}

// rules are what the settings of a topic ask of its extents. A joined extent counts
// as committed when its newest record was, and retention drops it as a whole; so
// what is joined must lie close together. The bounds are an eighth of what is to be
// kept: records are kept for that much longer at most, and never less long.
type rules struct {
	bytesMax int64
	// slotMs divides time for a topic that limits retention.ms: nothing of two
	// slots comes into one object, since that goes only when all of it went. 0 if
	// there is no limit.
	slotMs int64
}

func (p *planner) rules(c *catalog.TopicConfig) rules {
	r := rules{bytesMax: p.cfg.ExtentBytesMax}
	if c.RetentionBytes != catalog.Unlimited {
		r.bytesMax = max(1, min(r.bytesMax, c.RetentionBytes/8))
	}
	if c.RetentionMs != catalog.Unlimited {
		r.slotMs = max(1, c.RetentionMs/8)
	}
	return r
}

func (r *rules) slot(e *catalog.Extent) int64 {
	if r.slotMs == 0 {
		return 0
	}
	return e.CommitTime / r.slotMs
}

// plan returns what to do next for a topic; no runs if there is nothing.
func (p *planner) plan(view *catalog.State, t *catalog.Topic) plan {
	r := p.rules(&t.Config)
	todo := plan{topic: t}
	// So many partitions share the job that each gets runs worth a request of
	// their own when they are joined again.
	share := limits{
		buffered: max(p.cfg.BufferBytes/int64(t.Partitions), p.cfg.StreamBytesMin),
		bytes:    max(p.cfg.TargetBytes/int64(t.Partitions), r.bytesMax),
		extents:  max(catalog.CompactExtentsMax/int(t.Partitions), p.cfg.FanIn),
	}
	if t.Config.RetentionBytes != catalog.Unlimited {
		share.bytes = max(r.bytesMax, min(share.bytes, t.Config.RetentionBytes/4))
	}
	left := limits{buffered: p.cfg.BufferBytes, bytes: p.cfg.TargetBytes, extents: catalog.CompactExtentsMax}
	var slot *int64
	byPartition := map[int32]plannedRun{}
	first := rand.N(t.Partitions) // else the last ones might never get their turn
	for i := range t.Partitions {
		number := (first + i) % t.Partitions
		part := view.Partition(catalog.TopicPartition{Topic: t.ID, Partition: number})
		run := p.run(part, &r, slot, share.within(left))
		if len(run.groups) == 0 {
			continue
		}
		run.partition = number
		byPartition[number] = run
		if slot == nil {
			at := r.slot(&run.groups[0][0])
			slot = &at
		}
		todo.bytes += run.bytes
		left.bytes -= run.bytes
		left.buffered -= run.buffered
		left.extents -= run.extents
		if left.bytes <= 0 || left.buffered < p.cfg.StreamBytesMin || left.extents < p.cfg.FanIn {
			break
		}
	}
	for number := range t.Partitions {
		if run, ok := byPartition[number]; ok {
			todo.runs = append(todo.runs, run)
		}
	}
	return todo
}

// worth tells whether a plan is worth its requests by now.
func (p *planner) worth(todo *plan) bool {
	extents, oldest := 0, p.now
	for _, run := range todo.runs {
		extents += run.extents
		oldest = min(oldest, run.groups[0][0].CommitTime)
	}
	return extents > 0 && (extents >= p.cfg.JobExtentsMin || todo.bytes >= p.cfg.JobBytesMin ||
		p.now-oldest >= (p.cfg.MinAge+p.cfg.Patience).Milliseconds())
}

// limits bound a run of a job.
type limits struct {
	buffered, bytes int64
	extents         int
}

func (l limits) within(other limits) limits {
	return limits{min(l.buffered, other.buffered), min(l.bytes, other.bytes), min(l.extents, other.extents)}
}

// run returns the oldest extents of a partition that are worth joining, those of the
// lowest level first, of the given slot of time only unless that is nil.
func (p *planner) run(part *catalog.Partition, r *rules, slot *int64, most limits) plannedRun {
	if part.ExtentCount() < p.cfg.FanIn {
		return plannedRun{}
	}
	for level := range levelBytes {
		b := runBuilder{planner: p, rules: r, most: most, below: levelBytes[level], slot: slot}
		part.EachExtent(b.add)
		if b.close(); len(b.run.groups) > 0 {
			return b.run
		}
	}
	return plannedRun{}
}

// runBuilder takes the extents of a partition in order.
type runBuilder struct {
	*planner
	*rules
	most  limits
	below int64 // extents of this length and more are left as they are
	slot  *int64

	run      plannedRun
	group    []catalog.Extent
	bytes    int64 // of the group
	buffered int64
	records  int64
}

// add takes the next extent, and tells whether it wants more.
func (b *runBuilder) add(e *catalog.Extent) (more bool) {
	if !b.oldEnough(e) {
		return false
	}
	if e.Len >= b.below || b.slot != nil && b.rules.slot(e) != *b.slot || b.damaged(e.Object) {
		b.close()
		return len(b.run.groups) == 0 // else there would be a gap
	}
	if !b.fits(e) {
		if b.close(); len(b.run.groups) > 0 {
			return false
		}
		if !b.fits(e) {
			return true
		}
	}
	if len(b.group) > 0 && !b.joins(e) && !b.close() && len(b.run.groups) > 0 {
		return false
	}
	if len(b.group) == 0 && len(b.run.groups) > 0 && b.rules.slot(e) != b.rules.slot(&b.run.groups[0][0]) {
		return false
	}
	b.group = append(b.group, *e)
	b.bytes += e.Len
	b.buffered += b.cfg.buffered(e)
	b.records += int64(e.Records)
	return true
}

func (p *planner) oldEnough(e *catalog.Extent) bool {
	return p.now-e.CommitTime >= p.cfg.MinAge.Milliseconds()
}

// buffered is how many bytes of an extent a job holds for as long as it is at work.
func (c *CompactorConfig) buffered(e *catalog.Extent) int64 {
	if e.Len < c.StreamBytesMin {
		return e.Len
	}
	return 0
}

// fits tells whether the run has room for e behind the group.
func (b *runBuilder) fits(e *catalog.Extent) bool {
	return b.run.buffered+b.buffered+b.cfg.buffered(e) <= b.most.buffered &&
		b.run.bytes+b.bytes+e.Len <= b.most.bytes && b.run.extents+len(b.group) < b.most.extents
}

// joins tells whether e may be in one extent with the group.
func (b *runBuilder) joins(e *catalog.Extent) bool {
	first := &b.group[0]
	span := max(joinSpanMs, (b.now-e.CommitTime)/8)
	return b.bytes+e.Len <= b.rules.bytesMax && b.records+int64(e.Records) <= math.MaxInt32 &&
		e.CommitTime-first.CommitTime <= span && b.rules.slot(e) == b.rules.slot(first)
}

// close ends the group, and tells whether it is part of the run.
func (b *runBuilder) close() bool {
	worth := len(b.group) >= b.cfg.FanIn
	if worth {
		b.run.groups = append(b.run.groups, b.group)
		b.run.bytes += b.bytes
		b.run.buffered += b.buffered
		b.run.extents += len(b.group)
	}
	b.group, b.bytes, b.buffered, b.records = nil, 0, 0, 0
	return worth
}

// backlog adds what of a topic is small and old enough to be joined with others.
func (p *planner) backlog(view *catalog.State, t *catalog.Topic, all *backlog) {
	r := p.rules(&t.Config)
	small := min(levelBytes[len(levelBytes)-1], r.bytesMax)
	for number := range t.Partitions {
		part := view.Partition(catalog.TopicPartition{Topic: t.ID, Partition: number})
		if part.ExtentCount() < p.cfg.FanIn {
			continue
		}
		part.EachExtent(func(e *catalog.Extent) bool {
			if !p.oldEnough(e) {
				return false
			}
			if e.Len < small {
				all.extents++
				all.bytes += e.Len
				all.oldestMs = max(all.oldestMs, p.now-e.CommitTime)
			}
			return true
		})
	}
}
