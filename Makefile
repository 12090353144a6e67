# Requires only Python 3.11 and make: `make demo`, `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# uv is used if it is installed; otherwise pip installs it in .uv.
UV := $(or $(shell command -v uv),.uv/bin/uv)
RUN := .venv/bin

.PHONY: demo test check lint format types engines engines-check backbones-check fuzz faults faults-short audit sbom next-kfp image gateway-image messages clean
.DEFAULT_GOAL := demo

demo: .venv/ready  ## run the whole pipeline on a drawn data set
	$(RUN)/outnumbered data make-sample sample
	$(RUN)/outnumbered run --preset demo --output runs/demo

test: .venv/ready  ## run the tests
	$(RUN)/pytest -n auto --dist loadfile --no-loadscope-reorder

check: lint types  ## run the lint, format and type checks

lint: .venv/ready
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: .venv/ready
	$(RUN)/mypy

format: .venv/ready  ## fix lint and format
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

BEAM := $(shell sed -n '/^name = "apache-beam"$$/{n;s/^version = "\(.*\)"$$/\1/p;}' uv.lock)
PRISM := .engines/prism-$(BEAM)

engines: $(if $(shell command -v go),$(PRISM))  ## fetch Beam's Prism, on which tests run the components
	$(if $(shell command -v go),@echo "$(PRISM) is there",@echo \
	    "Go is not installed, which builds Prism; the tests that run on it are skipped")

$(PRISM):
	GOFLAGS=-mod=mod GOBIN=$(CURDIR)/.engines/new \
	    go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)
	mv .engines/new/prism $@

engines-check: .venv/ready engines  ## run the components on Prism in more ways; takes two minutes
	$(RUN)/pytest tests/engines -m engines_check

backbones-check: .venv/ready  ## build, export and serve every network of keras.applications; takes an hour
	OUTNUMBERED_ALL_BACKBONES=1 $(RUN)/pytest tests/components/trainer/test_trainer_backbones.py

FUZZ_SECONDS ?= 300

fuzz: .venv/ready  ## fuzz everything that reads what users and data give, for FUZZ_SECONDS
	$(RUN)/python -m benchmarks.fuzz --seconds $(FUZZ_SECONDS)

faults: .venv/ready  ## inject faults into whole runs; takes an hour or more
	$(RUN)/python -m benchmarks.faults

faults-short: .venv/ready  ## inject the faults that say the most; takes ten minutes
	$(RUN)/python -m benchmarks.faults --short

audit: $(filter .uv/bin/uv,$(UV))  ## look for known vulnerabilities of the locked packages
	$(PYTHON) deploy/audit.py --uv $(UV)

sbom: $(filter .uv/bin/uv,$(UV))  ## write a bill of materials of each container image into dist/
	$(PYTHON) deploy/bill_of_materials.py --uv $(UV) --output dist

next-kfp: .venv/ready  ## compile with the newest kfp too, and compare
	$(UV) pip install --quiet --python $(RUN)/python --target .next-kfp --upgrade --no-deps \
	    kfp kfp-kubernetes kfp-pipeline-spec kfp-server-api
	$(RUN)/pytest tests/kubeflow/test_next_kfp.py

.uv/bin/uv:
	$(PYTHON) -m pip install --quiet --target .uv 'uv>=0.7,<1'

.venv/ready: pyproject.toml uv.lock | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --python $(PYTHON) --compile-bytecode
	touch $@

# The installed builder; IMAGE_ARGS are its additional arguments, such as --build-arg BASE=…
BUILDER ?= $(firstword $(foreach tool,docker podman buildah,$(if $(shell command -v $(tool)),$(tool))))
IMAGE ?= outnumbered:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TARGET ?= cpu

image:  ## build the container image of the steps; TARGET=gpu for GPU nodes, worker for Beam's engines
	$(if $(BUILDER),,$(error docker, podman or buildah is required; set BUILDER= to use another builder))
	$(BUILDER) build --target $(TARGET) $(IMAGE_ARGS) --tag $(IMAGE)$(if $(filter-out cpu,$(TARGET)),-$(TARGET)) \
	    --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) .

GATEWAY_IMAGE ?= $(subst outnumbered:,outnumbered-gateway:,$(IMAGE))

gateway-image:  ## build the container image of the gateway in front of the model server
	$(if $(BUILDER),,$(error docker, podman or buildah is required; set BUILDER= to use another builder))
	$(BUILDER) build --file deploy/gateway/Dockerfile $(IMAGE_ARGS) --tag $(GATEWAY_IMAGE) \
	    --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null || echo unknown) .

messages: .venv/ready  ## generate the gateway's gRPC messages from their .proto
	cd deploy/gateway && ../../$(RUN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
	    gateway/serving.proto

clean:
	rm -rf .venv .uv .next-kfp .engines runs sample .pytest_cache .mypy_cache .ruff_cache
