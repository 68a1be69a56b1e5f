package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strconv"

	"github.com/wadilog/wadi/client"
)

// Records are handed over one by one and travel in batches. Their order holds
// for each key, and each is written once.
func ExampleProducer() {
	ctx := context.Background()
	c, err := client.New(client.Config{Servers: []string{nodeURL()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.CreateTopic(ctx, "example-orders", client.TopicSettings{Partitions: 4}); err != nil {
		log.Fatal(err)
	}
	p, err := c.NewProducer(client.ProducerConfig{Topic: "example-orders"})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 1000 {
		_, err := p.Produce(ctx, client.Record{Key: []byte("customer-" + strconv.Itoa(i%10)), Value: []byte("order")})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Close waits for all of them, and says if one was not written.
	if err := p.Close(ctx); err != nil {
		log.Fatal(err)
	}

	total := int64(0)
	for partition := range int32(4) {
		offsets, err := c.Offsets(ctx, "example-orders", partition)
		if err != nil {
			log.Fatal(err)
		}
		total += offsets.End
	}
	fmt.Println(total, "orders")
	// Output: 1000 orders
}

func ExampleProducer_ProduceSync() {
	ctx := context.Background()
	c, err := client.New(client.Config{Servers: []string{nodeURL()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.CreateTopic(ctx, "example-sync", client.TopicSettings{}); err != nil {
		log.Fatal(err)
	}
	p, err := c.NewProducer(client.ProducerConfig{Topic: "example-sync"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = p.Close(ctx) }()

	where, err := p.ProduceSync(ctx, client.Record{Value: []byte("first")}, client.Record{Value: []byte("second")})
	switch {
	case err == nil:
		fmt.Println("at offsets", where[0].Offset, "and", where[1].Offset)
	case client.IsOutcomeUnknown(err):
		fmt.Println("perhaps written")
	default:
		fmt.Println("not written")
	}
	// Output: at offsets 0 and 1
}

// A Reader walks partitions, here to where they end at the moment; without To it
// goes on with what comes.
func ExampleReader() {
	ctx := context.Background()
	c, err := client.New(client.Config{Servers: []string{nodeURL()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.CreateTopic(ctx, "example-read", client.TopicSettings{}); err != nil {
		log.Fatal(err)
	}
	records := []client.Record{{Key: []byte("k"), Value: []byte("one")}, {Value: []byte("two")}}
	if _, err := c.Append(ctx, "example-read", 0, records, client.AppendOptions{}); err != nil {
		log.Fatal(err)
	}

	r, err := c.NewReader(client.ReaderConfig{Topic: "example-read", From: client.Earliest(), To: client.Latest()})
	if err != nil {
		log.Fatal(err)
	}
	for record, err := range r.Records(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(record.Offset, string(record.Value))
	}
	// Output:
	// 0 one
	// 1 two
}

// Of several writers that expect the same offset one wins, and the others learn
// how far the log is.
func ExampleClient_Append_expectedOffset() {
	ctx := context.Background()
	c, err := client.New(client.Config{Servers: []string{nodeURL()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.CreateTopic(ctx, "example-append", client.TopicSettings{}); err != nil {
		log.Fatal(err)
	}
	for _, writer := range []string{"a", "b"} {
		records := []client.Record{{Value: []byte("decided by " + writer)}}
		_, err := c.Append(ctx, "example-append", 0, records, client.AppendOptions{ExpectedOffset: new(int64(0))})
		var refused *client.Error
		switch {
		case err == nil:
			fmt.Println(writer, "decides")
		case errors.Is(err, client.ErrOffsetMismatch) && errors.As(err, &refused):
			fmt.Println(writer, "comes too late: the log ends at", refused.EndOffset)
		default:
			log.Fatal(err)
		}
	}
	// Output:
	// a decides
	// b comes too late: the log ends at 1
}

// One writer among many: whoever sets the fencing token shuts the others out.
func ExampleClient_ReplaceFencingToken() {
	ctx := context.Background()
	c, err := client.New(client.Config{Servers: []string{nodeURL()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.CreateTopic(ctx, "example-fence", client.TopicSettings{}); err != nil {
		log.Fatal(err)
	}
	if err := c.SetFencingToken(ctx, "example-fence", 0, "writer-1"); err != nil {
		log.Fatal(err)
	}
	if err := c.ReplaceFencingToken(ctx, "example-fence", 0, "writer-1", "writer-2"); err != nil {
		log.Fatal(err)
	}
	_, err = c.Append(ctx, "example-fence", 0, []client.Record{{Value: []byte("late")}}, client.AppendOptions{FencingToken: "writer-1"})
	fmt.Println(errors.Is(err, client.ErrFencingTokenMismatch), client.HadNoEffect(err))
	// Output: true true
}

// Members of a group share the partitions of a topic. What the loop has come back
// from is committed, and Close commits the rest and hands the partitions on.
func ExampleGroupConsumer() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := client.New(client.Config{Servers: []string{nodeURL()}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.CreateTopic(ctx, "example-group", client.TopicSettings{}); err != nil {
		log.Fatal(err)
	}
	records := []client.Record{{Value: []byte("one")}, {Value: []byte("two")}}
	if _, err := c.Append(ctx, "example-group", 0, records, client.AppendOptions{}); err != nil {
		log.Fatal(err)
	}

	g, err := c.ConsumeGroup(client.GroupConfig{Group: "billing", Topics: []string{"example-group"}})
	if err != nil {
		log.Fatal(err)
	}
	for record, err := range g.Records(ctx) {
		if errors.Is(err, context.Canceled) {
			break // somebody wants this process to end
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(record.Topic, record.Partition, record.Offset, string(record.Value))
		if record.Offset == 1 {
			cancel()
		}
	}
	if err := g.Close(context.WithoutCancel(ctx)); err != nil {
		log.Fatal(err)
	}

	d, err := c.DescribeGroup(context.WithoutCancel(ctx), "billing")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("lag", d.Lag)
	// Output:
	// example-group 0 0 one
	// example-group 0 1 two
	// lag 0
}
