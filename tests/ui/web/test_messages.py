"""A message names the control that it is about, and its own text stays as it is."""

from __future__ import annotations

from erase.errors import InputError
from ui.web.jobs.entry import FAILED, Entry, failure
from ui.web.messages import labelled, problem


def test_an_error_has_the_label_of_its_control_in_front():
    error = InputError("--size is 100; expected a multiple of 8", option="size", code="c")
    labels = {"size": "Size", "steps": "Steps"}
    assert str(labelled(error, labels)) == "Size: --size is 100; expected a multiple of 8"
    assert labelled(error, labels).code == "c"
    assert labelled(error, {}) is error
    assert str(labelled(InputError("Steps is -1"), labels)) == "Steps is -1"


def test_so_has_the_message_of_a_failed_job():
    entry = Entry("1", "a", (), "/a", state=FAILED, message="--forget-count is 0", option="forget_count")
    assert failure(entry) == "Forget count: --forget-count is 0"
    assert failure(entry, {"forget_count": "Images to forget"}) == "Images to forget: --forget-count is 0"
    assert failure(Entry("1", "a", (), "/a", message="out of memory")) == "out of memory"


def test_a_problem_is_a_sentence_in_which_names_stay_as_they_are():
    assert problem("the prompt is empty") == '<p role="alert" class="problem">The prompt is empty.</p>'
    assert problem("star-demo-1/model is broken").endswith(">star-demo-1/model is broken.</p>")
    assert "<b>" not in problem("<b>")
