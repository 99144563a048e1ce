"""The npm packages that the emoji world is built from: downloaded by name and version, checked by their hashes.

The icon sets hold SVG in JSON, one package a designer. This file knows npm and archives, not what an icon is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erase.errors import InputError
from erase.files import sha256


@dataclass(frozen=True)
class Package:
    """A package of the npm registry at one version; `sha256` is that of the archive."""

    name: str
    version: str
    sha256: str

    @property
    def archive(self) -> str:
        """The file name that npm gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


ICONS = {
    "noto": Package("@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    "noto-v1": Package("@iconify-json/noto-v1", "1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    "twemoji": Package("@iconify-json/twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    "fluent-emoji": Package("@iconify-json/fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b"),
    "fluent-emoji-flat": Package(
        "@iconify-json/fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"
    ),
    "emojione": Package("@iconify-json/emojione", "1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
}
NAMES = Package("unicode-emoji-json", "0.9.0", "ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401")
SUBGROUPS = Package("emoji.json", "16.0.0", "71cc1f9ab370fd3749fdde3c8ab2db13cf6f64c59ee918a4735b6a08e5e09c56")
KEYWORDS = Package("emojilib", "4.0.3", "7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303")


def fetch(package: Package, folder: Path) -> Path:
    """The package's archive in `folder`, downloaded with npm unless it is there; InputError where that fails or the hash differs."""
    path = folder / package.archive
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # an interrupted download leaves nothing behind
            _pack(package, Path(scratch))
            (Path(scratch) / package.archive).replace(path)
    if (digest := sha256(path)) != package.sha256:
        raise InputError(
            f"{path} has the hash {digest[:12]}…, expected {package.sha256[:12]}… for {package.name} {package.version}; "
            "remove the file and run the command again"
        )
    return path


def _pack(package: Package, scratch: Path) -> None:
    """`npm pack` into `scratch`."""
    source = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"npm was not found, which downloads {source}; install Node.js, then run the command again")
    command = [npm, "pack", source, "--silent", "--ignore-scripts", "--pack-destination", str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not (scratch / package.archive).exists():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["npm wrote no archive"]
        reason = next((line for line in lines if "E404" in line or "code" in line), lines[0])
        raise InputError(f"{source} could not be downloaded ({reason.strip()}); check version and network, then run the command again")


def read(package: Package, member: str, folder: Path) -> Any:
    """A JSON file of the package, which is downloaded if need be."""
    path = fetch(package, folder)
    try:
        with tarfile.open(path) as archive:
            file = archive.extractfile(f"package/{member}")
            assert file is not None
            return json.load(file)
    except (KeyError, tarfile.TarError, json.JSONDecodeError) as error:
        raise InputError(f"{path} has no readable {member} ({error}); remove the file and run the command again") from error
