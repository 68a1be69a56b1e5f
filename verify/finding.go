package verify

import (
	"fmt"
	"strings"

	"github.com/wadilog/wadi/catalog"
)

// Class says what a Finding means.
type Class string

// The classes.
const (
	// Damage is bytes that are not what was written, objects that ought to be
	// there and are not, and statements that contradict each other.
	Damage Class = "damage"
	// Unread is what the store did not give out, so that nothing is known of it.
	Unread Class = "unread"
	// Orphan is a segment that the catalog does not know: uploaded and never
	// committed, or about to be. Unless something is damaged it is no loss.
	Orphan Class = "orphan"
	// Upload is a multipart upload that was neither completed nor aborted.
	Upload Class = "upload"
	// Leftover is an object of the journal that nothing needs any more, or yet.
	Leftover Class = "leftover"
	// Foreign is a key that is not Wadi's.
	Foreign Class = "foreign"
)

// Finding is one thing found in the store.
type Finding struct {
	Class  Class  `json:"class"`
	Key    string `json:"key"`
	Region string `json:"region,omitempty"` // of the object: one of the regions in docs/FORMAT.md
	Pos    int64  `json:"pos"`              // bytes from the start of the object to where the region begins
	Len    int64  `json:"len,omitempty"`    // bytes of the region; 0 if unknown
	Reason string `json:"reason,omitempty"`
	// Records are those in the log that cannot be had because of it, or may not be.
	Records []Records `json:"records,omitempty"`
	Size    int64     `json:"size,omitempty"`   // bytes of the object, if known
	AgeMs   int64     `json:"age_ms,omitempty"` // since it was written, if known
}

// Records are consecutive offsets of a partition.
type Records struct {
	Topic     string         `json:"topic"`
	TopicID   string         `json:"topic_id"`
	Partition int32          `json:"partition"`
	From      catalog.Offset `json:"from"`
	To        catalog.Offset `json:"to"` // the offset after the last
}

func (r Records) String() string {
	return fmt.Sprintf("%s/%d offsets %d to %d", r.Topic, r.Partition, r.From, r.To-1)
}

// recordsShown bounds how many stretches of records stand in a line of text.
const recordsShown = 5

// String is the finding as a line of text.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", f.Class, f.Key)
	switch {
	case f.Region != "" && f.Len > 0:
		fmt.Fprintf(&b, ": %s at bytes %d to %d", f.Region, f.Pos, f.Pos+f.Len-1)
	case f.Region != "":
		fmt.Fprintf(&b, ": %s", f.Region)
	}
	if f.Reason != "" {
		fmt.Fprintf(&b, ": %s", f.Reason)
	}
	for i, r := range f.Records {
		if i == recordsShown {
			fmt.Fprintf(&b, "; and %d more", len(f.Records)-i)
			break
		}
		fmt.Fprintf(&b, "; %s", r)
	}
	return b.String()
}

// The regions of objects that findings name.
const (
	regionObject   = "object" // all of it
	regionEntry    = "entry"
	regionManifest = "manifest"
	regionPart     = "part"
	regionFooter   = "footer"
	regionIndex    = "index"
	regionTail     = "index and footer"
	regionRun      = "run"
	regionBlock    = "block"
	regionExtent   = "extent"
	regionHeader   = "batch header"
	regionBatch    = "batch"
)
