"""What people call a run: a display name and a note, kept in the run folder. The folder itself keeps its name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from erase.errors import InputError
from erase.files import read_object, write_json
from erase.files.disk import disk_errors

FILE = "shelf.json"
TITLE, NOTE = 80, 2000  # letters at most


@dataclass(frozen=True)
class Label:
    """Both are empty where nobody has written one."""

    title: str = ""
    note: str = ""


def read_label(folder: Path) -> Label:
    """The label of a run; an empty one where there is none, or none that can be read."""
    try:
        record = read_object(folder / FILE)
    except (OSError, ValueError, InputError):
        return Label()
    title, note = (str(record.get(name) or "") for name in ("title", "note"))
    return Label(" ".join(title.split())[:TITLE], note[:NOTE])


def write_label(folder: Path, title: str, note: str) -> Label:
    """Write the label of a run; InputError where a part is too long."""
    label = Label(" ".join(str(title or "").split()), str(note or "").strip())
    for name, text, most in (("Name", label.title, TITLE), ("Note", label.note, NOTE)):
        if len(text) > most:
            raise InputError(f"{name} has {len(text)} letters; expected at most {most}")
    with disk_errors(folder / FILE, resumes=False):
        write_json(folder / FILE, asdict(label))
    return label
