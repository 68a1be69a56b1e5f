package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/wadilog/wadi/client"
	"github.com/wadilog/wadi/localstack"
)

// What records hold, and how they are compressed: record batches by the client
// that sends them, NDJSON by the server as its topic says.
var (
	bodyPayloads     = []string{"random", "log"}
	bodyCompressions = []string{"none", "lz4", "zstd"}
	bodyFormats      = []string{"recordbatch", "ndjson"}
)

const bodyPartitions = 8

func eachBody(do func(format, payload, compression string) error) error {
	for _, format := range bodyFormats {
		for _, payload := range bodyPayloads {
			for _, compression := range bodyCompressions {
				if err := do(format, payload, compression); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func bodyFigure(format, payload, compression string) string {
	return strings.Join([]string{"bodies", format, payload, compression}, ".")
}

// bodies saturates a node with each kind of bodies, with raw PUTs before and
// between.
func (s *sitting) bodies(ctx context.Context, dir string, raw *rawStore) error {
	return s.withLog(ctx, s.nodeOptions(dir, "bodies"), func(node *localstack.Node) error {
		c, err := client.New(client.Config{Servers: []string{node.URL}})
		if err != nil {
			return err
		}
		defer c.Close()
		var rates []rate
		err = eachBody(func(format, payload, compression string) error {
			if compression == bodyCompressions[0] {
				r, err := raw.put(ctx, s.options.phase()/2)
				if err != nil {
					return err
				}
				rates = append(rates, r)
			}
			topic := strings.Join([]string{format, payload, compression}, "-")
			settings := client.TopicSettings{Partitions: bodyPartitions, Config: map[string]string{"compression.type": compression}}
			if _, _, err := c.CreateTopic(ctx, topic, settings); err != nil {
				return err
			}
			args := []string{"--payload", payload}
			connections := saturatingText
			if format == "recordbatch" {
				connections = saturating
				args = append(args, "--compression", compression)
			}
			return s.measure(ctx, node, bodyFigure(format, payload, compression), s.produceArgs(topic, format, connections, args...)...)
		})
		s.addRates("bodies.raw.put", rates)
		return err
	})
}

// bodyRows are the lines of the table for kinds of bodies.
func bodyRows(bool) []row {
	titles := map[string]string{"recordbatch": "record batches", "ndjson": "NDJSON"}
	rows := []row{{title: "raw PUT beside these bodies", figure: "bodies.raw.put.bytes_per_second", unit: megabytesPerSecond}}
	_ = eachBody(func(format, payload, compression string) error {
		name := bodyFigure(format, payload, compression)
		rows = append(rows, row{
			title: fmt.Sprintf("%s, %s payload, %s", titles[format], payload, compression), figure: name + ".bytes_per_second",
			unit: megabytesPerSecond, through: "bodies.raw.put.bytes_per_second", load: name,
		})
		return nil
	})
	return rows
}
