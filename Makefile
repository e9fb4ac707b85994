# What to run before a commit, and its parts. CI runs all of it and more: .ci/run.
.PHONY: check format lint test race lockdep noring ci
check: ; .ci/run format build lint test
format lint test race lockdep noring: ; .ci/run $@
ci: ; .ci/run

# lockdep: tests with the validator on and faults planted in the engine, its benchmark beside its peers, and what
# they find. The last two write docs/lockdep.md.
.PHONY: test-lockdep bench-lockdep bench-lockdep-off detect-lockdep fuzz-lockdep
test-lockdep:
	ENDIO_MUTATE=1 go test -tags lockdep -timeout 20m ./...

bench-lockdep: bench-lockdep-off
	cd bench/lockdep && go run -tags lockdep,deadlock . -doc ../../docs/lockdep.md speed

bench-lockdep-off:
	cd bench/lockdep && go run . -doc ../../docs/lockdep.md speed

detect-lockdep:
	cd bench/lockdep && go test -tags lockdep,deadlock -count=1 . && go run -tags lockdep,deadlock . -doc ../../docs/lockdep.md detect

fuzz-lockdep:
	go test ./lockdep/selftest -run NONE -fuzz FuzzParse -fuzztime 2m -fuzzminimizetime 1s

# explore: speed on one core, longer comparisons of the reduction, and 10 million executions without a leak.
.PHONY: bench-check bench-check-explore explore-long
bench-check: bench-check-explore

bench-check-explore:
	GOMAXPROCS=1 go test ./explore -run NONE -bench 'Optimal|Sleep|Random' -benchtime 200000x -count 5
	go test ./explore -run NONE -bench Cached -benchtime 2s -count 5
	go test ./explore -run NoLeak -v -explore.long

explore-long:
	go test ./explore -run 'Oracle' -v -timeout 1h -oracle.programs 200000 -oracle.seed 1000
	go test ./explore -run 'NoLeak' -v -timeout 1h -explore.long

# fio beside endio: the examples under both, and the speed of both and of os.File (docs/benchmarks.md).
# bench-peers makes the record in one go, half an hour; bench-peers-part adds what fits into two minutes to peers.out and
# writes the record from all of it: run it until it no longer says UNFINISHED. BENCH='-rows REGEXP' and the like are passed on.
.PHONY: examples examples-fio bench-peers bench-peers-part bench-peers-quick fuzz-fiojob
examples:
	go build -o ./endio ./cmd/endio
	set -e; for f in examples/*.fio; do echo "== endio run $$f"; ./endio run "$$f"; done

examples-fio: fio
	set -e; for f in examples/*.fio; do echo "== fio $$f"; fio --minimal "$$f" >/dev/null; done

.PHONY: fio
fio:
	@command -v fio >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y fio; } || \
		{ echo "fio is not installed: as root, apt-get install fio"; exit 1; }

BENCH_PEERS = cd bench && go run ./peers -dir ..
RECORD_PEERS = -doc ../docs/benchmarks.md -readme ../README.md

bench-peers: fio
	$(BENCH_PEERS) $(RECORD_PEERS) -json ../peers.out $(BENCH)

bench-peers-part: fio
	$(BENCH_PEERS) $(RECORD_PEERS) -append ../peers.out -for 130s $(BENCH)

bench-peers-quick: fio
	$(BENCH_PEERS) -quick $(BENCH)

fuzz-fiojob:
	go test ./fiojob -run NONE -fuzz FuzzParse -fuzztime 2m -fuzzminimizetime 1s

# engine: its levers and limits beside fio, os.File and plain buffered I/O (root adds loop device and memory limit).
.PHONY: bench-engine bench-engine-part bench-engine-quick
BENCH_ENGINE = cd bench && go run ./engine -dir ..
RECORD_ENGINE = -doc ../docs/benchmarks.md -plot ../docs

bench-engine: fio
	$(BENCH_ENGINE) $(RECORD_ENGINE) -json ../engine.out $(BENCH)

bench-engine-part: fio
	$(BENCH_ENGINE) $(RECORD_ENGINE) -append ../engine.out -for 130s $(BENCH)

bench-engine-quick: fio
	$(BENCH_ENGINE) -quick $(BENCH)

# sim: the engine's completion code on the simulated kernel, all checks; and SPIN on an equivalent model beside it.
.PHONY: sim-full sim-random sim-mutants bench-check-spin
bench-check: bench-check-spin

# sim-full: the large checks, too, all exhausted. Of "four" 10,513,359 states with full preemption, lazy and RT each, and 2,151,253 without preemption;
# of "all" 6,419,852 and 719,155, and 14,191,221 (5.4 GB) with CPUs that are several threads each, which is left out for "four": it had more than 51 million
# there. One hour and a quarter of processor time on two processors that also did other work. No time limit: it is not the machine's speed that decides.
sim-full:
	ENDIO_SIM=full go test ./machine/sim/... -v -timeout 0

# sim-random: more random programs, in which the search of states must find what others find.
sim-random:
	ENDIO_RANDOM=2000 go test ./machine/sim -run TestCachedSeesWhatOthersSee -v -timeout 1h

sim-mutants:
	go test ./machine/sim/enginecheck -run TestMutants -v -timeout 30m

bench-check-spin:
	cd bench/spin && go run . -rounds 5


# Faults, crashes and real file systems (loop devices as root; skipped with a reason without).
.PHONY: soak crash linear fuzz-fsxlog
soak:
	ENDIO_SOAK=10m go test -run 'TestOnlineUnderLoad|TestFollow' -timeout 40m -v .

crash:
	ENDIO_CRASHES=1000 go test -run 'TestCrash' -timeout 60m -v ./internal/fscheck

linear:
	ENDIO_HISTORIES=1000 go test -run TestLinearizable -timeout 60m -v ./internal/fscheck

fuzz-fsxlog:
	go test ./fsxlog -run NONE -fuzz FuzzParse -fuzztime 1m -fuzzminimizetime 1s

# scenarios: every scenario but the slow ones, in four minutes on two processors; findings: docs/findings.md from the runs of the checker;
# scenarios-slow: those that take long, with a line of progress every 10 s. All cases are exhausted, by seven searches of one to seven million
# states each, in 24 minutes on a machine that was busy otherwise.
.PHONY: scenarios scenarios-slow findings findings-current fuzz-scenario
scenarios:
	go run ./cmd/endio check all

scenarios-slow:
	go run ./cmd/endio check scenarios/slow --slow

findings:
	go run ./internal/findings

findings-current:
	go run ./internal/findings -check

fuzz-scenario:
	go test ./scenario -run NONE -fuzz FuzzParse -fuzztime 2m -fuzzminimizetime 1s
