# make run     start the service on http://127.0.0.1:8000 (PORT=… changes it) and print the cards of an invented patient
# make demo    the same, then stop
# make test    run every test
# make check   lint, types, import contracts, knowledge, documents
# make pictures   the pages, pictured anew for docs/
# make commands   write docs/commands.md anew from the program
# make docs    build the documents as a site, to read without a network, in var/site
# make bench   measure throughput beside two floors
# make sbom    write a bill of materials of the runtime, CycloneDX in JSON, to var/sbom.json

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run demo test check pictures commands docs bench sbom clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

run: $(RUNTIME)
	CDS_PORT=$(PORT) exec $(BIN)/cds-service serve --try --show-cards

demo: $(RUNTIME)
	CDS_PORT=$(PORT) $(BIN)/cds-service demo

test: $(DEV)
	@sh deploy/need.sh '/usr/lib/postgresql/*/bin/postgres' postgresql
	@sh deploy/need.sh /usr/bin/chromium chromium
	@sh deploy/need.sh '/usr/lib/*/faketime/libfaketimeMT.so.1' faketime
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cds-service check
	$(BIN)/cds-service catalogue --check

pictures: $(DEV)
	@sh deploy/need.sh /usr/bin/chromium chromium
	$(BIN)/python -m tests.support.pictures

commands: $(DEV)
	$(BIN)/python -m tests.support.command_reference

docs: $(DEV)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -c docs/site -d var/site-cache . var/site
	@echo "Open var/site/index.html"

bench: $(DEV)
	$(BIN)/python -m bench

sbom: $(DEV)
	@mkdir -p var
	$(BIN)/cyclonedx-py requirements --output-reproducible --of JSON -o var/sbom.json deploy/runtime.lock

clean:
	rm -rf $(VENV) var .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@sh deploy/make-venv.sh "$(PYTHON)" "$(VENV)"

$(RUNTIME): deploy/runtime.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes --no-deps -r deploy/runtime.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): deploy/dev.lock $(RUNTIME)
	$(PIP) install --require-hashes --no-deps -r deploy/dev.lock
	@touch $@
