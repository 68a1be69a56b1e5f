// Package ingest takes records in: it partitions, batches, buffers and commits them.
package ingest
