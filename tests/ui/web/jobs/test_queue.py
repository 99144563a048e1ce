"""The queue: one job at a time, in order, stored on disk; stopped by a signal, resumed; errors as one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import pytest

from erase.errors import InputError
from erase.run import Run, list_runs
from ui.web.drawing.order import Ask, Order
from ui.web.drawing.queue import Drawing
from ui.web.jobs.child import read_error, write_error
from ui.web.jobs.entry import DONE, FAILED, RUNNING, STOPPED, WAITING, read_entries
from ui.web.jobs.process import PACKAGES, command, environment, last_line
from ui.web.jobs.queue import Jobs

SMALL = ["--forget-count", "8", "--retain-count", "8", "--evaluate-count", "4", "--sampling-steps", "2", "--sampling-batch", "8"]


def star(output: Path, steps: int) -> list[str]:
    few = ["--sensitivity-batches", "1", "--batch", "4", "--device", "cpu"]
    return ["--concept", "star", *SMALL, "--steps", str(steps), *few, "--output", str(output)]


def until(condition, seconds: float = 200) -> None:
    """TicketStatus until it is so; a job in another process is seen only by what it writes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_jobs_run_one_after_another_in_order(tmp_path):
    with Jobs(tmp_path) as jobs:
        names = [jobs.add(["concepts", "star", "--count", "0"], tmp_path / name, name).id for name in "abc"]
        assert [jobs.ahead(id) for id in names] == [0, 1, 2]
        ended = [jobs.wait(id, 200) for id in names]
    assert [entry.state for entry in ended] == [DONE] * 3
    assert all(one.ended <= other.started for one, other in pairwise(ended))
    assert "star" in (tmp_path / ".ui" / "logs" / f"{names[0]}.txt").read_text()


def test_wrong_input_ends_in_one_line(tmp_path):
    with Jobs(tmp_path) as jobs:
        entry = jobs.wait(jobs.add(["--concept", "star", "--steps", "-1"], tmp_path / "a", "a").id, 200)
    assert (entry.state, entry.message) == (FAILED, "--steps is -1; expected at least 0")


@pytest.mark.slow
def test_a_job_that_is_stopped_and_resumed_equals_one_that_was_not(tmp_path):
    """Through the real command: what was drawn and done before is not done again, and the weights are the same."""
    with Jobs(tmp_path) as jobs:
        whole = jobs.add(star(tmp_path / "whole", 60), tmp_path / "whole", "whole")
        assert jobs.wait(whole.id, 200).state == DONE
        entry, run = jobs.add(star(tmp_path / "parts", 60), tmp_path / "parts", "parts"), tmp_path / "parts"
        until(lambda: (run / "checkpoint.safetensors").exists())
        assert jobs.stop(entry.id).state == "stopping"
        stopped = jobs.wait(entry.id, 100)
        assert (stopped.state, "resumed" in stopped.message) == (STOPPED, True)
        assert not Run.read(run).done("erase")
        drawn = (run / "images" / "forget" / "00000.png").stat().st_mtime_ns
        assert jobs.again(entry.id).state in (WAITING, RUNNING)
        assert jobs.wait(entry.id, 200).state == DONE
    assert (run / "images" / "forget" / "00000.png").stat().st_mtime_ns == drawn
    assert (run / "weights.safetensors").read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()
    assert json.loads((run / "report.json").read_text())["concept"] == "star"


def test_a_waiting_job_is_removed_from_the_queue(tmp_path):
    with Jobs(tmp_path) as jobs:
        first = jobs.add(["concepts"], tmp_path / "a", "a")
        second = jobs.add(["concepts"], tmp_path / "b", "b")
        assert jobs.stop(second.id).state == STOPPED
        assert jobs.wait(first.id, 200).state == DONE
        assert jobs.get(second.id).started == 0


def test_the_queue_is_bounded_and_a_folder_is_in_it_once(tmp_path):
    with Jobs(tmp_path, limit=3, each=2) as jobs:
        jobs.add(["concepts"], tmp_path / "a", "a", "anna")
        with pytest.raises(InputError, match="in the queue already"):
            jobs.add(["concepts"], tmp_path / "a", "a", "bert")
        jobs.add(["concepts"], tmp_path / "b", "b", "anna")
        with pytest.raises(InputError, match="2 of them yours"):
            jobs.add(["concepts"], tmp_path / "c", "c", "anna")
        jobs.add(["concepts"], tmp_path / "c", "c", "bert")
        with pytest.raises(InputError, match="3 at most"):
            jobs.add(["concepts"], tmp_path / "d", "d", "carl")
        for entry in jobs.entries():
            jobs.stop(entry.id)


def test_a_second_page_on_the_same_folder_is_refused(tmp_path):
    with Jobs(tmp_path), pytest.raises(InputError, match="another page already serves"):
        Jobs(tmp_path)


@pytest.mark.usefixtures("quick_processes")
def test_a_page_that_closes_leaves_its_job_in_the_queue(tmp_path):
    with Jobs(tmp_path) as jobs:
        id = jobs.add(star(tmp_path / "a", 5000), tmp_path / "a", "a").id
        until(lambda: (tmp_path / "a" / "stats.jsonl").exists())
    assert [entry.state for entry in read_entries(tmp_path / ".ui" / "queue.json")] == [WAITING]
    with Jobs(tmp_path) as jobs:
        until(lambda: jobs.get(id).state == RUNNING)
        jobs.stop(id)
        assert jobs.wait(id, 100).state == STOPPED


@pytest.mark.slow
def test_a_page_that_is_killed_takes_its_job_with_it_and_the_next_resumes_it(tmp_path):
    """SIGKILL leaves no time to tidy up: the job notices that its page is gone, and stops where it can be resumed."""
    code = f"""
        from pathlib import Path
        from ui.web.jobs.queue import Jobs
        jobs = Jobs(Path({str(tmp_path)!r}))
        entry = jobs.add({star(tmp_path / "a", 40)!r}, Path({str(tmp_path / "a")!r}), "a")
        jobs.wait(entry.id, 500)
    """
    page = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=PACKAGES, env=environment())
    until(lambda: (tmp_path / "a" / "images" / "forget" / "manifest.jsonl").exists())
    page.kill()
    page.wait()
    [entry] = read_entries(tmp_path / ".ui" / "queue.json")
    assert entry.state == WAITING
    with Jobs(tmp_path) as jobs:
        assert jobs.wait(entry.id, 300).state == DONE
    assert len(list_runs(tmp_path)) == 1


def test_a_queue_that_is_not_ours_is_not_guessed_at(tmp_path):
    (tmp_path / ".ui").mkdir()
    (tmp_path / ".ui" / "queue.json").write_text('[{"id": 3}]')
    with pytest.raises(InputError, match=r"queue.json cannot be read"):
        Jobs(tmp_path)


def test_short_commands_say_what_they_printed_or_what_was_wrong():
    end = command(["concepts", "star", "--count", "1", "--json"], 200).check()
    assert (end.status, "forget" in json.loads(end.printed)) == (0, True)
    end = command(["concepts", "star", "--count", "-1"], 200)
    assert (end.status, end.message, str(end.error)) == (2, "--count is -1; expected at least 0", "--count is -1; expected at least 0")
    with pytest.raises(InputError, match="--count is -1"):
        end.check()


def test_an_error_keeps_its_option_from_one_process_to_another(tmp_path):
    write_error(tmp_path / "a.json", InputError("--steps is -1", option="steps", code="c"))
    error = read_error(tmp_path / "a.json")
    assert (str(error), error.option, error.code) == ("--steps is -1", "steps", "c")
    assert read_error(tmp_path / "b.json") is None


@pytest.fixture
def crowded(tmp_path, monkeypatch):
    """The working directory of a project that has packages and modules named like these."""
    for name in ("eval", "ui", "erase"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "app.py").write_text("raise RuntimeError('not this one')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_processes_start_in_a_folder_with_an_eval_package_of_its_own(crowded):
    assert "demo" in command(["protocols"], 200).check().printed
    assert "demo" in command(["protocols"], 200, crowded).check().printed
    with Jobs(crowded / "runs") as jobs:
        entry = jobs.wait(jobs.add(["protocols"], crowded / "runs" / "a", "a").id, 200)
        assert (entry.state, entry.message) == (DONE, "")


def test_python_m_erase_starts_there_too(crowded):
    shutil.rmtree(crowded / "erase")  # this one is found by its name, and where it is, so are the others
    line = [sys.executable, "-m", "erase", "protocols"]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, "demo" in done.stdout) == (0, True), done.stderr


def test_the_process_that_draws_starts_there_too(crowded):
    with Drawing("cpu") as drawing:
        ticket = drawing.submit(Order((("demo", "demo"),), (Ask("a star"),), count=1, steps=1), "a")
        assert list(drawing.watch(ticket))[-1].state == "done", ticket.note


def test_the_last_line_names_a_signal():
    assert "signal 9" in last_line("Loading\n", -9)
    assert last_line("a\nerase-concept: no such file\n\n", 2) == "no such file"
    assert "status 3" in last_line("", 3)
