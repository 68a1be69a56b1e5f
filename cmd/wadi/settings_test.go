package main

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wadilog/wadi/catalog"
)

// parseNode runs serve or dev with a node that only notes its options.
func parseNode(t *testing.T, vars map[string]string, args ...string) (nodeOptions, outcome) {
	t.Helper()
	var got nodeOptions
	var out, errOut strings.Builder
	env := &environment{in: strings.NewReader(""), out: &out, err: &errOut, getenv: func(name string) string { return vars[name] }}
	root := newRootCommand(env)
	note := func(_ context.Context, o nodeOptions, _ *slog.Logger) error {
		got = o
		if o.Started != nil {
			o.Started(&net.TCPAddr{IP: net.IPv4zero, Port: 8123})
		}
		return nil
	}
	for _, cmd := range root.Commands() {
		if cmd.Name() == "serve" || cmd.Name() == "dev" {
			root.RemoveCommand(cmd)
		}
	}
	root.AddCommand(newServeCommand(env, note), newDevCommand(env, note))
	status := execute(t.Context(), env, root, args)
	return got, outcome{status, out.String(), errOut.String()}
}

func TestSettingsPrecedence(t *testing.T) {
	file := writeFile(t, "wadi.yaml", []byte("store: s3://file\nmemory-limit: 1GiB\nflush-bytes: 1MiB\nwal: off\nroles: [ingest, reader]\nput-budget: 2.5\nserver: http://file:1\n"))
	vars := map[string]string{"WADI_CONFIG": file, "WADI_MEMORY_LIMIT": "2GiB", "WADI_FLUSH_BYTES": "2MiB", "WADI_AUTO_CREATE_TOPICS": "true", "WADI_LISTEN": ""}
	got, o := parseNode(t, vars, "serve", "--flush-bytes", "3MiB")
	if o.status != exitOK {
		t.Fatal(o.err)
	}
	want := nodeOptions{
		Listen: "127.0.0.1:8080", PeerListen: "127.0.0.1:0", Store: "s3://file", Ingest: true, Reader: true, Presign: true,
		MemoryLimit: 2 << 30, CacheBytes: 512 << 20, FlushBytes: 3 << 20, FlushInterval: 250 * time.Millisecond, PutBudget: 2.5,
		AutoCreateTopics: true, AutoCreatePartitions: 1, GarbageGrace: time.Hour,
		CompactionMinAge: 10 * time.Minute, CompactionTarget: 512 << 20, CompactionRate: 64 << 20, RequestTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, DrainTimeout: 30 * time.Second,
		FeatureLevel: catalog.FeatureLevel,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("options\n%+v, want\n%+v", got, want)
	}
	other := writeFile(t, "other.yaml", []byte("store: s3://other\nwal: off\n"))
	if got, o := parseNode(t, vars, "serve", "--config", other); o.status != exitOK || got.Store != "s3://other" {
		t.Errorf("--config goes before WADI_CONFIG: %s %+v", o.err, got)
	}
	if got, o := parseNode(t, vars, "--config", other, "serve"); o.status != exitOK || got.Store != "s3://other" {
		t.Errorf("--config before the command: %s %+v", o.err, got)
	}
}

func TestSettingsFileMistakes(t *testing.T) {
	for body, want := range map[string]string{
		"":                                      "",
		"# nothing\n":                           "",
		"null\n":                                "",
		"listen: 1.2.3.4:5\n":                   "",
		"acks: all\npartitions: 3\n":            "", // of other commands
		"stroe: s3://x\n":                       `line 1: unknown setting "stroe"`,
		"listen: a:1\nlog_level: debug\n":       `line 2: unknown setting "log_level"`,
		"listen: a:1\nlisten: b:1\n":            "listen is given twice",
		"listen: {a: b}\n":                      "neither a value nor a list",
		"listen:\n":                             "neither a value nor a list",
		"roles: [ingest, [reader]]\n":           "neither a value nor a list",
		"[listen]\n":                            "not a map",
		"listen: a:1\n---\nlisten: b:1\n":       "more than one document",
		"memory-limit: lots\n":                  `memory-limit: "lots": "lots" is not a size`,
		"flush-interval: 3\n":                   "flush-interval",
		"config: other.yaml\n":                  "unknown setting",
		"listen: [\n":                           "yaml",
		"auto-create-topics: perhaps\n":         "auto-create-topics",
		"listen: " + strings.Repeat("x", 2<<20): "longer than",
	} {
		path := writeFile(t, "wadi.yaml", []byte(body))
		_, o := parseNode(t, nil, "dev", "--config", path)
		if want == "" {
			if o.status != exitOK {
				t.Errorf("%q: %s", body, o.err)
			}
			continue
		}
		if o.status != exitUsage || !strings.Contains(o.err, want) || strings.Count(o.err, "\n") != 1 {
			t.Errorf("%.40q: status %d, %q, want %q", body, o.status, o.err, want)
		}
	}
}

func TestSettingsOfTheEnvironmentAreChecked(t *testing.T) {
	_, o := parseNode(t, map[string]string{"WADI_FLUSH_INTERVAL": "soon", "WADI_WAL": "maybe"}, "dev")
	if o.status != exitUsage || !strings.Contains(o.err, `WADI_FLUSH_INTERVAL="soon"`) || !strings.Contains(o.err, `WADI_WAL="maybe"`) {
		t.Errorf("status %d: %s", o.status, o.err)
	}
}

func TestEveryFlagOfServe(t *testing.T) {
	got, o := parseNode(t, nil, "serve", "--listen", "[::1]:0", "--store", "s3://b/p?endpoint=http://127.0.0.1:9000", "--data-dir", "/d",
		"--roles", "tiering,ingest", "--peer-listen", "[::1]:8081", "--advertise", "http://node-1:8081", "--peer-secret", "s", "--memory-limit", "1GB", "--flush-bytes", "4MiB",
		"--flush-interval", "1s", "--put-budget", "10", "--wal=on", "--auto-create-topics", "--auto-create-partitions", "4", "--log-format", "json",
		"--log-level", "debug", "--request-timeout", "5s", "--idle-timeout", "11m", "--connection-limit", "77", "--access-log", "--drain-delay", "2s", "--drain-timeout", "6s", "--cache-bytes", "100MB", "--pprof", "127.0.0.1:6060", "--feature-level", "1",
		"--garbage-grace", "2h", "--compaction=on", "--compaction-min-age", "1m", "--compaction-target", "64MiB", "--compaction-rate", "1MiB", "--presign=off")
	if o.status != exitOK {
		t.Fatal(o.err)
	}
	want := nodeOptions{
		Listen: "[::1]:0", Store: "s3://b/p?endpoint=http://127.0.0.1:9000", DataDir: "/d",
		PeerListen: "[::1]:8081", Advertise: "http://node-1:8081", PeerSecret: "s",
		Ingest: true, Tiering: true, WAL: true, MemoryLimit: 1e9, CacheBytes: 1e8, FlushBytes: 4 << 20, FlushInterval: time.Second,
		PutBudget: 10, AutoCreateTopics: true, AutoCreatePartitions: 4, RequestTimeout: 5 * time.Second, IdleTimeout: 11 * time.Minute, ConnectionLimit: 77, AccessLog: true, DrainDelay: 2 * time.Second, DrainTimeout: 6 * time.Second,
		Pprof: "127.0.0.1:6060", FeatureLevel: 1, GarbageGrace: 2 * time.Hour,
		Compaction: true, CompactionMinAge: time.Minute, CompactionTarget: 64 << 20, CompactionRate: 1 << 20,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("options\n%+v, want\n%+v", got, want)
	}
}

func TestServeRefusesNonsense(t *testing.T) {
	for flag, value := range map[string]string{
		"--listen": "8080", "--advertise": "node-1", "--pprof": "on", "--memory-limit": "1MiB", "--cache-bytes": "1GiB", "--flush-bytes": "0",
		"--flush-interval": "0s", "--put-budget": "-1", "--auto-create-partitions": "0", "--request-timeout": "-1s", "--idle-timeout": "0s", "--connection-limit": "-1", "--drain-timeout": "0s", "--drain-delay": "30s",
		"--feature-level": "5", "--garbage-grace": "29s",
		"--compaction": "maybe", "--compaction-min-age": "-1s", "--compaction-target": "1KiB", "--compaction-rate": "0",
		"--store": "bucket", "--log-format": "xml", "--log-level": "loud", "--roles": "",
	} {
		_, o := parseNode(t, nil, "serve", "--store", "mem://", "--wal=off", flag+"="+value)
		if o.status != exitUsage || !strings.Contains(o.err, strings.TrimPrefix(flag, "--")) {
			t.Errorf("%s=%s: status %d: %s", flag, value, o.status, o.err)
		}
	}
	if _, o := parseNode(t, nil, "serve", "--store", "mem://", "--wal=off", "--advertise=http://0.0.0.0:8081"); o.status != exitUsage || !strings.Contains(o.err, "--advertise") {
		t.Errorf("an address that nobody can reach is advertised: status %d: %s", o.status, o.err)
	}
	if got, o := parseNode(t, nil, "serve", "--store", "mem://", "--roles", "reader"); o.status != exitOK || got.WAL {
		t.Errorf("a reader needs no write-ahead buffer: %+v %s", got, o.err)
	}
}

func TestDevGreets(t *testing.T) {
	got, o := parseNode(t, nil, "dev", "--data-dir", "some dir")
	if o.status != exitOK {
		t.Fatal(o.err)
	}
	folder, err := filepath.Abs("some dir/store")
	if err != nil {
		t.Fatal(err)
	}
	if want := "file://" + strings.ReplaceAll(folder, " ", "%20"); got.Store != want || got.DataDir != "some dir" || !got.WAL || !got.AutoCreateTopics {
		t.Errorf("options %+v, want store %s", got, want)
	}
	for _, want := range []string{"http://127.0.0.1:8123\n", "curl http://127.0.0.1:8123/v1/topics/hello/records ", "created when they are first produced to, with 1 partition.\n"} {
		if !strings.Contains(o.out, want) {
			t.Errorf("%q lacks %q", o.out, want)
		}
	}
	if _, o := parseNode(t, nil, "dev", "--auto-create-topics=false"); !strings.Contains(o.out, "wadi topics create hello") {
		t.Errorf("%q", o.out)
	}
}

func TestLoggerFollowsFlags(t *testing.T) {
	var log strings.Builder
	f := nodeFlags{logFormat: "json", logLevel: "warn"}
	f.logger(&log).Info("quiet")
	f.logger(&log).Warn("loud", "topic", "t")
	if got := log.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud","topic":"t"`) {
		t.Errorf("%q", got)
	}
	f = nodeFlags{logFormat: "text", logLevel: "debug"}
	log.Reset()
	f.logger(&log).Debug("fine")
	if got := log.String(); !strings.Contains(got, "msg=fine") {
		t.Errorf("%q", got)
	}
	f.logger(io.Discard).Info("dropped")
}

func TestByteSizes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1": 1, "1B": 1, "512MiB": 512 << 20, "1GB": 1e9, "1.5KiB": 1536, "8 MiB": 8 << 20, "1TiB": 1 << 40} {
		var b byteSize
		if err := b.Set(text); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
		var again byteSize
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%s: %s is %d, %v", text, b.String(), again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1XB", "10000000EiB", "9223372036854775808", "1e3"} {
		var b byteSize
		if err := b.Set(text); err == nil {
			t.Errorf("%q is taken for %d", text, b)
		}
	}
}

// Unless they are asked for, there are never more connections than memory and open
// files are there for.
func TestConnectionsFitMemoryAndOpenFiles(t *testing.T) {
	const standard = 8192
	for _, c := range []struct {
		limit  int
		memory int64
		files  int
		want   int
	}{
		{0, 4 << 30, math.MaxInt, standard},
		{0, 512 << 20, 1 << 20, 4096},
		{0, 128 << 20, 1 << 20, 1024},
		{0, 4 << 30, 4096, 1792},
		{0, 4 << 30, 100, 1},
		{100_000, 128 << 20, 1024, 100_000}, // who names a number means it
	} {
		o := nodeOptions{ConnectionLimit: c.limit, MemoryLimit: c.memory}
		if got := o.connectionsMax(standard, c.files); got != c.want {
			t.Errorf("%+v gives %d", c, got)
		}
	}
	if n := openFilesMax(); n < 64 {
		t.Errorf("%d open files", n)
	}
}
