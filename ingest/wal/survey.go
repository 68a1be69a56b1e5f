package wal

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/wadilog/wadi/internal/mutant"
)

// gapsMax bounds the gaps that are kept of one file. Further ones widen the
// last, which then holds good frames too; those are replayed all the same.
const gapsMax = 1000

// holesLogged bounds the log lines about the holes of one node id.
const holesLogged = 20

// survey is what one reading of a whole file found out about it.
type survey struct {
	header    fileHeader
	headerErr error // why the header is not usable; nil if it is

	size       int64
	end        int64  // replay reads up to here
	frames     int64  // good data frames before end
	first      uint64 // their lowest and highest number
	last       uint64
	closed     bool   // ends with a closing frame
	unreadable bool   // the disk answered a read with an error
	holes      []Hole // damage before end, ascending
	torn       bool   // bytes after end are an unfinished write
}

// surveyFile reads a file and judges its gaps. A newer file of the same node
// id is only begun when the older ones are closed and fsynced, so in an older
// file (newest false) every gap is damage. In the newest one a gap is damage
// if it begins before the highest position that any frame states as fsynced,
// and else the end of what was ever acknowledged.
func surveyFile(r io.ReaderAt, size int64, id fileID, newest bool) (survey, error) {
	sv := survey{size: size}
	s := newScanner(r, size, id)
	sv.header, sv.headerErr = parseFileHeader(s.window.at(0, fileHeaderSize), id)
	if errors.Is(sv.headerErr, errVersion) {
		return survey{}, fmt.Errorf("file %s: %w", id.name(), sv.headerErr)
	}

	synced := int64(0)
	var gaps []gapBetween
	for {
		item, ok := s.next(nil)
		if !ok {
			break
		}
		if item.gap {
			if n := len(gaps); n > 0 && (gaps[n-1].to == item.from || n == gapsMax) {
				gaps[n-1].to, gaps[n-1].before = item.to, 0
			} else {
				gaps = append(gaps, gapBetween{span: item.span, after: s.last, framesBefore: sv.frames})
			}
			continue
		}
		synced = max(synced, item.header.synced)
		before := item.header.number
		if item.header.kind == kindClosing {
			sv.closed = true
			before++ // it names the last data frame, which may be in the gap
		} else {
			sv.frames++
			sv.last = item.header.number
			if sv.first == 0 {
				sv.first = item.header.number
			}
		}
		if n := len(gaps); n > 0 && gaps[n-1].before == 0 {
			gaps[n-1].before = before
		}
	}
	sv.end = min(s.pos, size)
	sv.unreadable = s.window.unreadable

	damageBelow := synced
	if !newest || sv.unreadable {
		// What the disk refuses to read is no torn write.
		damageBelow = math.MaxInt64
	}
	if mutant.On(mutant.SkipSyncedPosition) && newest {
		damageBelow = 0
	}
	if sv.headerErr != nil {
		sv.holes = append(sv.holes, Hole{File: id.name(), From: 0, To: fileHeaderSize, Reason: sv.headerErr.Error()})
	}
	for _, g := range gaps {
		if g.from >= damageBelow {
			sv.torn, sv.end = true, g.from
			sv.frames, sv.last, sv.closed = g.framesBefore, g.after, false
			if sv.frames == 0 {
				sv.first = 0
			}
			break
		}
		sv.holes = append(sv.holes, Hole{File: id.name(), From: g.from, To: g.to, After: g.after, Before: g.before, Reason: "bad frame"})
	}
	if !newest && !sv.closed && sv.end == size && (len(gaps) == 0 || gaps[len(gaps)-1].to != size) {
		// Cut off between two frames: the closing frame is what is missed.
		sv.holes = append(sv.holes, Hole{File: id.name(), From: size, To: size, After: sv.last, Reason: "ends without its closing frame"})
	}
	return sv, nil
}

// damaged tells whether the file is to be kept for the operator.
func (sv *survey) damaged() bool { return len(sv.holes) > 0 || sv.unreadable }

// gapBetween is a gap with the frames around it.
type gapBetween struct {
	span
	after, before uint64 // as in Hole
	framesBefore  int64
}

// Hole is a place where frames may have been that can no longer be read.
type Hole struct {
	File string
	// From and To are positions in File, half-open. They are equal where a
	// whole file or the end of one is missing.
	From, To int64
	// After and Before bound what is lost: at most the numbers between
	// them. They are those of the readable frames next to the hole, or what
	// the file says of its end, and 0 where the file says nothing.
	After, Before uint64
	Reason        string
}

// String describes the hole for a log line.
func (h Hole) String() string {
	return fmt.Sprintf("%s [%d,%d) between frames %d and %d: %s", h.File, h.From, h.To, h.After, h.Before, h.Reason)
}
