package main

import (
	"context"
	"errors"
	"log/slog"
)

// runNode runs a node until ctx ends, then drains it.
func runNode(_ context.Context, _ nodeOptions, _ *slog.Logger) error {
	return errors.New("not wired yet")
}
