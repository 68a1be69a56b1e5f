package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/localstack"
)

// shared is a node that all tests and examples of the package use, with topics of
// their own, built and started when the first asks for it.
var shared struct {
	sync.Once
	dir  string
	node *localstack.Node
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func startShared() {
	ctx := context.Background()
	if shared.dir, shared.err = os.MkdirTemp("", "wadi-client-"); shared.err != nil {
		return
	}
	var binary string
	if binary, shared.err = localstack.BuildWadi(ctx, shared.dir); shared.err != nil {
		return
	}
	shared.node, shared.err = localstack.StartNode(ctx, localstack.NodeOptions{
		Binary: binary, Store: "file://" + filepath.ToSlash(filepath.Join(shared.dir, "store")), DataDir: filepath.Join(shared.dir, "data"),
	})
}

func stopShared() error {
	var err error
	if shared.node != nil {
		err = shared.node.Stop()
	}
	if shared.dir != "" {
		err = errors.Join(err, os.RemoveAll(shared.dir))
	}
	http.DefaultClient.CloseIdleConnections()
	return err
}

// nodeURL is the URL of a node that runs.
func nodeURL() string {
	shared.Do(startShared)
	if shared.err != nil {
		panic(shared.err)
	}
	return shared.node.URL
}

// dial returns a Client of a node that runs, with a topic of its own.
func dial(t testing.TB, partitions int32) (*client.Client, string) {
	t.Helper()
	c, err := client.New(client.Config{Servers: []string{nodeURL()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	name := strings.ReplaceAll(t.Name(), "/", ".")
	if _, created, err := c.CreateTopic(t.Context(), name, client.TopicSettings{Partitions: partitions}); err != nil || !created {
		t.Fatalf("create topic: %v, %v", created, err)
	}
	t.Cleanup(func() {
		// Another run of the same test wants the name again.
		if err := c.DeleteTopic(context.Background(), name); err != nil && !errors.Is(err, client.ErrTopicNotFound) {
			t.Error(err)
		}
	})
	return c, name
}
