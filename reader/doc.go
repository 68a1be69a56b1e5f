// Package reader serves records from the bucket through a cache.
package reader
