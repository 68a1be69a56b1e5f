package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/wadilog/wadi/catalog"
)

// cacheForever is for what never changes. Not for a year: a trimmed or deleted
// topic should leave the caches.
const cacheForever = "public, max-age=3600, immutable"

// An answer to a closed range is immutable, as the same offset holds the same
// bytes for all time. Its entity tag is a hash of what was asked, and the
// offset at which the answer ends: max_bytes may cut the same question at
// another place after the batches were moved. It is a weak one, as it is the same
// whether and however the answer is encoded (RFC 9110, 8.8.3.3): who has the
// records in one coding need not fetch them in another.

// immutable tells whether the answer will be right for all time: the whole
// range is there, and it says something.
func (f *fetchRequest) immutable(a fetchAnswer) bool {
	return f.closed() && f.q.Until <= a.HighWatermark && a.next > a.from
}

// entityTag is the ETag of an answer that ends at next.
func (f *fetchRequest) entityTag(next catalog.Offset) string {
	return `W/"` + f.entityTagPrefix() + itoa(int64(next)) + `"`
}

func (f *fetchRequest) entityTagPrefix() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s %t %d %d",
		f.q.Partition, f.q.Offset, f.q.Until, f.media, f.valuesOnly, f.q.MaxBytes, f.q.MaxRecords))
	return base64.RawURLEncoding.EncodeToString(sum[:15]) + "-"
}

// notModified answers 304, without a read, to a client that has an answer to
// the same question.
func (f *fetchRequest) notModified(ctx context.Context) (bool, error) {
	if !f.closed() {
		return false, nil
	}
	prefix := f.entityTagPrefix()
	for _, tag := range f.matches.tags {
		text, ok := strings.CutPrefix(tag, prefix)
		if !ok {
			continue
		}
		next, ok := parseDecimal(text)
		if !ok || catalog.Offset(next) <= f.q.Offset || catalog.Offset(next) > f.q.Until {
			continue
		}
		view, err := f.s.topics.Recent(ctx)
		if err != nil {
			return false, err
		}
		p := view.Partition(f.q.Partition)
		if p == nil || f.q.Offset < p.LogStart() || f.q.Until > p.End() {
			return false, nil // the read will say what is the matter
		}
		h := f.w.Header()
		h.Set("ETag", f.entityTag(catalog.Offset(next)))
		h.Set("Cache-Control", cacheForever)
		f.w.WriteHeader(http.StatusNotModified)
		return true, nil
	}
	return false, nil
}

// entityTags is what If-None-Match lists (RFC 9110, 13.1.2).
type entityTags struct {
	any  bool     // *
	tags []string // without quotes; weak ones compare as strong ones do
}

func parseEntityTags(values []string) (entityTags, error) {
	text := strings.TrimSpace(strings.Join(values, ","))
	if text == "*" {
		return entityTags{any: true}, nil
	}
	var t entityTags
	for text != "" {
		rest := strings.TrimPrefix(text, "W/")
		if !strings.HasPrefix(rest, `"`) {
			return t, headerf("If-None-Match", "must be * or a list of quoted entity tags")
		}
		tag, after, ok := strings.Cut(rest[1:], `"`)
		if !ok {
			return t, headerf("If-None-Match", "must be * or a list of quoted entity tags")
		}
		t.tags = append(t.tags, tag)
		text = strings.TrimSpace(after)
		if text == "" {
			break
		}
		if text[0] != ',' {
			return t, headerf("If-None-Match", "must be * or a list of quoted entity tags")
		}
		text = strings.TrimLeft(text, ", \t")
	}
	return t, nil
}
