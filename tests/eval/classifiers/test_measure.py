"""What is measured of a classifier and how lines become a report: against the definitions, on networks of the test's own making."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from svg import drawn
from torch import nn

from erase.classifiers.datasets import Data, Samples
from erase.classifiers.forget_sets import Case, make_case
from eval.classifiers.measure import measurement, ranked, report
from eval.classifiers.membership import svc_membership
from eval.classifiers.report import curves, markdown, page, sentences, table, write
from ui.cli.main import main


class Lookup(nn.Module):
    """A network that says of a sample what stands in it: its pixels are its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x.flatten(1)


def saying(y: list[int], said: list[int], sure: float = 3.0) -> Samples:
    x = sure * torch.eye(4)[torch.tensor(said)].reshape(-1, 1, 2, 2)
    return Samples(x, torch.tensor(y), tuple(map(str, range(len(y)))))


def toy(**more: Any) -> Case:
    train = saying([0, 1, 2, 3] * 5, [0, 1, 2, 0] * 5)
    data = Data("toy", train, saying([0], [0]), saying([0, 1, 2, 3, 3], [0, 1, 0, 0, 3], 1.0), tuple("abcd"))
    forget = torch.tensor([3, 7, 11, 15, 19])
    return make_case(data, forget, 0, 4, **{"train": lambda name, rows: Lookup(), **more})


def test_accuracies_and_membership_are_those_of_the_samples() -> None:
    case = toy()
    found = measurement()(Lookup(), case)
    assert found["forget_accuracy"] == 0
    assert found["retain_accuracy"] == 100
    assert found["test_accuracy"] == pytest.approx(100 * 2 / 3)
    assert found["gone_accuracy"] == 50
    e = torch.tensor(3.0).double().exp()
    low, right, wrong = 1 / (e + 3), e / (e + 3), torch.tensor(1.0).double().exp()
    test = torch.stack([wrong / (wrong + 3), wrong / (wrong + 3), 1 / (wrong + 3)])
    assert found["mia"] == svc_membership(right.repeat(15), test, low.repeat(5))
    assert (found["forget_samples"], found["retain_samples"], found["test_samples"]) == (5, 15, 3)


def test_a_network_that_gives_no_numbers_counts_as_diverged() -> None:
    network = Lookup()
    network.scale.data = torch.tensor(float("nan"))
    assert "not finite" in measurement()(network, toy())["diverged"]


def test_references_learn_complementary_halves_and_relearning_is_recorded() -> None:
    asked: dict[str, list[int]] = {}

    def train(name: str, rows: torch.Tensor) -> nn.Module:
        asked[name] = rows.tolist()
        return Lookup()

    found = measurement(relearn=3, relearn_rate=0.1, references=4)(Lookup(), toy(train=train))
    assert list(asked) == [f"reference-{j}" for j in range(4)]
    assert sorted(asked["reference-0"] + asked["reference-1"]) == list(range(20)) == sorted(asked["reference-2"] + asked["reference-3"])
    assert asked["reference-0"] != asked["reference-2"]
    assert 0 <= found["rmia"] <= 100
    assert len(found["relearn"]) == 3


def line(label: str, seed: int, forget: float, mia: float, **more: Any) -> dict[str, Any]:
    numbers = {"forget_accuracy": forget, "retain_accuracy": 100.0, "test_accuracy": 60.0, "mia": mia}
    sizes = {"forget_samples": 8, "retain_samples": 32, "test_samples": 50}
    method = label.split(":")[0]
    base = {"label": label, "method": method, "values": {"epochs": 2}, "seed": seed, "request": 0, "forget": "random:20%", "work": 1.0}
    return {**base, "seconds": 1.0, **numbers, **sizes, **more}


def lines() -> list[dict[str, Any]]:
    found = []
    for seed, wanted in enumerate((40.0, 60.0)):
        found += [
            line("original", seed, 100, 0, relearn=[100.0, 100.0, 100.0]),
            line("retrain", seed, wanted, 80, work=20.0, relearn=[50.0, 70.0, 90.0]),
            line("fine_tune", seed, 90, 20, work=4.0, epochs=2, relearn=[95.0, 100.0, 100.0]),
            line("scissorhands", seed, 50, 70, work=3.0, epochs=1, relearn=[60.0, 75.0, 80.0]),
        ]
    lost = {**line("gradient_ascent", 1, 0, 0), "diverged": "the loss is not finite at step 3"}
    return [*found, line("gradient_ascent", 0, 0, 100), lost]


PROTOCOL = {"dataset": "toy", "forget": ["random:20%"], "on": "test", "network": "small"}


def by_label(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in found["methods"]}


def test_a_report_by_hand() -> None:
    found = report(lines(), PROTOCOL)
    rows = by_label(found)
    assert rows["original"]["average_gap"]["mean"] == pytest.approx(((60 + 80) / 4 + (40 + 80) / 4) / 2)
    assert found["protocol"]["separates"] is True
    assert rows["retrain"]["average_gap"] == {"mean": 0, "std": 0}
    assert rows["scissorhands"]["average_gap"]["mean"] == pytest.approx((10 + 10) / 4)
    assert rows["scissorhands"]["gap_of_means"] == pytest.approx(10 / 4)
    assert rows["scissorhands"]["run_time"]["mean"] == 15
    assert rows["scissorhands"]["relearn_gap"]["mean"] == 10  # 60 beside 50 after one epoch
    assert rows["fine_tune"]["relearn_epochs"]["mean"] == 2
    assert rows["scissorhands"]["relearn_epochs"]["mean"] == 4  # not again within three
    assert (rows["gradient_ascent"]["seeds"], rows["gradient_ascent"]["diverged"]) == (1, ["the loss is not finite at step 3"])
    assert [row["label"] for row in ranked(found["methods"])] == ["scissorhands", "fine_tune"]


def test_the_table_says_what_matters() -> None:
    found = report(lines(), PROTOCOL)
    text = table(found)
    assert [part.split()[0] for part in text.splitlines()[:6]] == [
        "method",
        "original",
        "retrain",
        "scissorhands",
        "fine_tune",
        "gradient_ascent",
    ]
    assert "Nearest to retrain: scissorhands, 5.00 points." in text
    assert "gradient_ascent diverged on 1 of 2 seeds" in text
    assert "**5.00**" in markdown(found)
    near = [line("original", 0, 100, 0), line("retrain", 0, 96, 4)]
    assert any("cannot tell methods apart" in said for said in sentences(report(near, PROTOCOL)))


def test_options_that_are_varied_alone_become_a_chart_and_the_page_holds_it(tmp_path: Path) -> None:
    swept = [
        line(f"scissorhands{f':fraction={k}' if k != 0.03 else ''}", 0, 50 + 100 * k, 70, values={"fraction": k, "projected": True})
        for k in (0.03, 0.01, 0.3)
    ] + [line("scissorhands:projected=false", 0, 90, 20, values={"fraction": 0.03, "projected": False})]
    found = report([line("original", 0, 100, 0), line("retrain", 0, 50, 70), *swept], PROTOCOL)
    charts = curves(found["methods"])
    assert list(charts) == ["scissorhands-fraction"]
    assert len(drawn(charts["scissorhands-fraction"], "series")) == 4
    write(tmp_path, found)
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", "report.md", "report.html", "scissorhands-fraction.svg"}
    assert json.loads((tmp_path / "report.json").read_text())["methods"] == found["methods"]
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_nothing_that_a_user_wrote_is_html(tmp_path: Path) -> None:
    found = report(lines(), {**PROTOCOL, "dataset": "<b>people</b>"})
    assert "<b>people" not in page(found, {}, [])


def test_requests_one_after_another_are_each_reported() -> None:
    later = [{**one, "request": 1, "forget": "class:b"} for one in lines()]
    found = report([*lines(), *later], {**PROTOCOL, "forget": ["random:20%", "class:b"]})
    assert [request["forget"] for request in found["requests"]] == ["random:20%", "class:b"]
    assert found["requests"][0]["average_gap"]["scissorhands"]["mean"] == 5
    assert "class:b" in page(found, {}, [])


# --- the command ----------------------------------------------------------------------------------------------------

SMALL = ["classify", "--dataset", "digits", "--train-samples", "60", "--epochs", "4", "--seeds", "1"]


def test_the_command_makes_table_page_pictures_and_model_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*SMALL, "--output", str(tmp_path / "run"), "--methods", "fine_tune:epochs=1", "gradient_ascent:epochs=1", "--relearn", "2"]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "gradient_ascent" in first
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"report.json", "report.md", "report.html", "gradcam.png", "model.safetensors", "results.jsonl", "options.json"} <= made
    before = (tmp_path / "run" / "results.jsonl").read_text()
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (tmp_path / "run" / "results.jsonl").read_text() == before
    assert set(found) >= {"protocol", "methods"}
    row = found["methods"][0]
    assert {"method", "seeds", "forget_accuracy"} <= set(row)
    assert set(row["forget_accuracy"]) == {"mean", "std"}
    assert found["protocol"]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_tuning_is_on_validation_samples_and_other_seeds_and_is_stated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*SMALL, "--output", str(tmp_path / "run"), "--methods", "fine_tune:epochs=1,momentum=0.5", "--tune", "--json"]
    assert main(command) == 0
    tuning = json.loads(capsys.readouterr().out)["protocol"]["tuning"]
    assert tuning["on"] == "validation samples"
    options = json.loads((tmp_path / "run-tuning" / "options.json").read_text())
    assert options["on"] == "validation"
    tried = [json.loads(text) for text in (tmp_path / "run-tuning" / "results.jsonl").read_text().splitlines()]
    assert {one["seed"] for one in tried} == set(tuning["seeds"])
    assert not {one["seed"] for one in tried} & {0}
    assert {one["test_samples"] for one in tried} == {300}
    gaps = {one["label"] for one in tried if one["method"] == "fine_tune"}
    assert len(gaps) > 1
    assert all(one["values"]["momentum"] == 0.5 for one in tried if one["method"] == "fine_tune")
    assert tuning["chosen"]["fine_tune:epochs=1,momentum=0.5"]["momentum"] == 0.5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--forget", "random:100%"], "leaves none to retain"),
        (["--forget", "class:eleven"], "no class 'eleven'"),
        (["--dataset", "nowhere"], "neither digits"),
        (["--methods", "esd"], "--methods 'esd' is a method for text-to-image models, not for classifiers"),
        (["--network", "resnet19"], "--network 'resnet19' is unknown"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--methods", "fine_tune:epochs=1", "--export", "salun"], "--export salun"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str) -> None:
    assert main([*SMALL, "--output", str(tmp_path / "run"), *more]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
