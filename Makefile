# Targets for people and for CI. `make help` lists them.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 20s
SEEDS       ?= 1000
# Real input for integration tests and `make flights`; the repository carries
# a slice of it for machines that do not have the whole.
FLIGHTS_DIR ?= ../shared/data
# Of make chaos and its like: 0 is one by chance.
SEED        ?= 0
# Of make cluster: how many nodes, where nginx listens, where all data is.
NODES          ?= 3
CLUSTER_LISTEN ?= 127.0.0.1:8080
CLUSTER_DIR    ?= wadi-data/cluster
# Of make schemathesis: seconds.
SCHEMATHESIS_TIME ?= 180
# Of make linearizability: the seeds 1 to HISTORIES, or SEED alone if it is not 0.
HISTORIES      ?= 2000
SEED           ?= 0
# Of make soak: the worlds in virtual time, from the first seed on, and the minutes
# of load on real nodes.
SOAK_SEEDS     ?= 500
SOAK_FIRST     ?= 1
MINUTES        ?= 10

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
	# Most of the time they wait: for a lease to run out, for garbage to go.
	$(GO) test -timeout 15m -tags failpoints -parallel 5 -run 'Crash' ./localstack/...
	$(MAKE) --no-print-directory mutants

.PHONY: simulate
simulate: ## the catalog's schedules, random and named, SEEDS=1000 seeds each
	$(GO) test ./catalog -timeout 120m -run 'TestSimulation$$|TestSchedule' -simulation.seeds=$(SEEDS)

.PHONY: race
race: ## the unit tests under the race detector
	$(GO) test -race -timeout 30m ./...

.PHONY: linearizability
linearizability: ## check HISTORIES histories of nodes that fail, or that of one SEED
	cd localstack/linear && $(GO) test -count=1 -timeout 60m -run '^TestLinearizability$$' \
		-args -linear.histories=$(HISTORIES) -linear.seed=$(SEED)

.PHONY: linear-processes
linear-processes: ## check 36 histories of real nodes on MinIO, killed and frozen
	cd localstack/linear && $(GO) test -count=1 -timeout 15m -run '^TestProcesses$$' -args -linear.processes=36 -linear.seed=$(SEED)

.PHONY: soak
soak: build ## SOAK_SEEDS=500 worlds beside a naive model, then MINUTES=10 of real nodes whose bytes stay level
	cd localstack/soak && $(GO) test -count=1 -timeout 120m -run '^TestSoak$$' \
		-args -soak.seeds=$(SOAK_SEEDS) -soak.first=$(SOAK_FIRST) -soak.seed=$(SEED)
	$(GO) run ./localstack/cmd/soak --wadi ./bin/wadi --seed $(SEED) --duration $(MINUTES)m

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

.PHONY: schemathesis
schemathesis: build ## an outside tool tries the API by its OpenAPI document for SCHEMATHESIS_TIME=180 s
	localstack/schemathesis/run.sh bin/wadi $(SCHEMATHESIS_TIME) $(SEED)

.PHONY: bench
bench: build ## produce and replay beside the raw store, in one run
	$(GO) run ./localstack/cmd/bench --wadi ./bin/wadi --flights $(FLIGHTS_DIR)/flights-3m.ndjson.gz

.PHONY: bench-s3
bench-s3: build bin/s3-shape ## the same beside a store that answers as slowly as S3
	$(GO) run ./localstack/cmd/bench --wadi ./bin/wadi --s3-shape ./bin/s3-shape --flights $(FLIGHTS_DIR)/flights-3m.ndjson.gz

.PHONY: bin/s3-shape
bin/s3-shape:
	@$(GO) build -o bin/s3-shape ./localstack/cmd/s3-shape

.PHONY: put-budget
put-budget: ## draw latency against PUT budget on such a store, without what a processor takes
	$(GO) test ./ingest -count=1 -run '^TestLatencyModel$$' -v -args -model.requests=4000 -model.seeds=2 \
		-model.rates=1,10,100,1000 -model.budgets=0,20,10,5,2 -model.out=$(CURDIR)/docs/images/put-budget.json
	$(GO) run ./localstack/cmd/bench-plot --json docs/images/put-budget.json --out docs/images/put-budget.svg

.PHONY: metascale
metascale: ## the catalog with 1 M partitions and 10 M extents, and the start from 10,000 slots
	$(GO) build -o bin/metascale ./localstack/cmd/metascale
	./bin/metascale
	./bin/metascale --slots 10000

.PHONY: flights
flights: build ## produce and replay all 3,000,000 flights on MinIO with kill -9, and compare
	$(GO) run ./localstack/cmd/flights --wadi ./bin/wadi --input $(FLIGHTS_DIR)/flights-3m.ndjson.gz

.PHONY: chaos
chaos: build ## at least 100 faults and 1,000,000 acknowledged records on 3 to 5 nodes; SEED=N repeats one
	$(GO) run ./localstack/cmd/chaos --wadi ./bin/wadi --seed $(SEED) --cycles 100 --duration 10m --faults-min 100 --records-min 1000000

# Four sittings, so that each log can be audited on all nodes in minutes, and
# two of them can run at once: make -j2 chaos-long.
CHAOS_SITTINGS := 1 2 3 4

.PHONY: chaos-long
chaos-long: $(CHAOS_SITTINGS:%=chaos-long-%) ## 1,000 cycles of faults in four sittings, which take hours

.PHONY: $(CHAOS_SITTINGS:%=chaos-long-%)
$(CHAOS_SITTINGS:%=chaos-long-%): chaos-long-%: build
	$(GO) run ./localstack/cmd/chaos --wadi ./bin/wadi --seed $(SEED)$* --cycles 250 --faults-min 250 --records-min 1250000

.PHONY: takeover
takeover: build ## kill the leader under load, and measure how long producers wait
	$(GO) run ./localstack/cmd/chaos --wadi ./bin/wadi --seed $(SEED) --scenario takeover --rounds 10

.PHONY: rolling
rolling: build ## restart all nodes under load, with no failed request
	$(GO) run ./localstack/cmd/chaos --wadi ./bin/wadi --seed $(SEED) --scenario rolling --rounds 5

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags failpoints,mutants ./...
	$(GO) run $(STATICCHECK) ./...
