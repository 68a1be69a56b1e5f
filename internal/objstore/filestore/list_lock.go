package filestore

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How long to wait before asking again for a lock that another process holds.
const (
	lockRetryMin = 100 * time.Microsecond
	lockRetryMax = 10 * time.Millisecond
)

// listLock parts listings from changes of names. Its holders do a few system
// calls, or read folders, and never wait for anything else.
type listLock struct {
	name string // of the file for flock(2)
	mu   sync.RWMutex
}

func newListLock(name string) (*listLock, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &listLock{name: name}, f.Close()
}

// shared is held by listings.
func (l *listLock) shared(ctx context.Context) (unlock func(), err error) {
	l.mu.RLock()
	unflock, err := l.flock(ctx, unix.LOCK_SH)
	if err != nil {
		l.mu.RUnlock()
		return nil, err
	}
	return func() { unflock(); l.mu.RUnlock() }, nil
}

// exclusive is held while a name is made or removed.
func (l *listLock) exclusive(ctx context.Context) (unlock func(), err error) {
	l.mu.Lock()
	unflock, err := l.flock(ctx, unix.LOCK_EX)
	if err != nil {
		l.mu.Unlock()
		return nil, err
	}
	return func() { unflock(); l.mu.Unlock() }, nil
}

// flock locks the file among processes, through a descriptor of its own since a
// lock belongs to that. It asks again and again rather than waiting in the
// kernel, where no context would reach it.
func (l *listLock) flock(ctx context.Context, how int) (unlock func(), err error) {
	fd, err := unix.Open(l.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open "+l.name, err)
	}
	for wait := lockRetryMin; ; wait = min(2*wait, lockRetryMax) {
		err := unix.Flock(fd, how|unix.LOCK_NB)
		if err == nil {
			return func() { _ = unix.Close(fd) }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = unix.Close(fd)
			return nil, os.NewSyscallError("flock "+l.name, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			_ = unix.Close(fd)
			return nil, ctx.Err()
		}
	}
}
