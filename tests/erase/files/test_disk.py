"""What the system refuses is one line with the right file, and promises to resume only where something resumes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from erase.checkpoints.export import export
from erase.checkpoints.to_single_file import pack
from erase.errors import InputError
from erase.files.disk import disk_errors


def test_of_two_files_the_one_that_is_written_is_named() -> None:
    """As shutil.copyfile reports a full disk: the source first."""
    with pytest.raises(InputError, match=r"^cannot use /out/unet/weights: the disk is full"), disk_errors(Path("x")):
        raise OSError(errno.ENOSPC, "No space left on device", "/source/weights", None, "/out/unet/weights")
    with pytest.raises(InputError, match=r"^cannot use /source/weights: no permission"), disk_errors(Path("x")):
        raise OSError(errno.EACCES, "Permission denied", "/source/weights", None, "/out/unet/weights")


@pytest.mark.parametrize(
    ("temporary", "final"),
    [
        ("/a/.out.2.77-3.part/unet/x", "/a/out.2/unet/x"),
        ("/a/.model.safetensors.77.part", "/a/model.safetensors"),
        ("/a/.out.2.0123abcd-77-3.part/unet/x", "/a/out.2/unet/x"),
        ("/a/.part.0123abcd-77-3.part/.b.txt.0123abcd-77-4.part", "/a/part/b.txt"),
        ("/a/.b.1.old.part", "/a/b"),
    ],
)
def test_a_file_in_the_making_has_its_final_name(temporary: str, final: str) -> None:
    with pytest.raises(InputError) as raised, disk_errors(Path("x")):
        raise OSError(errno.ENOSPC, "No space left on device", temporary)
    assert f"cannot use {final}:" in str(raised.value)


@pytest.mark.parametrize("error", [OSError(errno.EDQUOT, "x"), SafetensorError(f"I/O error (os error {errno.ENOSPC})")])
def test_only_what_resumes_says_so(error: Exception) -> None:
    for resumes in (True, False):
        with pytest.raises(InputError, match="run the same command again") as raised, disk_errors(Path("x"), resumes):
            raise error
        assert ("resumes" in str(raised.value)) == resumes


@pytest.mark.parametrize("form", ["folder", "unet"])
def test_a_full_disk_at_an_export(form: str, tiny_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own calls fail once some hundred kilobytes are written."""

    def full(*arguments: object, **_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("sendfile", "copy_file_range"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, full)
    if form == "unet":
        monkeypatch.setattr("erase.checkpoints.to_single_file.write_lazy", full)
    write = {
        "folder": lambda: export(tiny_pipeline, {}, tmp_path / "out", {}),
        "unet": lambda: pack(tiny_pipeline, tmp_path / "out.safetensors", "unet"),
    }
    with pytest.raises(InputError) as raised:
        write[form]()
    line = str(raised.value)
    assert line.startswith(f"cannot use {tmp_path / 'out'}")
    assert "the disk is full; free some space and run the same command again" in line
    assert "resumes" not in line
    assert str(tiny_pipeline) not in line
    assert not list(tmp_path.iterdir())
