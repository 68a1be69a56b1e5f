package catalog

import (
	"context"
	"errors"
)

// Errors of the running catalog.
var (
	// ErrUnknownOutcome says that an edit may or may not have been committed.
	ErrUnknownOutcome = errors.New("the outcome of the edit is unknown")
	// ErrNotConfirmed says that the replica could not be made current in time.
	ErrNotConfirmed = errors.New("the catalog cannot be confirmed at the moment")
	// ErrBusy says that the leader's queue is full; nothing was taken.
	ErrBusy = errors.New("the catalog's queue is full")
	// ErrNotReady says that the replica has not been loaded yet.
	ErrNotReady = errors.New("the catalog is not loaded yet")
)

// Catalog is a stub until the real one lands.
type Catalog struct{}

// Ready is closed once the replica is loaded.
func (c *Catalog) Ready() <-chan struct{} { panic("stub") }

// View returns the replica as it is; it may be behind. Nil before Ready.
func (c *Catalog) View() *State { panic("stub") }

// Confirm returns a view that is current as of the call, or ErrNotConfirmed.
func (c *Catalog) Confirm(ctx context.Context) (*State, error) { panic("stub") }

// Propose commits one edit and returns what became of it. Its error is one of
// the above or ctx's (wrapped with ErrUnknownOutcome if it may have been
// committed); that the edit was refused is in Result.Err.
func (c *Catalog) Propose(ctx context.Context, e Edit) (Result, error) { panic("stub") }
