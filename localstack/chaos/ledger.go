package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// ledgerVersion is that of the format: a line for each event, which is the
// CRC32C of a JSON object in 8 hex digits, a space, and the object.
const ledgerVersion = 1

const (
	runEvent      = "run"      // first: what the run is
	producerEvent = "producer" // a producer begins
	sentEvent     = "sent"     // a request is about to be sent for the first time
	ackedEvent    = "acked"    // it was acknowledged
	refusedEvent  = "refused"  // an answer said that it had no effect
	trimEvent     = "trim"     // a trim is about to be sent
	trimmedEvent  = "trimmed"  // it was acknowledged
	faultEvent    = "fault"    // something was done to the system
)

// event is a line of a ledger.
type event struct {
	Type       string  `json:"event"`
	At         int64   `json:"at"` // ms since 1970
	Version    int     `json:"version,omitempty"`
	Run        string  `json:"run,omitempty"`
	Partitions int     `json:"partitions,omitempty"`
	Producer   uint32  `json:"producer,omitempty"`
	Kind       Kind    `json:"kind,omitempty"`
	Request    int64   `json:"request,omitempty"`
	Parts      []Part  `json:"parts,omitempty"`
	Bases      []int64 `json:"bases,omitempty"`
	Node       string  `json:"node,omitempty"`
	Partition  int32   `json:"partition,omitempty"`
	Offset     int64   `json:"offset,omitempty"`
	Text       string  `json:"text,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Ledger is a file outside of the nodes that holds what was sent to them and
// what they acknowledged. Acknowledgements are fsynced before they count; one
// fsync serves all that wait. It is safe for concurrent use.
type Ledger struct {
	file *os.File
	wake chan struct{} // has room for one: there is something to sync

	mu      sync.Mutex
	buffer  *bufio.Writer // guarded by mu
	waiters []chan error  // guarded by mu; for the next fsync
	err     error         // guarded by mu; the first failure, which is final
}

// NewLedger creates the file. Run must be running for Sync to return.
func NewLedger(name string) (*Ledger, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &Ledger{file: file, buffer: bufio.NewWriterSize(file, 1<<16), wake: make(chan struct{}, 1)}, nil
}

// Run syncs until ctx ends, and closes the file. The first failure ends it.
func (l *Ledger) Run(ctx context.Context) error {
	for {
		select {
		case <-l.wake:
			if err := l.sync(); err != nil {
				return errors.Join(err, l.close())
			}
		case <-ctx.Done():
			return errors.Join(l.sync(), l.close())
		}
	}
}

// close refuses what comes later.
func (l *Ledger) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = os.ErrClosed
	}
	for _, w := range l.waiters {
		w <- l.err
	}
	l.waiters = nil
	return l.file.Close()
}

// sync writes and fsyncs what is there, and tells those who wait for it.
func (l *Ledger) sync() error {
	l.mu.Lock()
	waiters := l.waiters
	l.waiters = nil
	if l.err == nil {
		l.err = l.buffer.Flush()
	}
	err := l.err
	l.mu.Unlock()
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		err = fmt.Errorf("sync the ledger: %w", err)
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
	}
	for _, w := range waiters {
		w <- err
	}
	return err
}

// Note writes an event that need not survive more than the events after it.
func (l *Ledger) Note(e event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(e)
}

// Sync writes an event and returns when it is on the disk.
func (l *Ledger) Sync(ctx context.Context, e event) error {
	done := make(chan error, 1)
	l.mu.Lock()
	err := l.write(e)
	if err == nil {
		l.waiters = append(l.waiters, done)
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write appends a line. mu is held.
func (l *Ledger) write(e event) error {
	if l.err != nil {
		return l.err
	}
	e.At = time.Now().UnixMilli()
	line, err := appendEvent(nil, e)
	if err != nil {
		return err
	}
	_, l.err = l.buffer.Write(line)
	return l.err
}

func appendEvent(dst []byte, e event) ([]byte, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return dst, err
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(body, castagnoli))
	return append(append(dst, body...), '\n'), nil
}

// ErrLedgerDamaged says that a line of a ledger is not what was written.
var ErrLedgerDamaged = errors.New("ledger is damaged")

// ReadLedger reads what a ledger holds. A last line without its end is what a
// crash leaves of one that nobody had been told of, and is left out.
func ReadLedger(r io.Reader) (*History, error) {
	h := &History{}
	lines := bufio.NewReaderSize(r, 1<<16)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if number == 1 {
				return nil, fmt.Errorf("%w: it is empty", ErrLedgerDamaged)
			}
			return h, nil
		}
		if err != nil {
			return nil, err
		}
		e, err := parseEvent(line)
		if err == nil && (e.Type == runEvent) != (number == 1) {
			err = errors.New("the run must be the first event, and only that")
		}
		if err == nil {
			err = h.add(e)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrLedgerDamaged, number, err)
		}
	}
}

func parseEvent(line []byte) (event, error) {
	sum, body, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !ok || err != nil || len(sum) != 8 {
		return event{}, errors.New("no checksum")
	}
	if crc32.Checksum(body, castagnoli) != uint32(want) {
		return event{}, errors.New("wrong checksum")
	}
	var e event
	return e, json.Unmarshal(body, &e)
}
