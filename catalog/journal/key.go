package journal

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

const (
	slotDigits   = 20
	partIDDigits = 2 * len(partID{})
	partDigits   = 5
	// shardBytesMax bounds the name of a shard.
	shardBytesMax = 32
)

// partID is what the keys of one writer's parts of one snapshot share.
type partID [16]byte

// keys makes and reads the keys of one shard.
type keys struct {
	slots     string // catalog/<shard>/journal/
	parts     string // catalog/<shard>/snapshots/
	manifests string // catalog/<shard>/manifests/
}

func newKeys(shard string) (keys, error) {
	if shard == "" || len(shard) > shardBytesMax || strings.Trim(shard, "0123456789abcdefghijklmnopqrstuvwxyz-") != "" {
		return keys{}, fmt.Errorf("shard %q: 1 to %d of a-z, 0-9 and - are allowed", shard, shardBytesMax)
	}
	root := "catalog/" + shard + "/"
	return keys{slots: root + "journal/", parts: root + "snapshots/", manifests: root + "manifests/"}, nil
}

func (k keys) slot(s Slot) string     { return k.slots + slotName(s) }
func (k keys) manifest(s Slot) string { return k.manifests + slotName(s) }

func (k keys) part(s Slot, id partID, part int) string {
	return fmt.Sprintf("%s%s/%s-%0*d", k.parts, slotName(s), hex.EncodeToString(id[:]), partDigits, part)
}

func slotName(s Slot) string { return fmt.Sprintf("%0*d", slotDigits, uint64(s)) }

// parseSlot reads the slot at the end of a key below prefix; false if the key
// is not what slotName makes.
func parseSlot(prefix, key string) (Slot, bool) {
	name, ok := strings.CutPrefix(key, prefix)
	if !ok || len(name) != slotDigits || strings.Trim(name, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 64)
	return Slot(n), err == nil
}

func (k keys) parseSlot(key string) (Slot, bool)     { return parseSlot(k.slots, key) }
func (k keys) parseManifest(key string) (Slot, bool) { return parseSlot(k.manifests, key) }

// parsePart reads the slot of a part's key; false if the key is not that of a part.
func (k keys) parsePart(key string) (Slot, bool) {
	name, ok := strings.CutPrefix(key, k.parts)
	if !ok {
		return 0, false
	}
	slot, file, ok := strings.Cut(name, "/")
	if !ok || len(file) != partIDDigits+1+partDigits || file[partIDDigits] != '-' ||
		strings.Trim(file[:partIDDigits], "0123456789abcdef") != "" ||
		strings.Trim(file[partIDDigits+1:], "0123456789") != "" {
		return 0, false
	}
	return parseSlot("", slot)
}
