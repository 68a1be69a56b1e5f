package catalog

import (
	"errors"
	"fmt"
)

// ErrNewerEdit is an edit of a kind that this version does not know; a newer
// one wrote it.
var ErrNewerEdit = errors.New("edit of a newer kind")

// The kinds of edit in a payload.
const (
	kindCreateTopic = iota + 1
	kindAlterTopic
	kindDeleteTopic
	kindRegisterNode
	kindRemoveNode
	kindAllocateProducerID
	kindTrim
	kindExpire
	kindCommitSegment
	kindForwarded
	kindRaiseLevel
	kindKeyedCommit // a CommitSegment with keys or tokens
	kindRaiseEpoch
	kindSetFence
	kindKeepNode
	kindJoinGroup
	kindSyncMember
	kindKeepMember
	kindRemoveMember
	kindCommitOffsets
	kindDeleteGroup
	kindRetain
	kindDropGarbage
	kindRaiseOrphanFloor
	kindClaimCompaction
	kindCompact
	kindEnd // one above the newest
)

// editLenMin is the length in bytes of the shortest edit with its result.
const editLenMin = 2

// editsPrealloc bounds the room made for edits before they are decoded.
const editsPrealloc = 1024

// AppendEdits encodes edits with their results as the payload of an entry. No
// edits are no bytes.
func AppendEdits(dst []byte, edits []Edit, results []Result) []byte {
	if len(edits) != len(results) {
		panic(fmt.Sprintf("catalog: %d edits with %d results", len(edits), len(results)))
	}
	if len(edits) == 0 {
		return dst
	}
	dst = appendUvarint(dst, uint64(len(edits)))
	for i, e := range edits {
		dst = appendEdit(dst, e, &results[i])
	}
	return dst
}

func appendEdit(dst []byte, e Edit, result *Result) []byte {
	dst, layout := appendBareEdit(dst, e)
	return appendResult(dst, result, layout)
}

// appendBareEdit encodes an edit without its result, and returns what the
// encoding of the result of a commit takes from it.
func appendBareEdit(dst []byte, e Edit) ([]byte, *commitLayout) {
	var layout *commitLayout
	switch e := e.(type) {
	case CreateTopic:
		dst = append(dst, kindCreateTopic)
		dst = append(dst, e.ID[:]...)
		dst = appendString(dst, e.Name)
		dst = appendUvarint(dst, uint64(uint32(e.Partitions)))
		dst = appendConfig(dst, &e.Config)
	case AlterTopic:
		dst = append(dst, kindAlterTopic)
		dst = append(dst, e.ID[:]...)
		dst = appendUvarint(dst, uint64(uint32(e.Partitions)))
		dst = appendConfig(dst, &e.Config)
	case DeleteTopic:
		dst = append(dst, kindDeleteTopic)
		dst = append(dst, e.ID[:]...)
	case RegisterNode:
		dst = append(dst, kindRegisterNode)
		dst = append(dst, e.Node[:]...)
		dst = appendBool(dst, e.HasWAL)
	case RemoveNode:
		dst = append(dst, kindRemoveNode)
		dst = append(dst, e.Node[:]...)
	case AllocateProducerID:
		dst = append(dst, kindAllocateProducerID)
	case Trim:
		dst = append(dst, kindTrim)
		dst = append(dst, e.Partition.Topic[:]...)
		dst = appendUvarint(dst, uint64(uint32(e.Partition.Partition)))
		dst = appendVarint(dst, int64(e.Before))
	case Expire:
		dst = append(dst, kindExpire)
	case CommitSegment:
		keyed := e.needsKeys()
		if keyed {
			dst = append(dst, kindKeyedCommit)
		} else {
			dst = append(dst, kindCommitSegment)
		}
		dst, layout = appendCommit(dst, &e, keyed)
	case RaiseLevel:
		dst = append(dst, kindRaiseLevel)
		dst = appendUvarint(dst, uint64(e.Level))
	case RaiseEpoch:
		dst = append(dst, kindRaiseEpoch)
		dst = appendUvarint(dst, uint64(e.Producer))
	case SetFence:
		dst = append(dst, kindSetFence)
		dst = append(dst, e.Partition.Topic[:]...)
		dst = appendUvarint(dst, uint64(uint32(e.Partition.Partition)))
		dst = appendString(dst, e.Token)
		dst = appendBool(dst, e.Conditional)
		dst = appendString(dst, e.Expected)
	case KeepNode:
		dst = append(dst, kindKeepNode)
		dst = append(dst, e.Node[:]...)
		dst = appendBool(dst, e.HasWAL)
	case JoinGroup:
		dst = appendJoin(append(dst, kindJoinGroup), &e)
	case SyncMember:
		dst = appendMember(append(dst, kindSyncMember), e.Group, e.Member, e.Epoch)
	case KeepMember:
		dst = appendMember(append(dst, kindKeepMember), e.Group, e.Member, e.Epoch)
	case RemoveMember:
		dst = appendMember(append(dst, kindRemoveMember), e.Group, e.Member, e.Epoch)
	case CommitOffsets:
		dst = appendMember(append(dst, kindCommitOffsets), e.Group, e.Member, e.Epoch)
		dst = appendUvarint(dst, uint64(e.After))
		dst = appendOffsets(dst, e.Offsets)
	case DeleteGroup:
		dst = appendString(append(dst, kindDeleteGroup), e.Group)
	case Retain:
		dst = append(dst, kindRetain)
		dst = append(dst, e.Topic[:]...)
	case DropGarbage:
		dst = append(dst, kindDropGarbage)
		dst = appendUvarint(dst, uint64(len(e.Objects)))
		for i := range e.Objects {
			dst = append(dst, e.Objects[i][:]...)
		}
	case RaiseOrphanFloor:
		dst = append(dst, kindRaiseOrphanFloor)
		dst = appendUvarint(dst, e.After)
		dst = appendUvarint(dst, e.Floor)
	case ClaimCompaction:
		dst = append(dst, kindClaimCompaction)
		dst = append(dst, e.Topic[:]...)
		dst = append(dst, e.Job[:]...)
		dst = appendUvarint(dst, uint64(e.ForMs))
	case Compact:
		dst, layout = appendCompact(append(dst, kindCompact), &e)
	case Forwarded:
		dst = append(dst, kindForwarded)
		dst = append(dst, e.Session[:]...)
		dst = appendUvarint(dst, e.Seq)
		dst = appendUvarint(dst, uint64(e.First))
		dst = appendUvarint(dst, uint64(e.Count))
	default:
		panic(fmt.Sprintf("catalog: edit of type %T", e))
	}
	return dst, layout
}

// DecodeEdits is the inverse of AppendEdits. An edit of a newer kind is
// ErrNewerEdit; bytes that AppendEdits does not make are a *CorruptError.
func DecodeEdits(payload []byte) ([]Edit, []Result, error) {
	if len(payload) == 0 {
		return nil, nil, nil
	}
	r := &wireReader{b: payload}
	n := r.count(editLenMin)
	if n == 0 {
		r.fail(errOutOfRange)
	}
	edits := make([]Edit, 0, min(n, editsPrealloc))
	results := make([]Result, 0, min(n, editsPrealloc))
	for range n {
		edit, result := r.edit()
		if r.err != nil {
			break
		}
		edits = append(edits, edit)
		results = append(results, result)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail(errTrailing)
	}
	if errors.Is(r.err, ErrNewerEdit) {
		return nil, nil, r.err
	}
	if r.err != nil {
		return nil, nil, &CorruptError{What: fmt.Sprintf("edit %d of %d", len(edits), n), Err: r.err}
	}
	return edits, results, nil
}

func (r *wireReader) edit() (Edit, Result) {
	edit, layout := r.bareEdit()
	if r.err != nil {
		return nil, Result{}
	}
	return edit, r.result(layout)
}

func (r *wireReader) bareEdit() (Edit, *commitLayout) {
	var edit Edit
	var layout *commitLayout
	switch kind := r.byte(); kind {
	case kindCreateTopic:
		edit = CreateTopic{
			ID:         r.id(),
			Name:       r.string(),
			Partitions: int32(r.number()),
			Config:     r.config(),
		}
	case kindAlterTopic:
		edit = AlterTopic{ID: r.id(), Partitions: int32(r.number()), Config: r.config()}
	case kindDeleteTopic:
		edit = DeleteTopic{ID: r.id()}
	case kindRegisterNode:
		edit = RegisterNode{Node: r.id(), HasWAL: r.bool()}
	case kindRemoveNode:
		edit = RemoveNode{Node: r.id()}
	case kindAllocateProducerID:
		edit = AllocateProducerID{}
	case kindTrim:
		edit = Trim{
			Partition: TopicPartition{Topic: r.id(), Partition: int32(r.number())},
			Before:    Offset(r.varint()),
		}
	case kindExpire:
		edit = Expire{}
	case kindCommitSegment, kindKeyedCommit:
		commit := CommitSegment{}
		layout = r.commit(&commit, kind == kindKeyedCommit)
		edit = commit
	case kindRaiseLevel:
		edit = RaiseLevel{Level: r.number()}
	case kindRaiseEpoch:
		edit = RaiseEpoch{Producer: int64(r.uvarint())}
	case kindSetFence:
		edit = SetFence{
			Partition:   TopicPartition{Topic: r.id(), Partition: int32(r.number())},
			Token:       r.string(),
			Conditional: r.bool(),
			Expected:    r.string(),
		}
	case kindKeepNode:
		edit = KeepNode{Node: r.id(), HasWAL: r.bool()}
	case kindJoinGroup:
		edit = r.join()
	case kindSyncMember:
		e := SyncMember{}
		e.Group, e.Member, e.Epoch = r.member()
		edit = e
	case kindKeepMember:
		e := KeepMember{}
		e.Group, e.Member, e.Epoch = r.member()
		edit = e
	case kindRemoveMember:
		e := RemoveMember{}
		e.Group, e.Member, e.Epoch = r.member()
		edit = e
	case kindCommitOffsets:
		e := CommitOffsets{}
		e.Group, e.Member, e.Epoch = r.member()
		e.After = int64(r.uvarint())
		e.Offsets = r.offsets()
		edit = e
	case kindDeleteGroup:
		edit = DeleteGroup{Group: r.string()}
	case kindRetain:
		edit = Retain{Topic: r.id()}
	case kindDropGarbage:
		e := DropGarbage{}
		for range r.count(len(ObjectID{})) {
			e.Objects = append(e.Objects, ObjectID(r.id()))
		}
		edit = e
	case kindRaiseOrphanFloor:
		edit = RaiseOrphanFloor{After: r.uvarint(), Floor: r.uvarint()}
	case kindClaimCompaction:
		edit = ClaimCompaction{Topic: r.id(), Job: r.id(), ForMs: int64(r.uvarint())}
	case kindCompact:
		e := Compact{}
		layout = r.compact(&e)
		edit = e
	case kindForwarded:
		edit = Forwarded{Session: Session(r.id()), Seq: r.uvarint(), First: r.number(), Count: r.number()}
	case 0:
		r.fail(errOutOfRange)
	default:
		r.fail(fmt.Errorf("%w: %d", ErrNewerEdit, kind))
	}
	return edit, layout
}
