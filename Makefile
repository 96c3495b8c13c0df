# Everything that people and CI call. Needs Go; `make smoke` needs wrk too.

export GOTOOLCHAIN := auto
# Objects from informers are read-only: a test that changes one panics.
export KUBE_CACHE_MUTATION_DETECTOR := true

SHELL := /bin/bash
FUZZ_TIME ?= 30s
FUZZ_JOBS ?= $(shell nproc)
# Fuzzes target $2 of package $1 on a processor of its own. Its output comes in one piece, at
# its end; a failure fails all, once the others have ended.
FUZZ_ONE = said=$$(GOMAXPROCS=1 go test -run "^\$$" -fuzz "^$$2\$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 2s "$$1" 2>&1); failed=$$?; \
	exec 9<Makefile; flock 9; printf "fuzz %s %s\n%s\n" "$$1" "$$2" "$$said"; exit $$failed
# For the longest package, which starts an API server; a first run builds it too.
TEST_TIMEOUT ?= 30m
LINT := go tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build profile image run test lint bpf generate fuzz smoke h2spec bench bench-tunnel bench-bpf conformance services clean

help: ## say what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## bin/lintel, one static file
	CGO_ENABLED=0 go build -buildvcs=auto -trimpath -pgo=cmd/lintel/bench.pgo -ldflags='-s -w' -o bin/lintel ./cmd/lintel

# What Lintel is optimized for: each case has a part of the code to itself.
PROFILED ?= h1-1k,tls-1k,tls-handshake,h2-1k,grpc-unary,hosts-5000,websocket-echo

profile: ## cmd/lintel/bench.pgo anew: where the program spends its time, by which it is optimized; 2 minutes
	@bench/install.sh
	CGO_ENABLED=0 go build -trimpath -tags profile -ldflags='-s -w' -o bin/lintel-profile ./cmd/lintel
	go build -o bin/bench ./bench
	rm -rf bin/profiles && mkdir bin/profiles
	CPU_PROFILE=$(CURDIR)/bin/profiles bin/bench -lintel bin/lintel-profile -peers lintel -case '$(PROFILED)' -rounds 3 -seconds $(or $(SECONDS_EACH),4)
	go tool pprof -proto -symbolize=none -ignore 'linux\.Syscall6$$' bin/profiles/*.pprof >bin/bench.pgo && mv bin/bench.pgo cmd/lintel/

image: ## bin/lintel.tar, the container image, for amd64 and arm64
	@mkdir -p bin
	go run ./deploy/image -o bin/lintel.tar

run: build ## serve examples/standalone on :8080 and :8443, with its backends
	CGO_ENABLED=0 go build -trimpath -o bin/backend ./examples/backend
	@exec examples/run.sh

test: ## every test, with the race detector
	go test -race -timeout $(TEST_TIMEOUT) ./...

lint: ## formatting, vet, golangci-lint
	@test -z "$$(gofmt -l . | tee /dev/stderr)" || { echo 'lint: gofmt these files' >&2; exit 1; }
	go vet ./... && go vet -tags smoke,profile ./cmd/lintel
	$(LINT) run

# Objects of eBPF programs, and the Go that embeds them.
BPF_OBJECTS = find bpf -name '*_bpfel.o' -o -name '*_bpfel.go' | sort
# Other versions of clang build other bytes.
export BPF2GO_CC ?= clang-14
export BPF2GO_STRIP ?= llvm-strip-14

bpf: ## build the eBPF programs anew; fails if what is committed was not that; needs clang-14, llvm-14
	@before=$$($(BPF_OBJECTS) | xargs -r sha256sum); go generate ./bpf/... && after=$$($(BPF_OBJECTS) | xargs -r sha256sum); built=$$?; \
	if [ $$built != 0 ]; then exit 1; fi; \
	diff <(echo "$$before") <(echo "$$after") >&2 || { echo 'bpf: these were not current; commit them' >&2; exit 1; }

generate: ## files that are made from others; eBPF programs where clang-14 is installed
	@if command -v $(BPF2GO_CC) >/dev/null; then echo 'go generate ./bpf/...'; go generate ./bpf/...; else echo 'no $(BPF2GO_CC): eBPF programs stay as they are'; fi
	go test ./cmd/lintel -count=1 -run '^Test(ConfigurationPage|ChartSchema)IsCurrent$$' -write-page
	go test ./deploy -count=1 -run '^Test(RenderedFiles|ReferencePage)(Is|Are)Current$$' -update
	go test ./conformance -count=1 -run '^TestGatewayAPIPageIsCurrent$$' -write-page

fuzz: ## each fuzz target for $(FUZZ_TIME), as many at once as there are processors
	@set -euo pipefail; listed=$$(go test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[n++] = $$1 } /^ok/ { while (n) print $$2, names[--n] }'); \
	xargs -P $(FUZZ_JOBS) -L 1 bash -c '$(FUZZ_ONE)' fuzz <<<"$$listed"

smoke: build ## 20,000 requests under wrk while the configuration changes
	go test -tags smoke -count=1 -v -timeout 10m -run '^TestSmoke' ./cmd/lintel

h2spec: build ## HTTP/2 conformance of bin/lintel, cleartext and over TLS
	go test -count=1 -v -timeout 20m ./conformance/h2spec -lintel $(CURDIR)/bin/lintel

bench: build ## beside nginx, HAProxy, Traefik, Caddy; CASE=h1-1k,… PEERS=nginx,… ROUNDS=5 SECONDS_EACH=2.5 RATE=0
	@bench/install.sh
	go build -pgo=cmd/lintel/bench.pgo -o bin/bench ./bench
	@exec bin/bench -case '$(CASE)' -peers '$(PEERS)' -rounds $(or $(ROUNDS),5) -seconds $(or $(SECONDS_EACH),2.5) -rate $(or $(RATE),0)

bench-tunnel: build ## Lintel's own tunnel beside cloudflared in front of Lintel, on a fake edge; ROUNDS=5 SECONDS_EACH=2.5
	go build -o bin/bench ./bench
	@exec taskset -c 1 bin/bench tunnel -rounds $(or $(ROUNDS),5) -seconds $(or $(SECONDS_EACH),2.5)

bench-bpf: ## connect() to Services by socket LB, nftables and iptables; needs root, iproute2, nftables, iptables
	EBPF_TESTS=require go test ./bpf/socketlb -count=1 -v -run '^TestConnectTable$$' -connect-table

conformance: ## the Gateway API suite, every profile, against the chart on a real cluster; needs root, runc, nftables
	go run ./conformance/run

services: ## Pods reach Services on a real node without kube-proxy, by socket-lb; needs what conformance needs
	go run ./conformance/services

clean:
	rm -rf bin
