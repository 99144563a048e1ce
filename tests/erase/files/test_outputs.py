"""No command writes over a file that is not of its own kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from erase.errors import InputError
from erase.files import check_file, check_folder, check_own_folder, write_json, written


def test_a_new_name_an_empty_file_and_one_of_the_same_kind_may_be_written(tmp_path: Path) -> None:
    check_file(tmp_path / "deep" / "er" / "a.svg", "svg", "scatter")
    for text in ("", "<svg/>", '<?xml version="1.0"?>\n<svg/>', "\ufeff <svg/>"):
        (tmp_path / "a.svg").write_text(text, encoding="utf-8")
        check_file(tmp_path / "a.svg", "svg", "scatter")
    write_json(tmp_path / "a.json", {})
    check_file(tmp_path / "a.json", "json", "json")
    check_folder(tmp_path / "new" / "folder")
    check_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.svg"]  # asked without a change


@pytest.mark.parametrize("content", [b"\x08\0\0\0\0\0\0\0{}      ", b"{}", b"\x89PNG\r\n", b"text", b'<?xml version="1.0"?><html/>'])
def test_another_kind_of_file_is_not_replaced(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"--scatter .*model\.safetensors is a file that is not SVG and would be replaced") as caught:
        check_file(tmp_path / "model.safetensors", "svg", "scatter")
    assert caught.value.option == "scatter"


@pytest.mark.parametrize("check", [lambda path: check_file(path, "svg", "scatter"), lambda path: check_folder(path, "output")])
def test_what_is_no_file_and_no_folder_is_refused(check: Callable[[Path], None], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    (tmp_path / "file").touch()
    for path in (
        Path("/dev/null"),
        tmp_path / "pipe",
        tmp_path / "loop",
        tmp_path / "loop" / "x",
        tmp_path / "file" / "x",
        Path("x" * 300),
    ):
        with pytest.raises(InputError) as caught:
            check(path)
        assert str(path) in str(caught.value)


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        check_file(tmp_path, "svg", "scatter")
    with pytest.raises(InputError, match="is a file; give the name of a folder"):
        check_folder(tmp_path / "file")


def test_a_folder_is_written_into_only_if_it_is_new_or_of_the_command_s_own_kind(tmp_path: Path) -> None:
    check_own_folder(tmp_path / "absent", "manifest.jsonl", "images")
    (tmp_path / "inner").mkdir()
    (tmp_path / ".hidden").touch()
    check_own_folder(tmp_path, "manifest.jsonl", "images")
    (tmp_path / "notes.txt").touch()
    problem = r"holds notes\.txt and is not a folder of images \(no manifest\.jsonl\); give a new folder"
    with pytest.raises(InputError, match=f"^--output .* {problem}$") as caught:
        check_own_folder(tmp_path, "manifest.jsonl", "images")
    assert caught.value.option == "output"
    (tmp_path / "manifest.jsonl").touch()
    check_own_folder(tmp_path, "manifest.jsonl", "images")
    (tmp_path / "options.json").touch()
    with pytest.raises(InputError, match="is a run folder, not one for images; give a new folder"):
        check_own_folder(tmp_path, "manifest.jsonl", "images")


def test_nothing_is_renamed_over_a_folder_or_a_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    for path, kind in ((tmp_path, "a folder"), (tmp_path / "link", "a device")):
        with pytest.raises(InputError, match=f"is {kind}, where a file is to be written"), written(path) as part:
            part.touch()
    (tmp_path / "nowhere").symlink_to("absent")
    with written(tmp_path / "nowhere") as part:
        part.write_text("new")
    assert (tmp_path / "nowhere").read_text() == "new"
