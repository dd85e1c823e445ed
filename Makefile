# VikDB: `make run` starts a cluster of three, `make test` proves the build. All builds are release builds.

export SWIFT ?= swift

.PHONY: build run test bench format clean

build:
	@scripts/prerequisites.sh build
	$(SWIFT) build -c release
	@scripts/link-binaries.sh

run: build
	@scripts/prerequisites.sh run
	@scripts/run-cluster.sh

test:
	@scripts/prerequisites.sh test
	@scripts/test.sh

bench: build
	./vikbench --nodes 3 --ops 100000

format:
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests

# Keeps the data of `make run`; remove ./data by hand.
clean:
	rm -rf .build vikdb vikbench
