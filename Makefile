# Latchkey's tasks. `make test` installs what it needs and runs every test.

TAGS    := nomsgpack
VERSION ?= 0.1.0
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build test check unit storm leaks scale proof fuzz bench interop conformance attacks reliability screens operations traefik deb release clean

build:
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o bin/latchkey ./cmd/latchkey

# The Debian package of one architecture in dist/, with what goes into it. The
# same sources and the same Go make the same bytes.
ARCH ?= $(shell go env GOARCH)
DIST ?= dist/$(ARCH)
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# Settings of whoever builds must not show in what is built.
GOENVS := env -u GOOS -u GOARCH GOFLAGS=-trimpath GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= CGO_ENABLED=0
TOOLS := -modfile=deploy/tools/go.mod
# Run and not `go tool`, which compiles without -trimpath: the bill of materials has the hash of the program that wrote it.
SBOM := $(GOENVS) go run $(TOOLS) github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod bin

SHARED := caddy crowdsec fail2ban grafana nginx prometheus traefik

deb:
	rm -rf $(DIST)/share
	mkdir -p $(DIST)/completion $(DIST)/share
	cp -R $(addprefix deploy/,$(SHARED)) $(DIST)/share/
	chmod -R u=rwX,go=rX $(DIST)/share
	$(GOENVS) GOOS=linux GOARCH=$(ARCH) go build -buildvcs=false -tags $(TAGS) -ldflags "$(LDFLAGS)" -o $(DIST)/latchkey ./cmd/latchkey
	for shell in bash zsh fish; do $(GOENVS) go run -tags $(TAGS) ./cmd/latchkey completion $$shell >$(DIST)/completion/latchkey.$$shell || exit 1; done
	$(SBOM) -json -noserial -notimestamp -version $(VERSION) -output $(DIST)/sbom.json $(DIST)/latchkey
	ARCH=$(ARCH) VERSION=$(VERSION) DIST=$(DIST) $(GOENVS) go tool $(TOOLS) nfpm package --config deploy/nfpm.yaml --packager deb --target $(DIST)

# What a release offers: program, package and bill of materials for each
# architecture, and their checksums.
release:
	for arch in amd64 arm64; do $(MAKE) deb ARCH=$$arch || exit 1; done
	cd dist && sha256sum */latchkey */sbom.json */*.deb >SHA256SUMS

# Everything, as it runs before each release. The end says what of it could not run.
test:
	./test/install.sh
	$(MAKE) check unit
	@cat bin/not-run

check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go mod tidy -diff
	go vet ./...
	cd test/sqlitedrivers && go vet ./...
	./test/analyse.sh

# SQLite, which is here as Go that was made from its C, and the hashing of passwords
# work in memory of their own: the race detector would find nothing of ours there, and
# makes the tests five times as long.
UNWATCHED := github.com/ncruces/go-sqlite3-wasm/... github.com/go-crypt/x/... github.com/trustelem/zxcvbn/...
RACE := -race $(patsubst %,-gcflags=%=-race=false,$(UNWATCHED))

# Walks through every page, one request after the other, and through every state of
# the refresh rule, in one goroutine; and what another test does less often: the race
# detector would find nothing in them, and makes them ten times as long.
WALKS := ^Test(X02TenThousand|X03FloodOf|X03LoginsOf|X04Everybody|EveryPage|EveryLink|W01HostileTexts|NoPageSaysSecrets|S04EveryForm|OfficeSessionsAreLookedThrough|NoFalseLogoutInTheWholeStateSpace|SearchRefutesWorseRules|ThiefWithACopy|RuleProperties)

# The storms print what they counted, and the package's tests how far they could
# go on this machine.
unit:
	go test $(RACE) -timeout 40m -skip '$(WALKS)' $$(go list ./... | grep -v -e /test/storm -e /test/packaging)
	go test -timeout 20m -run '$(WALKS)' ./web ./broker ./cmd/latchkey
	go test $(RACE) -timeout 25m -v ./test/storm ./test/packaging
	./test/fuzz.sh

# The storms for long, and what they counted into docs/proof.md.
storm:
	./test/install.sh
	LATCHKEY_TEST_STORM=long LATCHKEY_WRITE=1 go test -count=1 -timeout 5h -v -run 'TestKillSQLite|TestKillOneOfTwoOnPostgres|TestCrashPostgres|TestAllComeAtOnceAfterAnOutage|TestKilledBeforeTheCommit|TestSQLiteLongReader|TestRestoreSQLite|TestRestorePostgres$$|TestDiskIsFull$$' ./test/storm

# An hour of everything, and what the program keeps of it, into docs/proof.md.
leaks:
	./test/install.sh
	LATCHKEY_TEST_STORM=long LATCHKEY_WRITE=1 go test -count=1 -timeout 2h -v -run TestLeaks ./test/storm

# What becomes slower as sessions become more, into docs/proof.md; five minutes.
scale:
	./test/install.sh
	go build -tags $(TAGS) -o bin/bench ./test/bench
	GOGC=400 ./bin/bench -only scale -write docs/proof.md

# All that docs/proof.md and the documents that it names are made of, one after the
# other, on a machine that does nothing else: about six hours.
proof:
	for part in storm leaks scale fuzz attacks reliability interop conformance; do $(MAKE) $$part || exit 1; done
	LATCHKEY_WRITE=1 go test -count=1 -run TestRulesOnOneTrace ./test/rules
	$(MAKE) bench

# Every fuzz target for longer, and how much was tried into docs/proof.md.
fuzz:
	LATCHKEY_WRITE=1 FUZZTIME=5m ./test/fuzz.sh

# Tries other people's clients again, and writes their table in docs/interop.md.
interop:
	./test/install.sh
	LATCHKEY_WRITE=1 go test -count=1 -timeout 10m -v ./test/interop

# Runs the conformance modules again, and writes their table in docs/conformance.md.
conformance:
	LATCHKEY_WRITE=1 go test -count=1 -timeout 10m ./test/conformance

# Attacks Latchkey again, and writes docs/attacks.md.
attacks:
	./test/install.sh
	go run ./test/attacks

# Does to Latchkey again what may go wrong, and writes docs/reliability.md.
reliability:
	./test/install.sh
	go run ./test/attacks -list reliability

# Types every command of docs/operations.md on a Debian machine in a box; as root.
operations: deb
	go run ./test/operations -deb $(DIST)/latchkey_$(VERSION)_$(ARCH).deb

# Forward auth behind a real Traefik, as `make test` tries it behind nginx and Caddy;
# docs/forward-auth.md says where the program comes from.
TRAEFIK ?= $(shell command -v traefik)
traefik:
	TRAEFIK=$(abspath $(TRAEFIK)) go test -count=1 -tags $(TAGS),traefik -v -run Traefik ./test/proxy

# Takes the pictures of every page again: docs/screens.
screens:
	./test/install.sh
	LATCHKEY_SCREENS=$(CURDIR)/docs/screens go test -count=1 -timeout 20m -run 'TestScreens/en|TestFirstRun' ./test/e2e

clean:
	rm -rf bin dist

# Speed beside the ceiling of this machine, into docs/performance.md. GOGC as latchkey
# serve sets it, for the ceilings too.
bench:
	go build -tags $(TAGS) -o bin/bench ./test/bench
	GOGC=400 ./bin/bench -write docs/performance.md
