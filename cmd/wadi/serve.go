package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/catalog/journal"
)

// nodeOptions is what serve and dev ask of a node.
type nodeOptions struct {
	Listen               string        // host:port
	PeerListen           string        // host:port for requests of other nodes
	Advertise            string        // URL at which other nodes reach PeerListen; "" for the address it listens on
	PeerSecret           string        // that nodes show each other; "" for one derived from the cluster's id
	Store                string        // URL of the object store
	DataDir              string        // folder of this node's own state; "" without WAL
	Ingest               bool          // roles
	Reader               bool          //
	Tiering              bool          //
	WAL                  bool          // offer acks=1
	Presign              bool          // give out URLs of objects
	MemoryLimit          int64         // bytes that the process should stay below
	CacheBytes           int64         // of the block cache
	FlushBytes           int64         // size at which a segment is sealed
	FlushInterval        time.Duration // age at which a segment is sealed
	PutBudget            float64       // PUTs per second; 0: no ceiling
	AutoCreateTopics     bool          // on produce to an unknown topic
	AutoCreatePartitions int32         // of such a topic
	GarbageGrace         time.Duration // for which objects without records stay in the store
	Compaction           bool          // join small extents; only with the role
	CompactionMinAge     time.Duration // of what is compacted
	CompactionTarget     int64         // bytes of a compacted segment
	CompactionRate       int64         // bytes per second that compaction reads at most
	RequestTimeout       time.Duration // for one request; long polls and streams have their own
	IdleTimeout          time.Duration // of a connection without a request
	ConnectionLimit      int           // open connections; 0: what memory and open files allow
	AccessLog            bool          // every request at level info
	DrainDelay           time.Duration // from the signal to the first request that is refused
	DrainTimeout         time.Duration // from the signal to the exit
	FeatureLevel         uint32        // to which the catalog may be raised
	Pprof                string        // address for /debug/pprof; "": none

	// Started is called once the node answers requests, with the address that
	// it listens on. May be nil.
	Started func(net.Addr)
}

// The roles of --roles.
const (
	roleIngest  = "ingest"
	roleReader  = "reader"
	roleTiering = "tiering"
)

// cacheShare is the part of the memory limit that the block cache gets unless
// --cache-bytes says otherwise.
const cacheShare = 4

// memoryLimitMin is the least a node can do with.
const memoryLimitMin = 128 << 20

// autoPartitionsMax bounds --auto-create-partitions.
const autoPartitionsMax = 10_000

// The bounds of --compaction-target and --compaction-rate. Above the largest target
// the parts of an upload would be more than S3 takes.
const (
	compactionTargetMin = 1 << 20
	compactionTargetMax = 16 << 30
	compactionRateMin   = 1 << 10
)

// connectionLimitMax bounds --connection-limit.
const connectionLimitMax = 1_000_000

// nodeFlags holds the flags of serve and dev as they were given.
type nodeFlags struct {
	options   nodeOptions
	roles     []string
	wal       onOff
	compact   onOff
	presign   onOff
	pprof     string
	logFormat string
	logLevel  string
}

func (f *nodeFlags) define(cmd *cobra.Command, dev bool) {
	o, flags := &f.options, cmd.Flags()
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	flags.StringVar(&o.PeerListen, "peer-listen", "127.0.0.1:0", "`address` to listen on for other nodes; never open to clients")
	flags.StringVar(&o.Advertise, "advertise", "", "`URL` at which other nodes reach --peer-listen (default its address)")
	flags.StringVar(&o.PeerSecret, "peer-secret", "", "`secret` that nodes show each other (default one that the store's content gives)")
	store, dataDir := "`URL` of the object store: s3://bucket/prefix?endpoint=…, file:///path or mem://", "`folder` for the write-ahead buffer"
	if dev {
		store += " (default the folder store in --data-dir)"
		flags.StringVar(&o.DataDir, "data-dir", "./wadi-data", dataDir+" and the store")
	} else {
		flags.StringVar(&o.DataDir, "data-dir", "", dataDir)
	}
	flags.StringVar(&o.Store, "store", "", store)
	f.roles = []string{roleIngest, roleReader, roleTiering}
	flags.Var(&words{value: &f.roles, known: slices.Clone(f.roles)}, "roles", "what this node does")
	f.wal = true
	flags.Var(&f.wal, "wal", "write-ahead buffer, needed for acks=1")
	bytesFlag(flags, &o.MemoryLimit, "memory-limit", 512<<20, "memory that the node stays below")
	bytesFlag(flags, &o.CacheBytes, "cache-bytes", 0, "block cache (default a quarter of --memory-limit)")
	bytesFlag(flags, &o.FlushBytes, "flush-bytes", 8<<20, "seal a segment at this size")
	flags.DurationVar(&o.FlushInterval, "flush-interval", 250*time.Millisecond, "seal a segment at this age")
	flags.Float64Var(&o.PutBudget, "put-budget", 0, "PUTs per second at most, 0 for no ceiling")
	flags.BoolVar(&o.AutoCreateTopics, "auto-create-topics", dev, "create a topic when it is first produced to")
	flags.Int32Var(&o.AutoCreatePartitions, "auto-create-partitions", 1, "partitions of such a topic")
	flags.DurationVar(&o.GarbageGrace, "garbage-grace", time.Hour, "time to keep objects in the store that hold no records any more")
	f.compact = true
	flags.Var(&f.compact, "compaction", "join small segments into large ones, on a node with the role tiering")
	flags.DurationVar(&o.CompactionMinAge, "compaction-min-age", 10*time.Minute, "age from which on records are compacted")
	bytesFlag(flags, &o.CompactionTarget, "compaction-target", 512<<20, "size of a compacted segment")
	bytesFlag(flags, &o.CompactionRate, "compaction-rate", 64<<20, "bytes per second that compaction reads at most; an eighth of it while the node is busy")
	f.presign = true
	flags.Var(&f.presign, "presign", "give out presigned URLs of objects that hold one topic alone, for direct replay")
	flags.DurationVar(&o.RequestTimeout, "request-timeout", 30*time.Second, "longest time for one request")
	flags.DurationVar(&o.IdleTimeout, "idle-timeout", 2*time.Minute, "close a connection that had no request for so long; longer than the load balancer does")
	flags.IntVar(&o.ConnectionLimit, "connection-limit", 0, "open connections at most (default 8192, or fewer if --memory-limit or ulimit -n is small)")
	flags.BoolVar(&o.AccessLog, "access-log", false, "log every request")
	flags.DurationVar(&o.DrainDelay, "drain-delay", 0, "time to go on serving after SIGTERM, with /readyz at 503")
	flags.DurationVar(&o.DrainTimeout, "drain-timeout", 30*time.Second, "longest time to finish after SIGTERM")
	flags.Uint32Var(&o.FeatureLevel, "feature-level", catalog.FeatureLevel, "feature `level` to which the catalog may be raised; lower while older versions run beside this one")
	flags.StringVar(&f.pprof, "pprof", "off", "`address` for /debug/pprof, off for none")
	choiceFlag(cmd, &f.logFormat, "log-format", "text", "form of the log", "text", "json")
	choiceFlag(cmd, &f.logLevel, "log-level", "info", "least level of the log", "debug", "info", "warn", "error")
}

// resolve fills in what depends on other flags, and checks the whole.
func (f *nodeFlags) resolve(dev bool) (nodeOptions, error) {
	o := f.options
	o.Ingest = slices.Contains(f.roles, roleIngest)
	o.Reader = slices.Contains(f.roles, roleReader)
	o.Tiering = slices.Contains(f.roles, roleTiering)
	// Only a node that takes records has any use for the buffer.
	o.WAL = bool(f.wal) && o.Ingest
	o.Compaction = bool(f.compact) && o.Tiering
	o.Presign = bool(f.presign)
	if f.pprof != "off" {
		o.Pprof = f.pprof
	}
	if dev && o.Store == "" {
		folder, err := filepath.Abs(filepath.Join(o.DataDir, "store"))
		if err != nil {
			return o, err
		}
		o.Store = (&url.URL{Scheme: "file", Path: folder}).String()
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = o.MemoryLimit / cacheShare
	}
	if err := o.validate(); err != nil {
		return o, &usageError{err}
	}
	return o, nil
}

func (o nodeOptions) validate() error {
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		return fmt.Errorf("--listen %q is not host:port", o.Listen)
	}
	if _, _, err := net.SplitHostPort(o.PeerListen); err != nil {
		return fmt.Errorf("--peer-listen %q is not host:port", o.PeerListen)
	}
	if o.Advertise == "" && unspecified(o.PeerListen) {
		return fmt.Errorf("--peer-listen %s is every address of this machine; say with --advertise at which one other nodes reach it", o.PeerListen)
	}
	if o.Pprof != "" {
		if _, _, err := net.SplitHostPort(o.Pprof); err != nil {
			return fmt.Errorf("--pprof %q is neither off nor host:port", o.Pprof)
		}
	}
	if o.Advertise != "" {
		if u, err := url.Parse(o.Advertise); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("--advertise %q is not an http URL", o.Advertise)
		} else if unspecified(net.JoinHostPort(u.Hostname(), "0")) {
			return fmt.Errorf("--advertise %q is no address at which others reach this node", o.Advertise)
		} else if len(o.Advertise) > journal.WriterBytesMax {
			return fmt.Errorf("--advertise is longer than %d bytes", journal.WriterBytesMax)
		}
	}
	switch {
	case o.Store == "":
		return errors.New("--store is needed")
	case !strings.Contains(o.Store, "://"):
		return fmt.Errorf("--store %q is not a URL such as s3://bucket/prefix or file:///path", o.Store)
	case o.WAL && o.DataDir == "":
		return errors.New("--data-dir is needed for the write-ahead buffer; without one use --wal=off")
	case o.MemoryLimit < memoryLimitMin:
		return fmt.Errorf("--memory-limit is below %s", humanize.IBytes(memoryLimitMin))
	case o.CacheBytes >= o.MemoryLimit:
		return errors.New("--cache-bytes is not below --memory-limit")
	case o.FlushBytes < 1 || o.FlushBytes > o.MemoryLimit/4:
		return errors.New("--flush-bytes is not between 1 and a quarter of --memory-limit")
	case o.FlushInterval <= 0:
		return errors.New("--flush-interval is not above 0")
	case o.PutBudget < 0 || math.IsNaN(o.PutBudget) || math.IsInf(o.PutBudget, 0):
		return errors.New("--put-budget is not a number of PUTs per second, or 0")
	case o.AutoCreatePartitions < 1 || o.AutoCreatePartitions > autoPartitionsMax:
		return fmt.Errorf("--auto-create-partitions is not between 1 and %d", autoPartitionsMax)
	case o.RequestTimeout <= 0:
		return errors.New("--request-timeout is not above 0")
	case o.GarbageGrace < o.RequestTimeout:
		return errors.New("--garbage-grace is below --request-timeout: a fetch could lose what it reads")
	case o.CompactionMinAge < 0:
		return errors.New("--compaction-min-age is below 0")
	case o.CompactionTarget < compactionTargetMin || o.CompactionTarget > compactionTargetMax:
		return fmt.Errorf("--compaction-target is not between %s and %s", humanize.IBytes(compactionTargetMin), humanize.IBytes(compactionTargetMax))
	case o.CompactionRate < compactionRateMin:
		return fmt.Errorf("--compaction-rate is below %s", humanize.IBytes(compactionRateMin))
	case o.IdleTimeout <= 0:
		return errors.New("--idle-timeout is not above 0")
	case o.ConnectionLimit < 0 || o.ConnectionLimit > connectionLimitMax:
		return fmt.Errorf("--connection-limit is not between 1 and %d", connectionLimitMax)
	case o.DrainTimeout <= 0:
		return errors.New("--drain-timeout is not above 0")
	case o.FeatureLevel < 1 || o.FeatureLevel > catalog.FeatureLevel:
		return fmt.Errorf("--feature-level is not between 1 and %d", catalog.FeatureLevel)
	case o.DrainDelay < 0 || o.DrainDelay >= o.DrainTimeout:
		return errors.New("--drain-delay is not between 0 and --drain-timeout")
	}
	return nil
}

func (f *nodeFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	// The flag takes nothing but names of levels.
	_ = level.UnmarshalText([]byte(f.logLevel))
	options := &slog.HandlerOptions{Level: level}
	if f.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// nodeRunner is runNode, or what a test puts in its place.
type nodeRunner func(context.Context, nodeOptions, *slog.Logger) error

func newServeCommand(env *environment, start nodeRunner) *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "serve --store URL",
		Short: "Run a node",
		Long: `Run a node. It keeps nothing but the write-ahead buffer of acks=1 in --data-dir;
everything else is in the store, which any number of nodes share.

On SIGTERM or SIGINT the node turns /readyz to 503, finishes what it holds and
ends. A second signal ends it at once.`,
		Example: `  wadi serve --store 's3://logs/prod?region=eu-central-1' --data-dir /var/lib/wadi --listen 0.0.0.0:8080
  wadi serve --store 's3://wadi?endpoint=http://127.0.0.1:9000' --wal=off`,
		Args: positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := f.resolve(false)
			if err != nil {
				return err
			}
			return start(cmd.Context(), o, f.logger(env.err))
		},
	}
	f.define(cmd, false)
	return cmd
}

func newDevCommand(env *environment, start nodeRunner) *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, on a folder",
		Long: `Run a node with all roles, its store and write-ahead buffer in ./wadi-data and
topics created when they are first produced to. Nothing else is needed.

The folder store is as durable as the disk it is on.`,
		Args: positional(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := f.resolve(true)
			if err != nil {
				return err
			}
			o.Started = func(addr net.Addr) { _, _ = io.WriteString(env.out, banner(o, addr)) }
			return start(cmd.Context(), o, f.logger(env.err))
		},
	}
	f.define(cmd, true)
	return cmd
}

// banner greets someone who started a node to try it.
func banner(o nodeOptions, addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	base := "http://" + net.JoinHostPort(host, port)
	topics := "Topics are created when they are first produced to, with " + humanize.Comma(int64(o.AutoCreatePartitions)) + " partition"
	if o.AutoCreatePartitions > 1 {
		topics += "s"
	}
	if !o.AutoCreateTopics {
		topics = "Create the topic first: wadi topics create hello"
	}
	end := "Ctrl-C ends it; what was acknowledged is there at the next start"
	if strings.HasPrefix(o.Store, "mem:") {
		end = "Ctrl-C ends it, and all that was stored is gone"
	}
	return fmt.Sprintf(`
  Wadi is up at %[1]s
  Data is in %[2]s

  Try it:
    curl %[1]s/v1/topics/hello/records -H 'Content-Type: text/plain' -d 'first light'
    curl '%[1]s/v1/topics/hello/partitions/0/records?offset=earliest'

  %[3]s.
  %[4]s.

`, base, o.Store, topics, end)
}
