package localstack

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	flightsTopic = "flights"
	flightsKey   = "origin"
	// lineBytesMax bounds a line of input and output.
	lineBytesMax = 1 << 20
	// ackPoll is how often the ledger of the producer is looked at.
	ackPoll = 5 * time.Millisecond
)

// FlightsOptions say how to send a file through a node.
type FlightsOptions struct {
	Wadi       string // the command
	MinIO      *MinIO
	Prefix     string // in the bucket; must be unused
	Dir        string // for data, logs and ledger
	Input      string // NDJSON, perhaps with gzip
	Partitions int
	BatchBytes int // of the producer's requests

	// Kills is how often the node is killed while lines are produced, and
	// ProducerKills how often the producer, which then resumes. They are
	// spread over the input by what is acknowledged.
	Kills         int
	ProducerKills int
	// DeleteData deletes the node's data directory after each kill.
	DeleteData bool

	Progress func(text string) // may be nil
}

// FlightsReport is what came of it.
type FlightsReport struct {
	Input        *LineDigest
	Replayed     *LineDigest
	Partitions   string // partition:records …
	Kills        int
	Produce      time.Duration
	Consume      time.Duration
	NodeCPU      time.Duration // of the node's last life
	NodePeakRSS  int64         // bytes, likewise
	ProducerTold string        // the summary that the producer printed
}

// RunFlights produces a file with `wadi produce` to a node on MinIO, kills the
// node meanwhile, reads everything back with `wadi consume`, and compares: the
// same lines, those of each key in their order, dense offsets. The error says
// what went wrong or differs.
func RunFlights(ctx context.Context, o FlightsOptions) (report FlightsReport, err error) {
	say := func(format string, args ...any) {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf(format, args...))
		}
	}
	if report.Input, err = digestFile(o.Input); err != nil {
		return report, err
	}
	say("input: %d lines, %d bytes, %d keys", report.Input.Lines, report.Input.Bytes, report.Input.Keys())
	data := filepath.Join(o.Dir, "data")
	node, err := StartNode(ctx, NodeOptions{
		Binary: o.Wadi, Store: o.MinIO.StoreURL(o.Prefix), DataDir: data, Env: o.MinIO.Env(),
		LogFile: filepath.Join(o.Dir, "node.log"),
	})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, node.Kill()) }()

	run := &flightsRun{FlightsOptions: o, node: node, data: data, say: say, ackLog: filepath.Join(o.Dir, "acks")}
	begun := time.Now()
	if err := run.produce(ctx, report.Input.Lines); err != nil {
		return report, err
	}
	report.Produce, report.Kills, report.ProducerTold = time.Since(begun), run.killed, run.told

	begun = time.Now()
	replayed := newReplayedLines()
	if err := run.consume(ctx, replayed); err != nil {
		return report, err
	}
	report.Consume, report.Replayed, report.Partitions = time.Since(begun), replayed.digest, replayed.perPartition()
	if report.NodeCPU, report.NodePeakRSS, err = node.Usage(); err != nil {
		return report, err
	}
	if err := report.Input.Compare(report.Replayed); err != nil {
		return report, fmt.Errorf("what was read differs from what was produced: %w", err)
	}
	return report, node.Stop()
}

// digestFile sums up the lines of a file by the key that the producer takes.
func digestFile(path string) (*LineDigest, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var in io.Reader = bufio.NewReaderSize(file, 1<<16)
	if strings.HasSuffix(path, ".gz") {
		if in, err = gzip.NewReader(in); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	d := NewLineDigest()
	err = eachLine(in, func(line []byte) error {
		var flight struct {
			Origin string `json:"origin"`
		}
		if err := json.Unmarshal(line, &flight); err != nil {
			return fmt.Errorf("line %d: %w", d.Lines+1, err)
		}
		d.Add([]byte(flight.Origin), line)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func eachLine(in io.Reader, do func(line []byte) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<16), lineBytesMax)
	for lines.Scan() {
		if err := do(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// flightsRun is one run under way.
type flightsRun struct {
	FlightsOptions
	node   *Node
	data   string
	ackLog string
	say    func(format string, args ...any)
	killed int
	told   string
}

func (r *flightsRun) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(r.Wadi, append([]string{name, flightsTopic, "--server", r.node.URL}, args...)...)
	cmd.Env = foreignEnv()
	return cmd
}

// produce runs the producer to its end, and kills what is to be killed.
func (r *flightsRun) produce(ctx context.Context, lines int64) error {
	messages := filepath.Join(r.Dir, "produce.log")
	out, err := os.Create(messages)
	if err != nil {
		return err
	}
	defer out.Close()
	args := []string{
		"--key-field", flightsKey, "--create", fmt.Sprint(r.Partitions), "--batch", fmt.Sprint(r.BatchBytes),
		"--ack-log", r.ackLog, r.Input,
	}
	start := func(more ...string) (*process, error) {
		cmd := r.command("produce", append(args, more...)...)
		cmd.Stdout, cmd.Stderr = out, out
		return startProcess(cmd)
	}
	producer, err := start()
	if err != nil {
		return err
	}
	defer func() { _ = producer.kill() }()
	interruptions := r.Kills + r.ProducerKills
	for i := range interruptions {
		share := lines * int64(i+1) / int64(interruptions+1)
		acked, err := r.waitForAcks(ctx, producer, share)
		if err != nil {
			return errors.Join(err, tailOf(messages))
		}
		if i%2 == 1 && i/2 < r.ProducerKills || i >= 2*r.Kills {
			r.say("kill the producer, with %d lines acknowledged", acked)
			if err := producer.kill(); err != nil {
				return err
			}
			if producer, err = start("--resume"); err != nil {
				return err
			}
			continue
		}
		r.say("kill the node, with %d lines acknowledged", acked)
		if err := r.killNode(ctx); err != nil {
			return err
		}
	}
	select {
	case <-producer.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if producer.err != nil {
		return errors.Join(fmt.Errorf("wadi produce: %w", producer.err), tailOf(messages))
	}
	text, err := os.ReadFile(messages)
	r.told = string(bytes.TrimSpace(text))
	return err
}

func (r *flightsRun) killNode(ctx context.Context) error {
	if err := r.node.Kill(); err != nil {
		return err
	}
	r.killed++
	if r.DeleteData {
		if err := os.RemoveAll(r.data); err != nil {
			return err
		}
	}
	return r.node.Restart(ctx)
}

// waitForAcks returns when so many lines are acknowledged.
func (r *flightsRun) waitForAcks(ctx context.Context, producer *process, lines int64) (int64, error) {
	tick := time.NewTicker(ackPoll)
	defer tick.Stop()
	for {
		acked, err := r.acked()
		if err != nil || acked >= lines {
			return acked, err
		}
		select {
		case <-tick.C:
		case <-producer.done:
			return acked, fmt.Errorf("wadi produce ended (%v) with %d lines acknowledged, before it was to be interrupted at %d", producer.err, acked, lines)
		case <-ctx.Done():
			return acked, ctx.Err()
		}
	}
}

// acked counts the lines in the producer's ledger: partition, base offset,
// count, first line.
func (r *flightsRun) acked() (int64, error) {
	file, err := os.Open(r.ackLog)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	total := int64(0)
	err = eachLine(file, func(line []byte) error {
		if line[0] == '#' {
			return nil
		}
		var partition, base, count, first int64
		// A line that is being written counts next time.
		if n, err := fmt.Sscan(string(line), &partition, &base, &count, &first); err == nil && n == 4 {
			total += count
		}
		return nil
	})
	return total, err
}

// consume reads all partitions with the command.
func (r *flightsRun) consume(ctx context.Context, into *replayedLines) error {
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	messages := filepath.Join(r.Dir, "consume.log")
	log, err := os.Create(messages)
	if err != nil {
		return errors.Join(err, out.Close())
	}
	defer log.Close()
	cmd := r.command("consume", "--format", replayFormat)
	cmd.Stdout, cmd.Stderr = out, log
	consumer, err := startProcess(cmd)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = consumer.kill() })
	defer stop()
	if err := eachLine(in, into.add); err != nil {
		return errors.Join(fmt.Errorf("wadi consume: %w", err), consumer.kill())
	}
	<-consumer.done
	if err := errors.Join(ctx.Err(), consumer.err); err != nil {
		return errors.Join(fmt.Errorf("wadi consume: %w", err), tailOf(messages))
	}
	return nil
}

// tailOf is the end of a file as an error.
func tailOf(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return fmt.Errorf("end of %s:\n%s", filepath.Base(path), bytes.TrimSpace(text[max(0, len(text)-logTailBytes):]))
}
