package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/wadilog/wadi/client"
)

// ackLogPrefix begins the first line of an ack log.
const ackLogPrefix = "# wadi ack log 1 "

// producerID is what makes repeats of a batch harmless.
type producerID struct {
	ID    int64 `json:"producer_id"`
	Epoch int16 `json:"epoch"`
}

// ackLogHeader names everything that decides how lines become batches, so that
// a later run over the same lines can go on where this one ended.
type ackLogHeader struct {
	Topic      string     `json:"topic"`
	TopicID    string     `json:"topic_id"`
	Partitions int32      `json:"partitions"`
	Acks       string     `json:"acks"`
	Producer   producerID `json:"producer"`
	KeyField   string     `json:"key_field"`
	Forced     int32      `json:"partition"` // -1: by key
	Keyless    int32      `json:"keyless"`   // partition of the first records without a key
	BatchBytes int        `json:"batch"`
	OpenBytes  int        `json:"open"`
	Skip       int64      `json:"skip"` // lines
}

// sameInput tells whether both cut the same lines into the same batches.
func (h ackLogHeader) sameInput(other ackLogHeader) error {
	other.Producer, other.Keyless = h.Producer, h.Keyless
	if h == other {
		return nil
	}
	was, err := json.Marshal(h)
	if err != nil {
		return err
	}
	is, err := json.Marshal(other)
	if err != nil {
		return err
	}
	return fmt.Errorf("the run that is to go on was %s, this one is %s", was, is)
}

// ackLog is a file with a line for each acknowledged batch: partition, base
// offset (- with acks=1), count of records, and the number of the first
// record's line. Each is on disk before the next batch of its partition goes
// out. It is safe for concurrent use.
type ackLog struct {
	mu   sync.Mutex
	file *os.File
	path string
}

// createAckLog creates a log; a file that is there already stays as it is.
func createAckLog(path string, header ackLogHeader) (*ackLog, error) {
	line, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("ack log %s exists: go on with --resume, or name another", path)
	}
	if err != nil {
		return nil, fmt.Errorf("ack log: %w", err)
	}
	l := &ackLog{file: file, path: path}
	if err := errors.Join(l.write(ackLogPrefix+string(line)+"\n"), syncFolder(filepath.Dir(path))); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *ackLog) append(a client.Appended, firstLine int64) error {
	base := "-"
	if a.BaseOffset >= 0 {
		base = strconv.FormatInt(a.BaseOffset, 10)
	}
	return l.write(fmt.Sprintf("%d %s %d %d\n", a.Partition, base, a.Count, firstLine))
}

func (l *ackLog) write(line string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.WriteString(line); err != nil {
		return fmt.Errorf("write ack log: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync ack log: %w", err)
	}
	return nil
}

func (l *ackLog) close() error { return l.file.Close() }

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// resumeAckLog opens a log to go on with it, and returns its header and how
// many records of each partition it holds.
func resumeAckLog(path string) (*ackLog, ackLogHeader, []int64, error) {
	fail := func(err error) (*ackLog, ackLogHeader, []int64, error) {
		return nil, ackLogHeader{}, nil, fmt.Errorf("ack log %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, ackLogHeader{}, nil, fmt.Errorf("ack log: %w", err)
	}
	header, acked, end, err := parseAckLog(file)
	if err == nil {
		// A line that was being written when the run ended was not relied on.
		err = file.Truncate(end)
	}
	if err == nil {
		_, err = file.Seek(end, io.SeekStart)
	}
	if err != nil {
		_ = file.Close()
		return fail(err)
	}
	return &ackLog{file: file, path: path}, header, acked, nil
}

// parseAckLog reads a log up to a line without an end, and returns the
// position behind the last whole one.
func parseAckLog(r io.Reader) (header ackLogHeader, acked []int64, end int64, err error) {
	reader := bufio.NewReader(r)
	for number := 1; ; number++ {
		line, err := reader.ReadString('\n')
		if errors.Is(err, io.EOF) {
			if number == 1 {
				return header, nil, 0, errors.New("has no first line")
			}
			return header, acked, end, nil
		}
		if err != nil {
			return header, nil, 0, err
		}
		end += int64(len(line))
		line = strings.TrimSuffix(line, "\n")
		if number == 1 {
			text, ok := strings.CutPrefix(line, ackLogPrefix)
			decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
			decoder.DisallowUnknownFields()
			if !ok || decoder.Decode(&header) != nil || header.Partitions < 1 || header.Partitions > partitionsMax {
				return header, nil, 0, errors.New("line 1 is not that of an ack log")
			}
			acked = make([]int64, header.Partitions)
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return header, nil, 0, fmt.Errorf("line %d has %d fields", number, len(fields))
		}
		partition, errPartition := strconv.ParseInt(fields[0], 10, 32)
		count, errCount := strconv.ParseInt(fields[2], 10, 32)
		if errPartition != nil || errCount != nil || partition < 0 || partition >= int64(header.Partitions) || count < 1 {
			return header, nil, 0, fmt.Errorf("line %d is malformed", number)
		}
		acked[partition] += count
	}
}
