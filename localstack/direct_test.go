package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/wadilog/wadi/client"
)

// wadiOutput runs the command and returns what it printed.
func wadiOutput(ctx context.Context, t *testing.T, stdin io.Reader, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(ctx, wadi(t), args...)
	cmd.Env, cmd.Stdin = foreignEnv(), stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("wadi %s: %v: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// getURL reads a range of a presigned URL, or with length 0 the whole.
func getURL(ctx context.Context, t *testing.T, url string, pos, length int64) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if length > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", pos, pos+length-1))
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// TestDirectReplay reads a topic from MinIO by the URLs of its manifest: they
// give the bytes that the manifest vouches for, and the command prints the same
// with --direct as without.
func TestDirectReplay(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	node := startNode(ctx, t, onMinIO(t, sharedMinIO(t), "--wal=off"))
	c, err := client.New(client.Config{Servers: []string{node.URL}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, _, err := c.CreateTopic(ctx, "t", client.TopicSettings{Partitions: 2, Config: map[string]string{"compression.type": "none"}}); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	const smallRecords, largeRecords = 60_000, 500
	for i := range smallRecords {
		fmt.Fprintf(&lines, "%d,%s\n", i, strings.Repeat(string(rune('a'+i%26)), 300))
	}
	wadiOutput(ctx, t, bytes.NewReader(lines.Bytes()), "produce", "t", "--server", node.URL, "--quiet")
	// One request is one extent, and this one is longer than a block.
	large := `{"records":[` + strings.TrimSuffix(strings.Repeat(`{"value":"`+strings.Repeat("w", 10_000)+`"},`, largeRecords), ",") + `]}`
	newAPIClient(t, node.URL).mustAnswer(ctx, t, 200, "", "POST", "/v1/topics/t/partitions/1/records", large, "Content-Type", "application/json")

	ranges, long := 0, 0
	for p := range int32(2) {
		m, err := c.Manifest(ctx, "t", p, 0, 1<<40, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range m.Ranges {
			ranges++
			status, body := getURL(ctx, t, g.URL, g.Position, g.Bytes)
			if crc := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)); status != 206 || int64(len(body)) != g.Bytes || crc != g.CRC32C {
				t.Errorf("range %+v: %d, %d bytes of CRC32C %08x", g, status, len(body), crc)
			}
			if len(g.Blocks) > 0 {
				long++
			}
		}
		if len(m.Ranges) > 0 {
			whole := m.Ranges[0].URL
			if status, _ := getURL(ctx, t, whole, 0, 0); status != 200 {
				t.Errorf("the whole object: %d", status)
			}
			for _, other := range []string{strings.Split(whole, "?")[0], strings.Replace(whole, ".seg?", ".sef?", 1)} {
				if status, _ := getURL(ctx, t, other, 0, 0); status != 403 {
					t.Errorf("%s: %d", other, status)
				}
			}
		}
	}
	if ranges == 0 || long == 0 {
		t.Fatalf("%d ranges, of which %d long", ranges, long)
	}

	for _, args := range []string{"", "--from 777 --to 12345", "-p 1 --from 3"} {
		consume := append([]string{"consume", "t", "--server", node.URL, "--quiet", "--format", "%p %o %t %k %v"}, strings.Fields(args)...)
		plain := splitByPartition(wadiOutput(ctx, t, nil, consume...))
		direct := splitByPartition(wadiOutput(ctx, t, nil, append(consume, "--direct")...))
		for p := range plain {
			if !bytes.Equal(plain[p], direct[p]) {
				t.Errorf("%q: partition %d differs: %d and %d bytes", args, p, len(plain[p]), len(direct[p]))
			}
		}
		if len(plain[1]) == 0 {
			t.Errorf("%q: nothing was printed", args)
		}
	}
	reader, err := c.NewReader(client.ReaderConfig{Topic: "t", To: client.Latest(), Direct: true, Fallback: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	records := int64(0)
	for _, err := range reader.Records(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		records++
	}
	if records != smallRecords+largeRecords || reader.DirectRecords() != records {
		t.Errorf("%d records, %d of them from the bucket", records, reader.DirectRecords())
	}
}

// splitByPartition returns the lines of each of two partitions, whose number
// they begin with.
func splitByPartition(out []byte) (parts [2][]byte) {
	for line := range bytes.Lines(out) {
		parts[line[0]-'0'] = append(parts[line[0]-'0'], line...)
	}
	return parts
}

// TestSharedSegmentsStayInside: objects with records of two topics have no URL,
// also when the other topic is gone, and are read through the node.
func TestSharedSegmentsStayInside(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	node := startNode(ctx, t, onMinIO(t, sharedMinIO(t), "--wal=off"))
	c, err := client.New(client.Config{Servers: []string{node.URL}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for _, topic := range []string{"mine", "other"} {
		if _, _, err := c.CreateTopic(ctx, topic, client.TopicSettings{Partitions: 1}); err != nil {
			t.Fatal(err)
		}
	}
	api := newAPIClient(t, node.URL)
	sharing := func() (shared, alone int, err error) {
		m, err := c.Manifest(ctx, "mine", 0, 0, 1<<40, 1000)
		if err != nil {
			return 0, 0, err
		}
		for _, g := range m.Ranges {
			switch {
			case g.Key == "" && g.URL == "" && g.CRC32C == 0:
				shared++
			case g.Key != "" && g.URL != "":
				alone++
			default:
				t.Errorf("range %+v", g)
			}
		}
		return shared, alone, nil
	}
	records := 0
	produce := func(topic string) error {
		status, answer, err := api.ask(ctx, "POST", "/v1/topics/"+topic+"/partitions/0/records", "record")
		if err != nil || status != 200 {
			return fmt.Errorf("%d %s %w", status, answer, err)
		}
		return nil
	}
	// Both topics at once, until some flush had both in it.
	if err := eventually(ctx, func() error {
		var group errgroup.Group
		for range 8 {
			group.Go(func() error { return produce("mine") })
			group.Go(func() error { return produce("other") })
		}
		records += 8
		if err := group.Wait(); err != nil {
			return err
		}
		records++
		if err := produce("mine"); err != nil { // one that is alone
			return err
		}
		shared, alone, err := sharing()
		if err == nil && (shared < 2 || alone < 2) {
			err = errors.New("nothing is shared yet")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	before, _, err := sharing()
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if after, _, err := sharing(); err != nil || after != before {
			t.Errorf("%s: %d ranges are shared, before %d: %v", when, after, before, err)
		}
		reader, err := c.NewReader(client.ReaderConfig{Topic: "mine", To: client.Latest(), Direct: true, Fallback: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, err := range reader.Records(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != records || reader.DirectRecords() == 0 || reader.DirectRecords() >= int64(n) {
			t.Errorf("%s: %d records of %d, %d of them from the bucket", when, n, records, reader.DirectRecords())
		}
	}
	check("with both topics")
	if _, err := c.Trim(ctx, "other", 0, 1<<40); err != nil {
		t.Fatal(err)
	}
	check("with the other trimmed")
	if err := c.DeleteTopic(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	check("with the other deleted")
	if err := node.Kill(); err != nil { // what it remembered is gone
		t.Fatal(err)
	}
	if err := node.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	check("after a restart")
}
