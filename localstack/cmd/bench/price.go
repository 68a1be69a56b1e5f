package main

// What S3 charges for requests: Standard, us-east-1, list price of 2025. Deletions
// and what goes between S3 and machines of the same region are free.
const (
	dollarsPerWrite = 0.005 / 1000  // PUT, COPY, POST, LIST
	dollarsPerRead  = 0.0004 / 1000 // GET and all others

	secondsPerMonth = 365.25 / 12 * 24 * 3600
)

// dollars is what the requests of a node so far would have cost. A multipart
// upload counts as one request.
func (m nodeMetrics) dollars() float64 {
	return m.sum(storeRequests, "put", "put-if-absent", "put-stream", "list", "list-uploads")*dollarsPerWrite +
		m.sum(storeRequests, "get", "get-range")*dollarsPerRead
}
