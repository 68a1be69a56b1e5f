package httpapi

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/wadilog/wadi/catalog"
)

// topicPartitions is some partitions of a topic.
type topicPartitions struct {
	topic      *catalog.Topic
	partitions []int32
}

// byTopic gathers partitions, which are in the catalog's order, by the names of
// their topics. What was deleted is left out.
func byTopic(view *catalog.State, partitions []catalog.TopicPartition) []topicPartitions {
	var topics []topicPartitions
	for i := 0; i < len(partitions); {
		id := partitions[i].Topic
		all := topicPartitions{}
		for ; i < len(partitions) && partitions[i].Topic == id; i++ {
			all.partitions = append(all.partitions, partitions[i].Partition)
		}
		var there bool
		if all.topic, there = view.Topic(id); there {
			topics = append(topics, all)
		}
	}
	slices.SortFunc(topics, func(a, b topicPartitions) int { return cmp.Compare(a.topic.Name, b.topic.Name) })
	return topics
}

// appendAssignment appends partitions as [{"topic":"a","partitions":[0,1]}], by name.
func appendAssignment(dst []byte, view *catalog.State, partitions []catalog.TopicPartition) []byte {
	dst = append(dst, '[')
	for i, t := range byTopic(view, partitions) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(append(dst, `{"topic":`...), t.topic.Name)
		dst = append(dst, `,"partitions":[`...)
		for j, p := range t.partitions {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(p), 10)
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, ']')
}
