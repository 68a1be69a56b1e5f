package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"testing"
)

// The golden files are what this version of the format is. A change that makes
// them differ needs a new version, not new files.
var update = flag.Bool("update", false, "write the golden files")

// smallIndexCRC is what the catalog would keep for the small segment.
const smallIndexCRC = 0x1ea09166

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what is encoded now", path)
	}
	return want
}

func TestGoldenSmallSegment(t *testing.T) {
	sealed := mustEncode(t, smallRuns())
	stored := golden(t, "small.seg", sealed.Body)
	footer, err := DecodeFooter(stored[len(stored)-FooterLen:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeIndex(stored[footer.IndexPos:], smallIndexCRC); err != nil {
		t.Fatal(err)
	}
	checkSealed(t, &Sealed{ID: testID, Body: stored[:len(stored):len(stored)], IndexPos: footer.IndexPos, IndexCRC: smallIndexCRC, CRC: sealed.CRC, Runs: repointed(sealed.Runs, stored)})
}

// The tail of a segment whose first run has several blocks; its body as a hash only.
func TestGoldenLargeSegment(t *testing.T) {
	sealed := mustEncode(t, largeRuns())
	sum := sha256.Sum256(sealed.Body)
	golden(t, "large.sha256", append(hex.AppendEncode(nil, sum[:]), '\n'))
	tail := golden(t, "large.tail", sealed.Body[sealed.IndexPos:])
	x, err := DecodeIndex(tail, sealed.IndexCRC)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Runs) != 2 || len(x.Runs[0].Blocks) != 4 || x.Runs[0].Records != 100 || len(x.Runs[1].Blocks) != 1 {
		t.Fatalf("decoded %+v", x)
	}
}

// repointed makes the batches of runs point into body.
func repointed(runs []Run, body []byte) []Run {
	for _, run := range runs {
		for i, b := range run.Batches {
			run.Batches[i].Data = body[b.Pos : b.Pos+Pos(len(b.Data))]
		}
	}
	return runs
}
