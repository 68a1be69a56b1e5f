package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Defaults of Config.
const (
	defaultConnections    = 64
	defaultRequestTimeout = 40 * time.Second // longer than a node's own, so that its verdict comes first
	defaultRetryTimeout   = time.Minute
	defaultUserAgent      = "wadi-go"
)

// dialTimeout bounds the wait for a connection.
const dialTimeout = 5 * time.Second

// Config says which nodes a Client talks to, and how. Fields that are zero have
// the default that is named with them; Servers is needed.
type Config struct {
	// Servers are the URLs of nodes, or of what balances their load, such as
	// http://127.0.0.1:8080. Requests about one partition go to one of them as
	// long as it answers, so that its batches travel together and its blocks are
	// cached once; others take turns. A server that cannot be reached, or says that it
	// cannot serve at the moment, is passed over for a while.
	Servers []string

	// HTTPClient makes the requests; by default one with Transport. Its own
	// Timeout, if any, also bounds long polls.
	HTTPClient *http.Client

	// Connections is how many connections to each server are kept open while
	// nothing travels on them; 64 by default. It has no meaning with an
	// HTTPClient.
	Connections int

	// DialContext connects; by default over the network. It has no meaning with
	// an HTTPClient.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// BucketHTTPClient makes the requests to the bucket of a Reader that is Direct.
	// They go by URLs that hold all they need, so by default nothing of HTTPClient
	// or DialContext is used for them.
	BucketHTTPClient *http.Client

	// RequestTimeout bounds one attempt at one request, beyond the time that a
	// fetch is told to wait for records; 40 s by default.
	RequestTimeout time.Duration

	// RetryTimeout is for how long a call repeats a request that may succeed
	// later; 1 min by default, and below 0 not at all. A Producer has its own.
	RetryTimeout time.Duration

	// UserAgent names the program; "wadi-go" by default.
	UserAgent string
}

// Validate tells what is wrong with a Config.
func (cfg Config) Validate() error {
	_, err := parseServers(cfg.Servers)
	switch {
	case err != nil:
		return err
	case cfg.Connections < 0:
		return errors.New("number of Connections is below 0")
	case cfg.RequestTimeout < 0:
		return errors.New("RequestTimeout is below 0")
	}
	return nil
}

// Client talks to the nodes of one cluster. It is safe for concurrent use.
type Client struct {
	servers        *serverSet
	http           *http.Client
	ownsHTTP       bool
	bucketHTTP     *http.Client
	ownsBucketHTTP bool
	requestTimeout time.Duration
	retryTimeout   time.Duration
	retrier        *Retrier // shared by all calls; nil: each call has its own
	userAgent      string
}

// New returns a Client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("client config: %w", err)
	}
	servers, err := parseServers(cfg.Servers)
	if err != nil {
		return nil, err
	}
	c := &Client{
		servers:        newServerSet(servers),
		http:           cfg.HTTPClient,
		bucketHTTP:     cfg.BucketHTTPClient,
		requestTimeout: orDefault(cfg.RequestTimeout, defaultRequestTimeout),
		retryTimeout:   orDefault(cfg.RetryTimeout, defaultRetryTimeout),
		userAgent:      orDefault(cfg.UserAgent, defaultUserAgent),
	}
	if c.http == nil {
		transport := Transport(orDefault(cfg.Connections, defaultConnections))
		if cfg.DialContext != nil {
			transport.DialContext = cfg.DialContext
		}
		c.http, c.ownsHTTP = &http.Client{Transport: transport}, true
	}
	if c.bucketHTTP == nil {
		c.bucketHTTP, c.ownsBucketHTTP = &http.Client{Transport: Transport(defaultConnections)}, true
	}
	return c, nil
}

func orDefault[T comparable](value, standard T) T {
	var zero T
	if value == zero {
		return standard
	}
	return value
}

// Transport returns what New makes requests with: it keeps so many connections
// to each server open. Change it and pass it on in Config.HTTPClient, as for TLS.
func Transport(connections int) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true, // batches are compressed already
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      64 << 10,
	}
}

// Close drops idle connections. HTTP clients of the Config are left alone.
func (c *Client) Close() {
	if c.ownsBucketHTTP {
		c.bucketHTTP.CloseIdleConnections()
	}
	if c.ownsHTTP {
		c.http.CloseIdleConnections()
	}
}

// WithRetrier returns a Client over the same connections whose calls repeat by r:
// those that share it keep each other going. Nil is for no repeats.
func (c *Client) WithRetrier(r *Retrier) *Client {
	other := *c
	other.retrier, other.retryTimeout, other.ownsHTTP, other.ownsBucketHTTP = r, -1, false, false
	return &other
}

// WithRetryTimeout returns a Client over the same connections with another
// Config.RetryTimeout.
func (c *Client) WithRetryTimeout(d time.Duration) *Client {
	other := *c
	other.retrier, other.retryTimeout, other.ownsHTTP, other.ownsBucketHTTP = nil, orDefault(d, defaultRetryTimeout), false, false
	return &other
}

// parseServers reads URLs of nodes.
func parseServers(servers []string) ([]*url.URL, error) {
	if len(servers) == 0 {
		return nil, errors.New("no servers")
	}
	var all []*url.URL
	for _, server := range servers {
		text := server
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		base, err := url.Parse(text)
		if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
			return nil, fmt.Errorf("%q is not the URL of a node, such as http://127.0.0.1:8080", server)
		}
		if base.RawQuery != "" || base.Fragment != "" {
			return nil, fmt.Errorf("%q: the URL of a node has neither a query nor a fragment", server)
		}
		all = append(all, base)
	}
	return all, nil
}
