# Targets for people and for CI. `make help` lists them.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 20s
# Real input for integration tests and `make flights`; the repository carries
# a slice of it for machines that do not have the whole.
FLIGHTS_DIR ?= ../shared/data
# Of make cluster: how many nodes, where nginx listens, where all data is.
NODES          ?= 3
CLUSTER_LISTEN ?= 127.0.0.1:8080
CLUSTER_DIR    ?= wadi-data/cluster

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/wadi
	$(GO) build -o bin/wadi ./cmd/wadi

.PHONY: run
run: build ## run a node on a folder store, on 127.0.0.1:8080
	./bin/wadi dev

.PHONY: run-minio
run-minio: build ## run a node on a local MinIO
	$(GO) build -o bin/run-minio ./localstack/cmd/run-minio
	./bin/run-minio -dir wadi-data/minio -- ./bin/wadi serve --data-dir wadi-data/node --auto-create-topics

.PHONY: cluster
cluster: build bin/cluster ## run MinIO, NODES=3 nodes and nginx, on 127.0.0.1:8080
	./bin/cluster start -dir $(CLUSTER_DIR) -nodes $(NODES) -listen $(CLUSTER_LISTEN) -wadi ./bin/wadi

.PHONY: cluster-status
cluster-status: bin/cluster ## tell what runs in a cluster, from a second terminal
	@./bin/cluster status -dir $(CLUSTER_DIR)

.PHONY: cluster-add
cluster-add: bin/cluster ## add a node to a cluster that runs
	@./bin/cluster add -dir $(CLUSTER_DIR)

.PHONY: cluster-remove
cluster-remove: bin/cluster ## drain NODE=2 and take it out
	@./bin/cluster remove "$(NODE)" -dir $(CLUSTER_DIR)

.PHONY: cluster-restart
cluster-restart: bin/cluster ## drain NODE=2, unless it is down, and start it again
	@./bin/cluster restart "$(NODE)" -dir $(CLUSTER_DIR)

.PHONY: bin/cluster
bin/cluster:
	@$(GO) build -o bin/cluster ./localstack/cmd/cluster

.PHONY: test
test: ## unit, conformance, integration and crash tests, real MinIO included
	$(GO) test -timeout 15m ./...
	$(GO) test -timeout 15m -tags failpoints -run 'Crash' ./localstack/...
	$(MAKE) --no-print-directory mutants

.PHONY: race
race: ## the unit tests under the race detector
	$(GO) test -race -timeout 30m ./...

.PHONY: mutants
mutants: ## leave out one safety rule at a time; each must turn its test red
	$(GO) run ./internal/mutant/run

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
		done; \
	done

.PHONY: bench
bench: build ## produce and replay beside the raw store, in one run
	$(GO) run ./localstack/cmd/bench --wadi ./bin/wadi

.PHONY: flights
flights: build ## produce and replay all 3,000,000 flights on MinIO with kill -9, and compare
	$(GO) run ./localstack/cmd/flights --wadi ./bin/wadi --input $(FLIGHTS_DIR)/flights-3m.ndjson.gz

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags failpoints,mutants ./...
	$(GO) run $(STATICCHECK) ./...
