# make run: the whole service on this machine. make test, make check, make test-browser, make test-chaos: what CI runs.
PYTHON ?= python3
BIN := .venv/bin
# The lock files are complete. Resolved anew, pytest-cov's coverage[toml] would be the newest, which has no hash there.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps
export HOST ?= 127.0.0.1
export PORT ?= 8000

.PHONY: run sbom test test-browser test-chaos test-fuzz test-scale test-aws screenshots check verify-deploy lock
.DEFAULT_GOAL := run

# Installed again only when the locked requirements change, so that a second start needs no network.
$(BIN)/python:
	$(PYTHON) -m venv .venv
.venv/.base: requirements/base.txt | $(BIN)/python
	$(PIP) -r requirements/base.txt
	touch $@
.venv/.model: requirements/model.txt .venv/.base
	$(PIP) -r requirements/model.txt
	touch $@
.venv/.dev: requirements/dev.txt | $(BIN)/python
	$(PIP) -r requirements/dev.txt
	touch .venv/.base .venv/.model $@
.venv/.fuzz: requirements/fuzz.txt | $(BIN)/python
	$(PIP) -r requirements/fuzz.txt
	touch .venv/.base .venv/.model .venv/.dev $@
.venv/.browser: requirements/browser.txt | $(BIN)/python
	$(PIP) -r requirements/browser.txt
	touch .venv/.base .venv/.model .venv/.dev $@
.venv/.audit: requirements/audit.txt .venv/.base
	$(PIP) -r requirements/audit.txt
	touch $@
.venv/.deploy: requirements/deploy.txt | $(BIN)/python
	$(PIP) -r requirements/deploy.txt
	touch .venv/.base .venv/.model .venv/.dev $@

run: .venv/.base
	$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py install_model --check 2>/dev/null \
		|| { $(MAKE) .venv/.model && $(BIN)/python manage.py install_model; } \
		|| echo "Starting without a model: uploads are kept, and classified once one is installed."
	@echo "http://$(HOST):$(PORT)/ is where photos go. Ctrl-C stops web and worker."
	@exec deploy/run.sh

test: .venv/.dev
	$(BIN)/python -m pytest

# Which of the slow tests, as pytest's -k has it, and how many at a time: make test-chaos TESTS=full_disk LANES=1
TESTS ?=
LANES ?= 2

# The whole corpus, requests from the OpenAPI document, and FUZZ_EXAMPLES of each made-up input: 1000 take some hours.
test-fuzz: .venv/.fuzz
	$(BIN)/python -m pytest -m fuzz --no-cov --numprocesses=0 --timeout=0 -o faulthandler_timeout=0 -k "$(TESTS)" predictions
	$(BIN)/python -m pytest --no-cov --timeout=0 -o faulthandler_timeout=0 predictions/tests/test_inputs.py predictions/tests/test_bodies.py

# In Debian's chromium, which must be there: apt-get install chromium. One process: the tests share a service.
test-browser: .venv/.browser
	$(BIN)/python -m pytest -m browser --no-cov --numprocesses=0

# Faults on the real processes, on SQLite and PostgreSQL. In full: make test-chaos CHAOS_UPLOADS=1000 CHAOS_KILLS=50
# As root it also fills a disk and puts several machines, with networks of their own, on this one, behind Debian's caddy;
# with PostgreSQL's binaries it restarts a server of its own.
test-chaos: export CHAOS_UPLOADS ?= 60
test-chaos: export CHAOS_KILLS ?= 6
test-chaos: .venv/.dev
	$(BIN)/python -m pytest -m chaos --no-cov --numprocesses=$(LANES) --dist=load --timeout=3600 -o faulthandler_timeout=0 -rP -k "$(TESTS)" config

# A million rows, 100,000 exported, 2,000 photos imported and classified: prints how long that takes, and at which size
# of memory. Fewer for a try: make test-scale SCALE_PERCENT=1. On PostgreSQL: DATABASE_TEST_URL=postgres://...
test-scale: export SCALE_PERCENT ?= 100
test-scale: .venv/.dev
	$(BIN)/python -m pytest -m scale --no-cov --numprocesses=0 --timeout=0 -o faulthandler_timeout=0 -s predictions

# The CloudFormation templates, linted, and created in moto's simulation of AWS on this machine.
test-aws: .venv/.deploy
	$(BIN)/python -m pytest --no-cov --numprocesses=0 deploy/aws/tests

# docs/screenshots, of generated pictures. Others: python -m config.tests.screenshots --photos DIR
screenshots: .venv/.browser
	$(BIN)/python -m config.tests.screenshots

# What runs in production: sbom.json (CycloneDX), with versions and hashes, and the licences in docs/licences.md.
sbom: .venv/.audit
	$(BIN)/cyclonedx-py requirements requirements/production.txt --output-reproducible --output-file sbom.json
	$(BIN)/pip-licenses --from=mixed --format=markdown --with-urls --output-file=docs/licences.md \
		--packages $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' requirements/production.txt | sort -u)

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	ENVIRONMENT=prod SECRET_KEY=$$($(BIN)/python -c "import secrets; print(secrets.token_urlsafe(50))") ALLOWED_HOSTS=example.org LIMITS_URL=redis:// \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

# What deploy/ and .github/ hold, by whatever is installed; IMAGES=1 builds the images too, which takes ten minutes.
verify-deploy: .venv/.deploy
	PATH="$(CURDIR)/$(BIN):$$PATH" deploy/verify.sh

# Needs uv. Every supported Python and platform in one file, with hashes.
lock:
	for name in base model production dev fuzz browser audit deploy; do \
		uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--custom-compile-command "make lock" requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done
