# Latchkey's tasks. `make test` installs what it needs and runs every test.

TAGS    := nomsgpack
VERSION ?= 0.1.0
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build test check unit bench interop conformance screens clean

build:
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o bin/latchkey ./cmd/latchkey

# Everything, as it runs before each release.
test:
	./test/install.sh
	$(MAKE) check unit

check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go mod tidy -diff
	go vet ./...
	cd test/sqlitedrivers && go vet ./...

# The storms print what they counted.
unit:
	go test -race -timeout 40m $$(go list ./... | grep -v /test/storm)
	go test -race -timeout 20m -v ./test/storm

# Tries other people's clients again, and writes their table in docs/interop.md.
interop:
	./test/install.sh
	LATCHKEY_INTEROP_TABLE=$(CURDIR)/docs/interop.md go test -count=1 -timeout 10m -v ./test/interop

# Runs the conformance modules again, and writes their table in docs/conformance.md.
conformance:
	LATCHKEY_CONFORMANCE_TABLE=$(CURDIR)/docs/conformance.md go test -count=1 -timeout 10m ./test/conformance

# Takes the pictures of every page again: docs/screens.
screens:
	./test/install.sh
	LATCHKEY_SCREENS=$(CURDIR)/docs/screens go test -count=1 -timeout 10m -run 'TestScreens/en' ./test/e2e

clean:
	rm -rf bin

# Speed beside the ceiling of this machine, as a table; docs/performance.md.
bench:
	go build -tags $(TAGS) -o bin/bench ./test/bench
	GOGC=400 ./bin/bench # as latchkey serve sets it; the ceilings too
