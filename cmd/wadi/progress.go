package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is the time between two looks at what is being measured.
const progressEvery = 200 * time.Millisecond

// progress shows how far a command is on a terminal, and nothing elsewhere.
type progress struct {
	bar   *progressbar.ProgressBar // nil off a terminal
	done  func() (done, total int64)
	label atomic.Pointer[string] // set by note
	quit  chan struct{}
	ended sync.WaitGroup
}

// startProgress shows done of total, or only done if total is below 0, until
// stop is called. inBytes tells what is counted.
func startProgress(env *environment, label string, total int64, inBytes bool, done func() int64) *progress {
	return startProgressOf(env, label, inBytes, func() (int64, int64) { return done(), total })
}

// startProgressOf is startProgress for a total that is only known later; until
// then it is below 0.
func startProgressOf(env *environment, label string, inBytes bool, done func() (done, total int64)) *progress {
	p := &progress{done: done, quit: make(chan struct{})}
	if !env.errTTY {
		return p
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(env.err),
		progressbar.OptionSetDescription(label),
		progressbar.OptionThrottle(progressEvery / 2),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetElapsedTime(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionSpinnerType(14),
		// Otherwise the bar has a goroutine of its own that goes on drawing.
		progressbar.OptionSetSpinnerChangeInterval(0),
	}
	if inBytes {
		options = append(options, progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true))
	} else {
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("records"))
	}
	_, known := done()
	p.bar = progressbar.NewOptions64(known, options...)
	p.ended.Go(func() {
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-ticker.C:
				if note := p.label.Swap(nil); note != nil {
					p.bar.Describe(*note)
				}
				n, total := p.done()
				if total != known {
					known = total
					p.bar.ChangeMax64(total)
				}
				// The bar only fails when it is written beyond its end or to a closed terminal.
				_ = p.bar.Set64(n)
			}
		}
	})
	return p
}

// note changes the text before the bar. Any goroutine may call it.
func (p *progress) note(label string) { p.label.Store(&label) }

// stop takes the bar off the terminal.
func (p *progress) stop() {
	if p.bar == nil {
		return
	}
	close(p.quit)
	p.ended.Wait()
	_ = p.bar.Clear()
}
