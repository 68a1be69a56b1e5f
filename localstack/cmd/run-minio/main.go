// Command run-minio starts a MinIO on the loopback interface, runs a command
// against it and stops it when the command has ended:
//
//	run-minio -dir wadi-data/minio -- bin/wadi serve --data-dir wadi-data/node
//
// The command finds the store's URL in WADI_STORE and the credentials in
// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. It gets SIGINT and SIGTERM passed on,
// and its exit status becomes that of run-minio. Without a command, MinIO runs until
// a signal comes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/wadilog/wadi/localstack"
)

func main() {
	dir := flag.String("dir", "wadi-data/minio", "folder for MinIO's data")
	flag.Parse()
	status, err := run(*dir, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "run-minio:", err)
	}
	os.Exit(status)
}

func run(dir string, command []string) (status int, err error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	minio, err := start(dir, signals)
	if err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := minio.Stop(); stopErr != nil {
			status, err = 1, errors.Join(err, stopErr)
		}
	}()
	fmt.Fprintf(os.Stderr, "run-minio: MinIO is at %s; store %s\n", minio.Endpoint, minio.StoreURL(""))
	if len(command) == 0 {
		for _, variable := range minio.Env() {
			fmt.Fprintf(os.Stderr, "run-minio: export %s\n", variable)
		}
		<-signals
		return 0, nil
	}
	return runCommand(minio, command, signals)
}

// start starts MinIO, unless a signal comes first.
func start(dir string, signals <-chan os.Signal) (*localstack.MinIO, error) {
	fmt.Fprintln(os.Stderr, "run-minio: starting MinIO; the first time it is built from source, which takes some minutes")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan struct{})
	defer close(started)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-started:
		}
	}()
	return localstack.StartMinIO(ctx, dir)
}

// runCommand runs the command in a process group of its own, so that a Ctrl-C
// reaches it once, by way of signals.
func runCommand(minio *localstack.MinIO, command []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), minio.Env()...), "WADI_STORE="+minio.StoreURL(""))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 1, err
			}
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return max(1, exit.ExitCode()), nil
			}
			if err != nil {
				return 1, err
			}
			return 0, nil
		}
	}
}
