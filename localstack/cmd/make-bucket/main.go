// Command make-bucket makes a bucket on an S3-compatible store, as soon as that
// answers, and does nothing if it is there. The credentials are in AWS_ACCESS_KEY_ID
// and AWS_SECRET_ACCESS_KEY. docker-compose.yml uses it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/wadilog/wadi/localstack"
)

func main() {
	endpoint := flag.String("endpoint", "http://127.0.0.1:9000", "URL of the store")
	bucket := flag.String("bucket", "wadi", "name of the bucket")
	timeout := flag.Duration("timeout", time.Minute, "how long to wait for the store")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	err := localstack.MakeBucket(ctx, &localstack.MinIO{
		Endpoint: *endpoint, Bucket: *bucket,
		AccessKey: os.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "make-bucket:", err)
		os.Exit(1)
	}
}
