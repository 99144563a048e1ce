"""Data sets: what is tuned on is never what is reported on, a folder is read as it stands, and mistakes end in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from erase.classifiers.datasets import crop_and_mirror, few, load_data, mirror
from erase.demo.shapes.clutter import CLASSES, picture
from erase.errors import InputError
from erase.task import generator


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    for name, colour in (("anna", (255, 0, 0)), ("ben", (0, 255, 0)), ("cleo", (0, 0, 255))):
        for i in range(10):
            paint(tmp_path / "people" / name / f"{i}.png", colour)
    return tmp_path / "people"


def test_digits_are_those_of_scikit_learn_and_the_parts_share_nothing() -> None:
    from sklearn.datasets import load_digits

    data, known = load_data("digits"), load_digits()
    parts = [set(part.ids) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(known.target)
    for part in (data.train, data.validation, data.test):
        rows = [int(name) for name in part.ids]
        assert part.y.tolist() == known.target[rows].tolist()
        assert torch.equal(part.all()["x"][:, 0], torch.from_numpy(known.images[rows]).float() / 8 - 1)


def test_a_smaller_training_set_leaves_the_test_samples_alone_and_keeps_the_classes_even() -> None:
    whole, some = load_data("digits"), load_data("digits", train_samples=100)
    assert some.test.ids == whole.test.ids
    assert set(some.train.ids) < set(whole.train.ids)
    assert some.train.y.bincount(minlength=10).min() >= 8


def test_few_takes_each_class_by_its_share() -> None:
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    rows = few(y, 20)
    assert y[rows].bincount().tolist() == [12, 6, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_shapes_are_forty_classes_and_a_picture_depends_on_its_number_alone() -> None:
    data = load_data("shapes", train_samples=80)
    assert data.classes == CLASSES
    assert len(CLASSES) == 40
    assert data.train.x.shape[1:] == (3, 32, 32)
    assert data.train.y.bincount().tolist() == [2] * 40
    row = int(data.train.ids[3])
    assert np.array_equal(data.train.x[3].permute(1, 2, 0).numpy(), picture(0, row))
    assert row % 40 == data.train.y[3]


def test_a_folder_of_class_folders_is_split_class_by_class(people: Path) -> None:
    data = load_data(str(people), size=8)
    assert data.classes == ("anna", "ben", "cleo")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [22, 2, 6]
    assert data.test.y.bincount().tolist() == [2, 2, 2]
    for name, x, label in zip(data.train.ids, data.train.all()["x"], data.train.y, strict=True):
        assert name.startswith(data.classes[label])
        assert x.mean(dim=(1, 2)).argmax() == label


def test_a_folder_with_train_and_test_keeps_them_apart(people: Path) -> None:
    people.rename(people.parent / "train")
    for name in ("anna", "cleo"):
        paint(people.parent / "test" / name / "held.png", (9, 9, 9), (40, 20))
    data = load_data(str(people.parent), size=16)
    assert data.test.ids == ("test/anna/held.png", "test/cleo/held.png")
    assert data.test.y.tolist() == [0, 2]
    assert data.test.x.shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "test" / "dora").mkdir(parents=True), "test but no train"),
        (lambda folder: [path.unlink() for path in (folder / "ben").iterdir()], "no images for ben"),
        (lambda folder: (folder / "ben" / "0.png").write_bytes(b"torn"), "not a complete image"),
    ],
)
def test_a_bad_folder_is_told_in_one_line(people: Path, spoil: object, words: str) -> None:
    spoil(people)  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        load_data(str(people))


def test_a_class_of_the_test_samples_alone_is_refused(people: Path) -> None:
    people.rename(people.parent / "train")
    paint(people.parent / "test" / "dora" / "a.png", (1, 2, 3))
    with pytest.raises(InputError, match="classes without training samples: dora"):
        load_data(str(people.parent))


@pytest.mark.parametrize("count", [0, 10_000])
def test_too_few_or_too_many_training_samples(count: int) -> None:
    with pytest.raises(InputError, match="--train-samples"):
        load_data("digits", train_samples=count)


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match="neither digits, shapes"):
        load_data("mnist-of-somebody")


def test_cifar_is_read_as_torchvision_lays_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published files are not here; torchvision's reader is, and it reads files of the same kind."""
    from erase.torchvision_compat import torchvision

    kind = torchvision().datasets.CIFAR10
    base = tmp_path / kind.base_folder
    base.mkdir()
    import pickle

    rng = np.random.default_rng(0)
    for name, _ in [*kind.train_list, *kind.test_list]:
        labels = list(range(10))
        (base / name).write_bytes(pickle.dumps({"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": labels}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)
    data = load_data("cifar10", tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [45, 5, 10]
    assert data.classes[3] == "class3"
    first = pickle.loads((base / "test_batch").read_bytes())
    assert np.array_equal(data.test.x[4].flatten().numpy(), first["data"][4])
    assert data.test.ids[4] == "test/4"


def test_published_files_that_are_others_are_not_opened_and_without_network_one_line_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from erase.torchvision_compat import torchvision

    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    (base / "data_batch_1").write_bytes(b"\x80\x04cos\nsystem\n.")
    torchvision()
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", _no_network)
    with pytest.raises(InputError, match=r"has no complete .* and it cannot be downloaded \(no route"):
        load_data("cifar10", tmp_path)


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no route")


def test_augmentation_shifts_and_mirrors_and_nothing_else() -> None:
    x = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).reshape(2, 3, 8, 8) + 1
    seen = crop_and_mirror(x, generator(0, "augment"))
    assert torch.equal(seen, crop_and_mirror(x, generator(0, "augment")))
    padded = torch.nn.functional.pad(x, [1] * 4, value=-1.0)
    for i in range(2):
        crops = [padded[i, :, a : a + 8, b : b + 8] for a in range(3) for b in range(3)]
        assert any(torch.equal(seen[i], crop) or torch.equal(seen[i], crop.flip(2)) for crop in crops)
    many = torch.stack([crop_and_mirror(x[:1], generator(k))[0] for k in range(256)])
    assert len({tuple(one.flatten().tolist()) for one in many}) == 18


def test_mirroring_alone_keeps_every_picture_in_its_place() -> None:
    x = torch.arange(256 * 4, dtype=torch.float32).view(256, 1, 1, 4)
    seen = mirror(x, generator(0, "augment"))
    turned = (seen == x.flip(3)).all(dim=(1, 2, 3))
    assert torch.equal(seen[~turned], x[~turned])
    assert 96 < int(turned.sum()) < 160


def test_pictures_are_resized_to_the_edge_and_then_cropped(tmp_path: Path) -> None:
    """A frame of two pixels around a square is cut off: 20 pixels resized to 20, cropped to 16."""
    for name in ("a", "b"):
        for i in range(10):
            paint(tmp_path / name / f"{i}.png", (0, 0, 0))
            with Image.open(tmp_path / name / f"{i}.png") as picture:
                picture.paste((200, 100, 50), (2, 2, 18, 18))
                picture.save(tmp_path / name / f"{i}.png")
    data = load_data(str(tmp_path), size=16, edge=20)
    assert data.size == 16
    assert set(data.train.x.permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0)[0].tolist()) == {200, 100, 50}
    assert len(data.train.x.permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0)) == 1
