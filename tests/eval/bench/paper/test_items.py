"""The facts of the paper's tables: complete, consistent with each other, and the settings of the cell in every cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from erase.errors import InputError
from eval.bench.paper.items import list_items, load_item, read_item
from eval.bench.paper.plan import Reproduction, planned, settled
from eval.bench.paper.table import deviations

ITEMS = {item.name: item for item in list_items()}
FOUR = ("forget_accuracy", "test_accuracy", "retain_accuracy", "mia")


def test_all_nine_tables_and_eight_figures_are_there() -> None:
    assert list(ITEMS) == [*(f"table{n}" for n in range(1, 10)), *(f"figure{n}" for n in range(1, 9))]


def test_published_gaps_are_those_of_the_published_values() -> None:
    """A value copied wrongly would break the arithmetic; tables 1, 2, 6 and 7 have retraining and Scissorhands in full."""
    checked = 0
    for item in ITEMS.values():
        for cell in item.cells:
            retrain = cell.published.get("Retrain", {})
            for values in cell.published.values():
                if "gap_of_means" in values and all(name in values and name in retrain for name in FOUR):
                    gap = sum(abs(float(values[name]) - float(retrain[name])) for name in FOUR) / 4
                    assert gap == pytest.approx(float(values["gap_of_means"]), abs=0.0051), (item.name, cell.title)
                    checked += 1
    assert checked == 9


@pytest.mark.parametrize("name", ["table1", "Table 1", "T1", "t1", " TABLE1"])
def test_a_table_has_several_spellings(name: str) -> None:
    assert load_item(name).name == "table1"


def test_an_unknown_table_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"the paper has no 'tabel7', did you mean \"table7\"\?; give one of .*table9"):
        load_item("tabel7")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "table4"', 'nam = "table4"'), 'unknown key "nam", did you mean "name"'),
        (("Scissorhands = { gap", "Scisorhands = { gap"), "values of 'Scisorhands', did you mean \"Scissorhands\""),
        (("gap_of_means = 1.21", "gap_of_mean = 1.21"), "'gap_of_mean', did you mean \"gap_of_means\"\\? is no column"),
        (("gap_of_means = 1.21", "gap_of_means = nan"), "is nan; expected a number"),
        (('kind = "table"', 'kind = "tables"'), 'did you mean "table"'),
        (('title = "Table 4"\n', ""), "missing"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    from eval.bench.paper.items import items_folder

    text = (items_folder() / "table4.toml").read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "table4.toml").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_item(tmp_path / "table4.toml")


# --- the settings of each cell ----------------------------------------------------------------------------------------

RELEASED = {  # Scissorhands: learning rate, share trimmed, lambda, as the released command lines have them
    "table1": {"cifar100": (5e-3, 0.01, 1.0), "cifar10": (5e-3, 0.03, 0.05), "svhn": (1e-3, 0.1, 0.01)},
    "table2": {"celeba": (2e-4, 0.005, 0.3)},
    "table4": {"svhn": (1e-3, 0.1, 0.1)},
    "table6": {"cifar100": (5e-3, 0.01, 1.0), "cifar10": (4e-3, 0.01, 0.01), "svhn": (1e-3, 0.1, 0.01)},
    "table7": {"cifar100": (1e-3, 0.1, 0.01), "cifar10": (1e-3, 0.03, 0.01)},
}


@pytest.mark.parametrize("name", RELEASED)
def test_every_cell_runs_with_the_settings_that_were_released_for_it(name: str, tmp_path: Path) -> None:
    options = Reproduction(data=str(tmp_path))
    cells = {cell.cell.dataset: cell for cell in planned(ITEMS[name], options)}
    for dataset, expected in RELEASED[name].items():
        cell = cells[dataset]
        ours = settled(next(entry for entry in cell.entries if entry.method == "scissorhands"), cell.cell)
        assert (ours.learning_rate, ours.fraction, ours.forget_weight) == expected  # type: ignore[attr-defined]
        assert cell.released
        assert not any(cell.cell.title in line for line in deviations(ITEMS[name], options, [cell]))


@pytest.mark.parametrize(("name", "dataset", "nearest"), [("table7", "svhn", "20 %"), ("table5", "celeba", "10 %")])
def test_a_cell_without_released_settings_says_which_are_used(name: str, dataset: str, nearest: str, tmp_path: Path) -> None:
    options = Reproduction(data=str(tmp_path))
    cell = next(one for one in planned(ITEMS[name], options) if one.cell.dataset == dataset)
    (line,) = (line for line in deviations(ITEMS[name], options, [cell]) if cell.cell.title in line)
    assert f"no settings were released; those of {nearest} are used, and that choice is ours" in line
    rate = {"svhn": "0.001", "celeba": "0.0002"}[dataset]
    assert f"Scissorhands learning_rate {rate}, epochs" in line


def test_a_published_run_is_the_data_sets_own_and_a_rehearsal_is_digits() -> None:
    whole, short = (planned(ITEMS["table1"], Reproduction(scale=scale))[1] for scale in (None, 0.01))
    assert (whole.job.dataset, whole.job.training.network, whole.job.training.epochs) == ("cifar10", "resnet18", 182)
    assert (short.job.dataset, short.job.train_samples, short.job.training.epochs) == ("digits", 450, 2)
    methods = {entry.method: settled(entry, short.cell) for entry in short.entries}
    assert {method.epochs for method in methods.values()} == {1, None}  # influence has no epochs
    assert [entry.label for entry in whole.entries] == [entry.label for entry in short.entries]


def test_figure_2_varies_one_option_at_a_time_and_shares_the_usual_row() -> None:
    (cell,) = planned(ITEMS["figure2"], Reproduction())
    assert cell.forgotten == 4500
    points = list(cell.points.values())
    assert [point.x for point in points[0]] == [0.005, 0.01, 0.03, 0.05, 0.1]
    assert [point.x for point in points[2]] == pytest.approx([1 / 18, 4 / 18, 9 / 18, 14 / 18, 1])  # 18 batches of the forget set
    assert [[point.label for point in panel].count("scissorhands") for panel in points] == [1, 1, 1]
    usual = settled(cell.entries[0], cell.cell)
    for entry in cell.further:
        own = vars(settled(entry, cell.cell))
        assert len([name for name, value in vars(usual).items() if own[name] != value]) == 1
