package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// nodeMetrics are the samples of a node's /metrics by their full name, labels
// included.
type nodeMetrics map[string]float64

func scrape(ctx context.Context, url string) (nodeMetrics, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", response.Status)
	}
	return parseMetrics(response.Body)
}

// parseMetrics reads Prometheus' text format without time stamps, as nodes
// write it.
func parseMetrics(r io.Reader) (nodeMetrics, error) {
	m := make(nodeMetrics)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		if end < 0 {
			return nil, fmt.Errorf("metrics: line %q", line)
		}
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: line %q: %w", line, err)
		}
		m[strings.TrimSpace(line[:end])] = value
	}
	return m, lines.Err()
}

// Counters of a node by the operation on the store.
const (
	storeRequests = "wadi_store_requests_total"
	storeBytes    = "wadi_store_bytes_total"
)

// sum adds up a counter over some operations or, if none is given, over all.
func (m nodeMetrics) sum(counter string, ops ...string) float64 {
	sum := 0.0
	for name, value := range m {
		labels, ok := strings.CutPrefix(name, counter+"{")
		if !ok {
			continue
		}
		wanted := len(ops) == 0
		for _, op := range ops {
			wanted = wanted || strings.Contains(labels, `op="`+op+`"`)
		}
		if wanted {
			sum += value
		}
	}
	return sum
}
