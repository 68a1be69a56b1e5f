// Package hedging decides when a request that is slow is sent a second time
// beside the first: a Window tells what is slow among the latest of like size, and
// a Budget how many may be. Both are safe for concurrent use, and call nobody.
package hedging
