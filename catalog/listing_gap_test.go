package catalog_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
	"github.com/wadilog/wadi/internal/objstore"
	"github.com/wadilog/wadi/internal/objstore/memstore"
)

// lateLister leaves one key out of its listings, though a later one is in them:
// as a store may that reads a folder while objects are put.
type lateLister struct {
	objstore.Bucket
	suffix string
	hid    atomic.Int32
	loads  atomic.Int32 // GETs of slot 0, with which every load begins here
}

func (l *lateLister) List(ctx context.Context, prefix, startAfter string, limit int) (objstore.Page, error) {
	page, err := l.Bucket.List(ctx, prefix, startAfter, limit)
	page.Objects = slices.DeleteFunc(page.Objects, func(o objstore.ObjectInfo) bool {
		hide := strings.HasSuffix(o.Key, l.suffix)
		if hide {
			l.hid.Add(1)
		}
		return hide
	})
	return page, err
}

func (l *lateLister) Get(ctx context.Context, key string) (objstore.Object, error) {
	if strings.HasSuffix(key, "journal/00000000000000000000") {
		l.loads.Add(1)
	}
	return l.Bucket.Get(ctx, key)
}

// TestListingMayLackASlot: a slot that a listing lacks and that can be read is no
// reason to load the catalog anew.
func TestListingMayLackASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := start(t, memstore.New(), nil)
		defer leader.stop(t)
		leader.createTopic(t, "one") // slots 1 and 2

		lister := &lateLister{Bucket: leader.store, suffix: "journal/00000000000000000004"}
		logger := slog.New(slog.DiscardHandler)
		j, err := journal.New(journal.DefaultConfig(), lister, "000", logger, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		follower, err := catalog.New(catalog.DefaultConfig(), j, nil, logger, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- follower.Run(ctx) }()
		<-follower.Ready()

		for _, name := range []string{"two", "three", "four"} {
			leader.createTopic(t, name)
		}
		view, err := follower.Confirm(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := view.TopicByName("four"); !ok || lister.hid.Load() == 0 {
			t.Errorf("the last topic is there: %v; %d listings lacked a slot", ok, lister.hid.Load())
		}
		if n := lister.loads.Load(); n != 1 {
			t.Errorf("the catalog was loaded %d times", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
