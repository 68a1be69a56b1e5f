// Command s3-shape makes a local object store answer as slowly as S3 does:
//
//	s3-shape --upstream http://127.0.0.1:9000 --listen 127.0.0.1:9001
//
// Nodes then use http://127.0.0.1:9001 as their endpoint. The latencies are given
// as median and 99% quantile; `s3-shape --help` prints those that S3 has from a
// machine in its region, which are the defaults. It runs until a signal comes.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/wadilog/wadi/localstack/s3shape"
)

// latency is a flag of the form 40ms/200ms.
type latency struct{ value *s3shape.Latency }

func (l latency) String() string {
	if l.value == nil {
		return ""
	}
	return l.value.P50.String() + "/" + l.value.P99.String()
}

func (l latency) Set(text string) error {
	p50, p99, ok := strings.Cut(text, "/")
	if !ok {
		return fmt.Errorf("%q is not a median and a 99%% quantile as in 40ms/200ms", text)
	}
	var err error
	if l.value.P50, err = time.ParseDuration(p50); err != nil {
		return err
	}
	l.value.P99, err = time.ParseDuration(p99)
	return err
}

func main() {
	shape := s3shape.DefaultShape()
	listen := flag.String("listen", "127.0.0.1:9001", "`address` to listen on")
	upstream := flag.String("upstream", "http://127.0.0.1:9000", "`URL` of the store")
	for name, value := range map[string]*s3shape.Latency{
		"put": &shape.Put, "put-if-absent": &shape.PutIfAbsent, "get": &shape.Get, "list": &shape.List, "delete": &shape.Delete,
	} {
		flag.Var(latency{value}, name, "`p50/p99` of such requests")
	}
	flag.Float64Var(&shape.SlowDown, "slow-down", shape.SlowDown, "share of requests that are refused with 503")
	flag.Uint64Var(&shape.Seed, "seed", shape.Seed, "of what is drawn")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *upstream, shape); err != nil {
		fmt.Fprintln(os.Stderr, "s3-shape:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, upstream string, shape s3shape.Shape) error {
	store, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	if store.Scheme != "http" || store.Port() == "" {
		return fmt.Errorf("upstream %q is not of the form http://host:port", upstream)
	}
	proxy, err := s3shape.New(store.Host, shape)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return proxy.Run(ctx, listener)
}
