package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/wadilog/wadi/catalog"
)

// unsettledWAL counts the requests in the write-ahead buffer that are not
// resolved.
type unsettledWAL struct {
	requests int
	bytes    int64
}

func (w *unsettledWAL) add(u *unit, n int) {
	w.requests += n
	w.bytes += int64(n) * u.bytes
}

// LeftBehindError says what stays in the write-ahead buffer of a node that has
// ended. The next start on the directory commits it.
type LeftBehindError struct {
	Dir      string
	Requests int   // of the life that ended
	Bytes    int64 // of their record batches
	Earlier  int   // files of earlier lives
}

func (e *LeftBehindError) Error() string {
	var what []string
	if e.Requests > 0 {
		what = append(what, fmt.Sprintf("%s with %s of records", count(e.Requests, "request"), humanize.IBytes(uint64(e.Bytes))))
	}
	if e.Earlier > 0 {
		what = append(what, count(e.Earlier, "file")+" of earlier lives")
	}
	return fmt.Sprintf("acknowledged and not committed in time, left in %s for the next start with it: %s", e.Dir, strings.Join(what, " and "))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// LeftBehind returns a *LeftBehindError if the write-ahead buffer holds what was
// not committed. Call it after Run has returned.
func (g *Ingester) LeftBehind() error {
	if g.wal == nil {
		return nil
	}
	earlier, err := g.wal.EarlierFiles()
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.walled.requests == 0 && earlier == 0 {
		return nil
	}
	return &LeftBehindError{Dir: g.wal.Dir(), Requests: g.walled.requests, Bytes: g.walled.bytes, Earlier: earlier}
}

// Drain refuses further requests, commits what the node holds, also of earlier
// lives, and removes its id from the catalog. If ctx ends first the rest stays in
// the write-ahead buffer.
func (g *Ingester) Drain(ctx context.Context) error {
	g.admission.close("draining")
	g.mu.Lock()
	g.draining = true
	g.closeIfDrained()
	g.mu.Unlock()
	g.wakeFlush()
	select {
	case <-g.drained:
	case <-g.stopped:
		return errors.New("drain: the ingest node has stopped")
	case <-ctx.Done():
		return fmt.Errorf("drain: %w", ctx.Err())
	}
	if began, err := g.awaitReplay(ctx); !began {
		return err
	}
	err := g.proposeUntilDone(ctx, catalog.RemoveNode{Node: g.node})
	if err != nil && g.wal == nil {
		// Nothing is left behind but the id, which expires.
		g.logger.Warn("the node id could not be removed and will expire", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("drain: remove the node id: %w", err)
	}
	return nil
}

// awaitReplay waits for the end of the node's start while files of earlier lives
// are left. It tells whether the node has begun; one that never did holds nothing
// of its own and may not be registered.
func (g *Ingester) awaitReplay(ctx context.Context) (began bool, err error) {
	select {
	case <-g.ready:
		return true, nil
	default:
	}
	if g.wal == nil {
		return false, nil
	}
	if earlier, err := g.wal.EarlierFiles(); earlier == 0 {
		return false, err
	}
	select {
	case <-g.ready:
		return true, nil
	case <-g.stopped:
		return false, errors.New("drain: the ingest node has stopped")
	case <-ctx.Done():
		return false, fmt.Errorf("drain: replay the write-ahead buffer: %w", ctx.Err())
	}
}
