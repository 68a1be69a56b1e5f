package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/wadilog/wadi/catalog"
	"github.com/wadilog/wadi/internal/mutant"
)

// topic finds a topic by name, to be written to. The view may be behind, so nothing is said not
// to exist before the catalog was confirmed.
func (s *Server) topic(ctx context.Context, name string) (*catalog.Topic, error) {
	if view := s.topics.View(); view != nil {
		if t, ok := view.TopicByName(name); ok {
			return t, nil
		}
	}
	return s.confirmedTopic(ctx, name)
}

// confirmed returns a view that is current as of now.
func (s *Server) confirmed(ctx context.Context) (*catalog.State, error) {
	if mutant.On(mutant.SkipConfirm) {
		return s.topics.View(), nil
	}
	return s.topics.Confirm(ctx)
}

// confirmedTopic finds a topic as it is now.
func (s *Server) confirmedTopic(ctx context.Context, name string) (*catalog.Topic, error) {
	view, err := s.confirmed(ctx)
	if err != nil {
		return nil, err
	}
	t, ok := view.TopicByName(name)
	if !ok {
		return nil, topicNotFound(name)
	}
	return t, nil
}

func topicNotFound(name string) error {
	return kindTopicNotFound.newf("topic %s does not exist", name).with("topic", name)
}

// topicPartition finds a topic that has the partition, to be read.
func (s *Server) topicPartition(ctx context.Context, name string, partition int32) (*catalog.Topic, error) {
	view, err := s.topics.Recent(ctx)
	if err != nil {
		return nil, err
	}
	t, ok := view.TopicByName(name)
	if !ok || partition >= t.Partitions {
		t, err = s.confirmedTopic(ctx, name) // it may have got more
	}
	if err != nil {
		return nil, err
	}
	return t, checkPartition(t, partition)
}

func checkPartition(t *catalog.Topic, partition int32) error {
	if partition < t.Partitions {
		return nil
	}
	return kindPartNotFound.newf("topic %s has partitions 0 to %d, not %d", t.Name, t.Partitions-1, partition).
		with("topic", t.Name).with("partitions", int64(t.Partitions))
}

// withTopic calls use with a topic, and once more if the topic turned out to be
// deleted and there is another of that name: the view was behind.
func (s *Server) withTopic(ctx context.Context, t *catalog.Topic, use func(*catalog.Topic) error) error {
	err := use(t)
	if !errors.Is(err, catalog.ErrTopicNotFound) && !errors.Is(err, catalog.ErrPartitionNotFound) {
		return err
	}
	now, confirmErr := s.confirmedTopic(ctx, t.Name)
	if confirmErr != nil {
		return confirmErr
	}
	if now.ID == t.ID {
		return err
	}
	return use(now)
}

// page is which part of a listing is asked for.
type page struct {
	prefix, after string
	size          int
}

// page reads the query of a listing of things that are named like topics.
func (x *exchange) page(what string) (page, error) {
	q := parseQuery(x.r)
	prefix, _ := q.take("prefix")
	size := q.integer("page_size", int64(x.s.cfg.PageSize), 1, int64(x.s.cfg.PageSizeMax))
	token, _ := q.take("page_token")
	if err := q.done(); err != nil {
		return page{}, err
	}
	if len(prefix) > topicNameLenMax || !topicNameCharacters(prefix) {
		return page{}, parameterf("prefix", "is not the beginning of a %s name", what)
	}
	after, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(after) > topicNameLenMax || !topicNameCharacters(string(after)) {
		return page{}, parameterf("page_token", "was not given out by this API")
	}
	return page{prefix: prefix, after: string(after), size: int(size)}, nil
}

// appendPage appends {"list":[…],"next_page_token":…} of what list returns; it
// is asked for one more than the page holds, which tells whether there is another.
func appendPage[T any](dst []byte, p page, name string, list func(prefix, after string, limit int) []T, nameOf func(T) string, appendOne func([]byte, T) []byte) []byte {
	found := list(p.prefix, p.after, p.size+1)
	next := ""
	if len(found) > p.size {
		found = found[:p.size]
		next = base64.RawURLEncoding.EncodeToString([]byte(nameOf(found[p.size-1])))
	}
	dst = appendJSONString(append(dst, '{'), name)
	dst = append(dst, ":["...)
	for i, one := range found {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendOne(dst, one)
	}
	dst = append(dst, `],"next_page_token":`...)
	return append(appendJSONString(dst, next), "}\n"...)
}

func (s *Server) listTopics(x *exchange) error {
	p, err := x.page("topic")
	if err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	view, err := s.confirmed(ctx)
	if err != nil {
		return err
	}
	x.answer(http.StatusOK, appendPage(nil, p, "topics", view.Topics, func(t *catalog.Topic) string { return t.Name }, appendTopic))
	return nil
}

func (s *Server) getTopic(x *exchange) error {
	name, err := x.topicParam()
	if err != nil {
		return err
	}
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	t, err := s.confirmedTopic(ctx, name)
	if err != nil {
		return err
	}
	x.answerTopic(http.StatusOK, t)
	return nil
}

func (s *Server) createTopic(x *exchange) error {
	name, err := x.topicParam()
	if err != nil {
		return err
	}
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	if err := requireJSON(x.r); err != nil {
		return err
	}
	settings, err := x.readSettings()
	if err != nil {
		return err
	}
	edit := catalog.CreateTopic{Name: name, Partitions: s.cfg.DefaultPartitions, Config: catalog.DefaultTopicConfig()}
	if settings.partitions != nil {
		edit.Partitions = *settings.partitions
	}
	if err := settings.apply(&edit.Config); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	result, err := s.proposeTopic(ctx, edit)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if result.Created {
		status = http.StatusCreated
		x.w.Header().Set("Location", "/v1/topics/"+name)
	}
	x.answerTopic(status, &catalog.Topic{ID: result.Topic, Name: name, Partitions: edit.Partitions, Config: edit.Config})
	return nil
}

// proposeTopic creates a topic, or finds the one that is there with the same settings.
func (s *Server) proposeTopic(ctx context.Context, edit catalog.CreateTopic) (catalog.Result, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return catalog.Result{}, err
	}
	edit.ID = id
	result, err := s.topics.Propose(ctx, edit)
	if err != nil {
		return result, err
	}
	return result, result.Err
}

func (s *Server) alterTopic(x *exchange) error {
	name, err := x.topicParam()
	if err != nil {
		return err
	}
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	if err := requireJSON(x.r, mediaMergePatch); err != nil {
		return err
	}
	settings, err := x.readSettings()
	if err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	t, err := s.alter(ctx, name, settings)
	if err != nil {
		return err
	}
	x.answerTopic(http.StatusOK, t)
	return nil
}

// alter changes a topic. The edit carries all settings, so that two changes at
// once would lose one; altering keeps them apart on this node. Its wait ends with ctx.
func (s *Server) alter(ctx context.Context, name string, settings topicSettings) (*catalog.Topic, error) {
	select {
	case s.altering <- struct{}{}:
		defer func() { <-s.altering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t, err := s.confirmedTopic(ctx, name)
	if err != nil {
		return nil, err
	}
	changed := *t
	if err := settings.apply(&changed.Config); err != nil {
		return nil, err
	}
	edit := catalog.AlterTopic{ID: t.ID, Config: changed.Config}
	if settings.partitions != nil {
		edit.Partitions = *settings.partitions
		changed.Partitions = *settings.partitions
	}
	result, err := s.topics.Propose(ctx, edit)
	if err != nil {
		return nil, err
	}
	return &changed, result.Err
}

func (s *Server) deleteTopic(x *exchange) error {
	name, err := x.topicParam()
	if err != nil {
		return err
	}
	if err := parseQuery(x.r).done(); err != nil {
		return err
	}
	ctx, cancel := x.working()
	defer cancel()
	t, err := s.confirmedTopic(ctx, name)
	if err != nil {
		return err
	}
	result, err := s.topics.Propose(ctx, catalog.DeleteTopic{ID: t.ID})
	if err != nil {
		return err
	}
	if result.Err != nil {
		return result.Err
	}
	x.noContent()
	return nil
}

// topicSettings is the body of PUT and PATCH.
type topicSettings struct {
	partitions *int32
	config     []setting
}

// setting is one member of "config".
type setting struct {
	key   string
	value string
	reset bool // null: back to the default
}

func (t topicSettings) apply(config *catalog.TopicConfig) error {
	defaults := catalog.DefaultTopicConfig().Map()
	for _, c := range t.config {
		value := c.value
		if c.reset {
			value = defaults[c.key] // Set refuses a key that does not exist
		}
		if err := config.SetConfig(c.key, value); err != nil {
			return err
		}
	}
	return nil
}

// readSettings reads a body like {"partitions":8,"config":{"retention.ms":-1}}.
// Nothing at all is an empty object.
func (x *exchange) readSettings() (topicSettings, error) {
	var settings topicSettings
	text, err := x.readSmallBody()
	if err != nil || len(text) == 0 {
		return settings, err
	}
	c := newCursor(text)
	err = c.object(func(name string) error {
		switch name {
		case "partitions":
			n, err := c.integer(math.MinInt64, math.MaxInt64)
			if err != nil {
				return err
			}
			if n < 1 || n > int64(x.s.cfg.PartitionsMax) {
				return kindInvalidPartitions.newf("a topic has 1 to %d partitions, not %d", x.s.cfg.PartitionsMax, n).
					with("limit", int64(x.s.cfg.PartitionsMax))
			}
			partitions := int32(n)
			settings.partitions = &partitions
			return nil
		case "config":
			return c.object(func(key string) error {
				s, err := c.setting(key)
				settings.config = append(settings.config, s)
				return err
			})
		}
		return c.unknown(name)
	})
	if err == nil {
		err = c.end()
	}
	return settings, err
}

// setting reads the value of a topic setting: a string, an integer, or null.
func (c *cursor) setting(key string) (setting, error) {
	raw, err := c.value()
	if err != nil {
		return setting{}, err
	}
	switch raw.Kind() {
	case 'n':
		return setting{key: key, reset: true}, nil
	case '0':
		if _, ok := parseDecimal(string(raw)); !ok {
			return setting{}, c.wrong("must be an integer")
		}
		return setting{key: key, value: string(raw)}, nil
	case '"':
		text, err := c.unquote(nil, raw)
		return setting{key: key, value: string(text)}, err
	}
	return setting{}, c.wrong("must be a string or an integer")
}

// readSmallBody reads the body of a request that carries no records.
func (x *exchange) readSmallBody() ([]byte, error) {
	return x.readBody(x.s.cfg.SettingsBodyBytesMax, func(int64) error { return nil })
}

// readBody reads a body of up to limit bytes, decoded; grow is asked before memory
// is taken.
func (x *exchange) readBody(limit int64, grow func(int64) error) ([]byte, error) {
	if err := x.decodeBody(); err != nil {
		return nil, err
	}
	tooLarge := bodyTooLarge(limit)
	if x.announced(limit) {
		return nil, tooLarge
	}
	return x.body.readAll(x.r.ContentLength, limit, grow, tooLarge)
}

func (x *exchange) answerTopic(status int, t *catalog.Topic) {
	x.answer(status, append(appendTopic(nil, t), '\n'))
}

func appendTopic(dst []byte, t *catalog.Topic) []byte {
	dst = append(dst, `{"name":`...)
	dst = appendJSONString(dst, t.Name)
	dst = append(dst, `,"id":`...)
	dst = appendJSONString(dst, t.ID.String())
	dst = append(dst, `,"partitions":`...)
	dst = strconv.AppendInt(dst, int64(t.Partitions), 10)
	dst = append(dst, `,"config":{`...)
	config := t.Config.Map()
	keys := make([]string, 0, len(config))
	for key := range config {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, key := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, key)
		dst = append(dst, ':')
		if value := config[key]; isDecimal(value) {
			dst = append(dst, value...)
		} else {
			dst = appendJSONString(dst, value)
		}
	}
	return append(dst, "}}"...)
}

func isDecimal(text string) bool {
	_, ok := parseDecimal(text)
	return ok
}
