package verify

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/wadilog/wadi/internal/objstore"
)

// findStrays lists uploads that were not completed, and keys that are not Wadi's.
func (v *Verifier) findStrays(ctx context.Context) error {
	var uploads []objstore.Upload
	err := v.store.try(ctx, 0, func(ctx context.Context) (err error) {
		uploads, err = v.store.bucket.ListUploads(ctx, "")
		return err
	})
	if err != nil && !errors.Is(err, objstore.ErrUnsupported) {
		return err
	}
	for _, u := range uploads {
		f := Finding{Class: Upload, Key: u.Key}
		if !u.Begun.IsZero() {
			f.AgeMs = max(0, time.Since(u.Begun).Milliseconds())
		}
		v.found(f)
	}
	return v.findForeign(ctx)
}

// findForeign lists keys outside of the folders that belong to Wadi. The
// contents of these are passed over: a slash sorts right before a zero.
func (v *Verifier) findForeign(ctx context.Context) error {
	own := []string{"catalog/" + v.shard + "/", "segments/", "probe/", "bench/"}
	for after, more := "", true; more; {
		page, err := v.store.List(ctx, "", after)
		if err != nil {
			return err
		}
		more = page.More
		for _, o := range page.Objects {
			after = o.Key
			folder := folderOf(o.Key, own)
			if folder == "" {
				v.found(Finding{Class: Foreign, Key: o.Key, Size: o.Size, AgeMs: ageOf(o)})
				continue
			}
			if next := strings.TrimSuffix(folder, "/") + "0"; page.Objects[len(page.Objects)-1].Key < next {
				after, more = next, page.More
				break
			}
		}
	}
	return nil
}

func folderOf(key string, folders []string) string {
	for _, folder := range folders {
		if strings.HasPrefix(key, folder) {
			return folder
		}
	}
	return ""
}
