# make run: CATHODE on the bundled sample, from a bare checkout.   make search: a search for a bump there.   make test: the tests.
# make docs: the tables made from the code.
PYTHON ?= python3
BIN := .venv/bin

RUN_DATA := sample_run/separated_data
RUN_DIR := sample_run/CATHODE_results
SEARCH_DIR := sample_run/CATHODE_search
SAMPLE := --features_file sample_data/events.features.h5 --extra_bkg_file sample_data/extra_inneronly.features.h5 --S_over_B 0.03 --seed 1

.PHONY: run search test lint docs clean

run: .venv/.installed
	$(BIN)/python run_data_preparation_LHCORD.py $(SAMPLE) --outdir $(RUN_DATA)
	$(BIN)/python run_all.py --mode CATHODE --preset paper --data_dir $(RUN_DATA) --save_dir $(RUN_DIR) \
	    --cf_n_samples 60000 --cf_epochs 40 --seed 1

search: .venv/.installed
	$(BIN)/python run_data_preparation_LHCORD.py $(SAMPLE) --outdir $(RUN_DATA)
	$(BIN)/python run_bump_hunt.py --mode CATHODE --data_dir $(RUN_DATA) --save_dir $(SEARCH_DIR) \
	    --cf_n_samples 60000 --cf_realistic_conditional --cf_oversampling --cf_no_logit --cf_model hgb --cf_n_runs 1 --cf_n_ensemble 20 \
	    --seed 1

test: .venv/.installed-dev
	$(BIN)/python -m pytest

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: .venv/.installed
	$(BIN)/python docs/make_tables.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: requirements.txt constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt
	touch $@

.venv/.installed-dev: requirements.txt requirements-scale.txt requirements-dev.txt constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt -c constraints.txt
	touch $@

clean:
	rm -rf .venv sample_run
