# lockdep: tests with the validator on, its benchmark beside its peers, and what they find.
.PHONY: test-lockdep bench-lockdep detect-lockdep fuzz-lockdep
test-lockdep:
	go test -tags lockdep ./...

bench-lockdep:
	cd bench/lockdep && go run -tags lockdep,deadlock . speed
	cd bench/lockdep && go test -run NONE -bench Off .

detect-lockdep:
	cd bench/lockdep && go test -tags lockdep,deadlock -count=1 . && go run -tags lockdep,deadlock . detect

fuzz-lockdep:
	go test ./lockdep/selftest -run NONE -fuzz FuzzParse -fuzztime 2m
