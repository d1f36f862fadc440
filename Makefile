# Every target sets up what it needs in a local virtual environment.

VENV := .venv
BIN := $(VENV)/bin
# the rules call polycal by name
export PATH := $(CURDIR)/$(BIN):$(PATH)
READY := $(VENV)/.ready
PYTHON ?= python3
STUDIES := config/config.yaml config/mini.yaml config/real.yaml $(wildcard config/experiments/*.yaml)
PAPER := $(CURDIR)/config/languages.yaml+$(CURDIR)/config/config.yaml
# empty files with the names that the studies of own files expect
OWN := .cache/own
# Reads lines of configuration files, joined by +, and plans each study, two at a time. Only a failure is printed.
DRY_RUNS = tr + ' ' | xargs -P 2 -L 1 sh -c 'plan=$$($(BIN)/snakemake --dry-run --profile profiles/local "$$@" 2>&1) \
	|| { echo "$$plan"; exit 255; }; echo "planned: $$*"' plan

.PHONY: demo demo-full study real real-rates real-base real-full report report-screens publish publish-real experiments docs test test-fast test-workflow test-slurm
.PHONY: test-thorough test-faults test-real bench bench-gpu check lock clean distclean

$(READY): envs/cpu.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement envs/cpu.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# Format, lint, types and dry runs; CI runs this before the tests.
check: $(READY)
	$(BIN)/ruff format --check src tests benchmarks workflow docs
	$(BIN)/ruff check src tests benchmarks workflow docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/snakefmt --check Snakefile workflow
	printf '%s\n' $(STUDIES) | xargs -P 2 -n 1 $(BIN)/python workflow/lint.py
	printf '%s\n' $(STUDIES) $(addprefix config/real.yaml+,$(filter-out config/real.yaml,$(wildcard config/real*.yaml))) \
		$(addprefix config/mini.yaml+,config/mini-full.yaml config/mini-seeds.yaml $(wildcard config/experiments/mini/*.yaml)) \
		| $(DRY_RUNS) --configfile
	mkdir -p $(OWN)/my-model $(OWN)/my-questions
	touch $(OWN)/my-questions.csv $(OWN)/my-conversations.jsonl $(addprefix $(OWN)/my-questions/,en.jsonl eo.jsonl fr.jsonl)
	printf '%s\n' $(PAPER)+$(CURDIR)/config/own-model.yaml \
		$(addprefix $(PAPER)+$(CURDIR)/config/mini.yaml+,$(wildcard $(CURDIR)/config/own/*.yaml)) \
		| $(DRY_RUNS) --directory $(OWN) --configfile

# The whole study on the embedded miniature; a second run does nothing and says so.
demo: $(READY)
	$(BIN)/snakemake --profile profiles/local --configfile config/mini.yaml

# Snakemake's own report: rule graph, run times, figures by question; opens offline.
report: demo
	$(BIN)/snakemake --profile profiles/local --configfile config/mini.yaml \
		--report results/studies/mini/workflow.html \
		--report-metadata results/studies/mini/provenance/landing.yaml

# Pictures of the demo's page, light and dark, 1,300 and 390 pixels wide, to look at.
report-screens: demo
	$(BIN)/python benchmarks/report_page.py results/studies/mini/report.html --screens .cache/report-screens

# In half an hour: the demo, and what needs more runs of the models, which are embeddings, next tokens, the ablation of
# languages, what the models say of their own answers, and answers that they write themselves.
demo-full: $(READY)
	$(BIN)/snakemake --profile profiles/local --configfile config/mini.yaml config/mini-full.yaml
	$(BIN)/snakemake --profile profiles/local --configfile config/mini.yaml config/experiments/mini/verbalised.yaml
	$(BIN)/snakemake --profile profiles/local --configfile config/mini.yaml config/experiments/mini/generation.yaml

# The demo's study over five base models and two tunings of each, ten times the work: up to an hour on two cores.
# Started again after an interruption, it makes only what is missing.
study: $(READY)
	$(BIN)/snakemake --profile profiles/local --configfile config/mini.yaml config/mini-seeds.yaml

# Jobs of a real model run side by side only while their memory is free. Started again after an interruption, each
# target makes only what is missing.
MEMORY = $$($(BIN)/python -c "import psutil; print(psutil.virtual_memory().available // 10**6)")
REAL_STUDY = $(BIN)/snakemake --profile profiles/local --resources mem_mb=$(MEMORY) --configfile config/real.yaml

# A study of a real multilingual model: 243 MB are downloaded, and 12 GB of memory needed; config/real.yaml has its size.
real: $(READY)
	$(REAL_STUDY)

# Which of the paper's learning rates config/real.yaml should have: four trainings.
real-rates: $(READY)
	$(REAL_STUDY) config/real-rates.yaml

# In which of 46 languages that model is above chance before tuning.
real-base: $(READY)
	$(REAL_STUDY) config/real-base.yaml

# The same study with more languages, values of beta, seeds, conversations and data sets, and with embeddings and next
# tokens: days. Before it, in an hour, what the model says of its answers, and its answers to questions without options.
real-full: $(READY)
	$(REAL_STUDY) config/real-verbalised.yaml
	$(REAL_STUDY) config/real-generation.yaml
	$(REAL_STUDY) config/real-full.yaml

# What the README shows, from the study of several seeds at the present commit; a study of one seed is refused.
publish: study
	$(BIN)/polycal publish --study results/studies/mini-seeds

# The same for the study of a real model. All its tables are in docs/results.md.
publish-real: real
	$(BIN)/polycal publish --study results/studies/real --out results/reference/real --prefix real- --readme docs/results.md

# The miniature versions of the study's experiments; results that the demo computed are reused.
experiments: $(READY)
	for overlay in config/experiments/mini/*.yaml; do \
		$(BIN)/snakemake --profile profiles/local --configfile config/mini.yaml $$overlay || exit 1; \
	done

# The documents as a site in .cache/docs/site, which opens offline; a link or reference to nothing is an error.
DOCS := .cache/docs

$(DOCS)/packages/.ready: $(READY) envs/docs.lock
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) \
		--requirement envs/docs.lock
	touch $@

docs: $(DOCS)/packages/.ready
	PYTHONPATH=$(CURDIR)/$(DOCS)/packages $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going \
		--conf-dir docs --doctree-dir $(DOCS)/doctrees . $(DOCS)/site
	@echo "$(DOCS)/site/index.html"

# Several of pytest's processes share two cores, because tests wait for processes that they start.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses

test:
	@echo "Tests of units, workflow and Slurm: about 30 minutes on two cores. make test-fast: the units, in 3 minutes."
	$(MAKE) test-fast
	$(MAKE) test-workflow
	$(MAKE) test-slurm

test-fast: $(READY)
	$(PYTEST) 2 tests/unit

test-workflow: $(READY)
	$(PYTEST) 3 tests/workflow

test-slurm: $(READY)
	$(PYTEST) 3 tests/slurm

# Families of models against their own logits, random models, tokenizers and questions, trainings on several
# processes, and logs of lm-evaluation-harness, which is installed beside the environment (270 MB).
test-thorough: $(READY) .cache/bench/scoring/.ready
	@echo "Thorough tests: about 10 minutes on two cores."
	$(PYTEST) 2 tests/thorough

# 30 random sequences of faults on a Slurm controller, each from its seed: about 40 minutes on two cores.
test-faults: $(READY)
	$(PYTEST) 2 tests/faults

# Two real language models through the whole path: Gemma 3 270M as in config/real.yaml, in small, and SmolLM2-135M.
# Packages of 600 MB, 6 GB of memory, then about a quarter of an hour on two cores.
REAL := .cache/real/packages

$(REAL)/.ready: $(READY) tests/real/requirements.txt
	rm -rf $(REAL)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(REAL) \
		--requirement tests/real/requirements.txt
	touch $@

test-real: $(REAL)/.ready .cache/bench/scoring/.ready
	PYTHONPATH=$(CURDIR)/$(REAL) OMP_NUM_THREADS=1 $(BIN)/pytest tests/real

# Ratios against peers, each pair taken in turn; figures are appended to benchmarks/results.csv.
PEERS := .cache/bench/scoring/.ready .cache/bench/smoothing/.ready
GPU_PEERS := .cache/bench/gpu/.ready

$(PEERS) $(GPU_PEERS): .cache/bench/%/.ready: benchmarks/%.txt $(READY)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) --requirement $<
	touch $@

bench: $(PEERS)
	failed=0; for part in scoring smoothing dryrun slurm; do \
		PYTHONPATH=$(CURDIR)/.cache/bench/$$part $(BIN)/python benchmarks/$$part.py --csv benchmarks/results.csv || failed=1; \
	done; exit $$failed

# Loss, training step and scoring on one GPU, at most eight minutes; without a GPU tiny sizes, which test the script.
bench-gpu: $(GPU_PEERS)
	PYTHONPATH=$(CURDIR)/.cache/bench/gpu $(BIN)/python benchmarks/gpu.py --csv benchmarks/gpu.csv

# Pins the versions that the environment holds now; a local build suffix is no released version.
lock:
	{ sed -n 1p envs/cpu.lock; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > envs/cpu.lock.part
	mv envs/cpu.lock.part envs/cpu.lock

# What is made again in minutes: logs of jobs, packages and pages in .cache, caches of tools. Results and downloads stay.
clean:
	rm -rf .cache logs .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The environment too: 2.7 GB, which the next make installs again.
distclean: clean
	rm -rf $(VENV)
