# The doors into the repository. Each sets up what is missing first; `python3` may be any from 3.11 on.
set-up := python3 hub/rs_platform/bootstrap.py

.PHONY: demo test unit lint browser bench faults up down status doctor

demo:  ## install what is missing, start the platform, run the main job
	$(set-up) -- rs demo
test:  ## everything that must hold: style, types, layers, unit, integration, notebooks, browser
	$(set-up) --with-tests -- python -m rs_platform.checks all
unit:  ## unit tests only, without any service
	$(set-up) -- python -m rs_platform.checks unit
lint:  ## style, types and layers only
	$(set-up) -- python -m rs_platform.checks lint
browser:  ## what people see, in a real browser; a part of `test`
	$(set-up) --with-tests -- python -m rs_platform.checks browser
bench:  ## measurements; not part of `test`
	$(set-up) --with-tests -- python -m rs_platform.checks bench
faults:  ## kill everything, hundreds of times, and let stations fail in every way; half an hour and more
	$(set-up) --with-tests -- python -m rs_platform.checks faults
up:  ## start the platform and return
	$(set-up) -- rs up -d
down:  ## stop the platform; the data stays
	$(set-up) -- rs down
status:  ## how each service is
	$(set-up) -- rs status
doctor:  ## what this machine lacks, and what installs it
	PYTHONPATH=hub python3 -m rs_platform.doctor
