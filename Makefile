# Targets for people and for CI. `make help` lists them.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 20s
# Real input for integration tests and `make flights`; the repository carries
# a slice of it for machines that do not have the whole.
FLIGHTS_DIR ?= ../shared/data
# Of `make linearizability`: the seeds 1 to HISTORIES, or SEED alone if it is not 0.
HISTORIES   ?= 2000
SEED        ?= 0

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

.PHONY: test
test: ## unit, conformance, integration and crash tests, real MinIO included
	$(GO) test -timeout 15m ./...
	$(GO) test -timeout 15m -tags failpoints -run 'Crash' ./localstack/...
	$(MAKE) --no-print-directory mutants

.PHONY: race
race: ## the unit tests under the race detector
	$(GO) test -race -timeout 30m ./...

.PHONY: linearizability
linearizability: ## check HISTORIES histories of nodes that fail, or that of one SEED
	cd localstack/linear && $(GO) test -count=1 -timeout 60m -run '^TestLinearizability$$' \
		-args -linear.histories=$(HISTORIES) -linear.seed=$(SEED)

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
