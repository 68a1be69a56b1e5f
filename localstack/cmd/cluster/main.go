// Command cluster runs a MinIO, nodes and an nginx in front of them on this machine,
// until Ctrl-C or SIGTERM:
//
//	cluster start -dir wadi-data/cluster -nodes 3 -wadi bin/wadi
//
// From a second terminal it can be looked at and changed while it runs:
//
//	cluster status
//	cluster add
//	cluster remove 2
//	cluster restart 2
//
// The two talk over a socket in the folder. All data is in the folder and is there
// at the next start.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/wadilog/wadi/localstack"
)

const usage = `usage: cluster start|status|add|remove N|restart N [flags]`

var errUsage = errors.New(usage)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	switch {
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	command, args := args[0], args[1:]
	flags := flag.NewFlagSet("cluster "+command, flag.ContinueOnError)
	dir := flags.String("dir", "wadi-data/cluster", "folder for data, logs and the socket")
	o := localstack.ClusterOptions{}
	flags.IntVar(&o.Nodes, "nodes", 3, "nodes at the start")
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "host:port of nginx")
	flags.StringVar(&o.Binary, "wadi", "bin/wadi", "the wadi command")
	var node string
	if command == "remove" || command == "restart" {
		if len(args) == 0 || args[0] == "" {
			return fmt.Errorf("which node? %w", errUsage)
		}
		node, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: %w", err, errUsage)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q: %w", flags.Arg(0), errUsage)
	}
	o.Dir = *dir
	switch command {
	case "start":
		return start(ctx, o, out)
	case "status":
		return ask(ctx, *dir, "GET", "/", out)
	case "add":
		return ask(ctx, *dir, "POST", "/nodes", out)
	case "remove":
		return ask(ctx, *dir, "DELETE", "/nodes/"+nodeName(node), out)
	case "restart":
		return ask(ctx, *dir, "POST", "/nodes/"+nodeName(node)+"/restart", out)
	}
	return fmt.Errorf("%q: %w", command, errUsage)
}

// start runs a cluster until ctx ends.
func start(ctx context.Context, o localstack.ClusterOptions, out io.Writer) (err error) {
	fmt.Fprintln(out, "starting MinIO, nodes and nginx; the first time MinIO is built from source, which takes some minutes")
	c, err := localstack.StartCluster(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(out, "stopping")
		if err = errors.Join(err, c.Stop()); err == nil {
			fmt.Fprintln(out, "all is stopped")
		}
	}()
	control, err := listen(c)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s\n", greeting(ctx, c))
	return control.serve(ctx)
}
