"""A run's model as a file to download."""

from __future__ import annotations

import zipfile

import pytest
from page_runs import erased_run

from erase.errors import InputError
from ui.web.shelf.export import STORED, export

pytestmark = pytest.mark.usefixtures("quick_processes")


def test_an_export_is_a_file_under_a_name_nobody_can_guess(tmp_path):
    run = erased_run(tmp_path / "runs")
    path, _ = export(run, "folder", "float16", tmp_path / "out")
    assert (path.name, len(path.parent.name)) == (f"{run.name}-float16.zip", len("export-") + 32)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert f"{run.name}-float16/model_index.json" in archive.namelist()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with pytest.raises(InputError, match=rf"^Format: {run.name}/model does not fit into a single file.*give --format folder$"):
        export(run, "single-file", "source", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 1
    with pytest.raises(InputError, match="is not an export"):
        export(run, "pickle", "source", tmp_path / "out")


def test_old_exports_make_room_for_new_ones(tmp_path):
    for number in range(STORED + 2):
        (tmp_path / f"export-{number}").mkdir()
    with pytest.raises(InputError, match="wait until"):
        export(tmp_path / "runs", "folder", "source", tmp_path)  # no model: nothing is thrown away for it
    assert len(list(tmp_path.glob("export-*"))) == STORED + 2
    export(erased_run(tmp_path / "runs"), "unet", "source", tmp_path)
    assert len(list(tmp_path.glob("export-*"))) == STORED
