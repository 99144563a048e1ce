"""`unlearn` takes what a user of torch has at hand: a module and two DataLoaders, in all the forms these come in."""

import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)
from toys import CLASSES, copied, same
from toys_classifier import INPUTS, _original, build, samples, split

from erase import CLASSIFIER_METHODS, InputError, unlearn
from erase.classifiers.task import LabelledSets, classifier_task
from erase.dataloaders import read_loader
from erase.methods import make_method


def chosen(name, preset="balanced", **options):
    return make_method(name, preset, CLASSIFIER_METHODS, **options)


def test_a_method_with_options_of_ones_own_is_checked_when_it_is_made():
    with pytest.raises(InputError, match="did you mean 'fraction'"):
        chosen("scissorhands", fracton=0.1)


def model():
    network = build()
    network.load_state_dict(_original(True))
    return network.eval()


def loaders(**more):
    return [DataLoader(TensorDataset(part.x, part.y), **{"batch_size": 16, **more}) for part in split()]


def test_five_lines_forget():
    """The readme's example; the user's own model, its mode and its flags stay as they are."""
    trained = model()
    trained[0].bias.requires_grad_(False)
    before = copied(trained)
    unlearned = unlearn(trained, *loaders(shuffle=True), method=chosen("scissorhands", forget_weight=0.5, bound=3.0))
    assert same(before, copied(trained))
    assert not any(module.training for module in (*trained.modules(), *unlearned.modules()))
    assert [name for name, weight in unlearned.named_parameters() if not weight.requires_grad] == ["0.bias"]
    forget, retain = split()
    with torch.no_grad():
        known = [float((unlearned(part.x).argmax(1) == part.y).float().mean()) for part in (forget, retain)]
    assert known[0] < 0.8 < known[1]


@pytest.mark.parametrize("name", CLASSIFIER_METHODS)
def test_every_method_by_name_and_the_same_as_on_the_task(name):
    short = {"iterations": 2} if name == "influence" else {"epochs": 1}
    unlearned = unlearn(model(), *loaders(), method=chosen(name, **short), seed=4, fresh=lambda: build(2))
    network = model().train()
    task = classifier_task(network, LabelledSets(*split(), CLASSES), batch=16, seed=4, fresh=lambda: build(2))
    list(chosen(name, **short)(task))
    assert same(copied(unlearned), copied(network))


@pytest.mark.parametrize(("of_a_class", "strength"), [(False, 15.0), (True, 2.0)])
def test_a_preset_has_the_values_of_the_share_at_hand(of_a_class, strength):
    """SVHN's preset at 10 %, and for a whole class."""
    rows = samples()
    forget, retain = (rows[rows.y == 2], rows[rows.y != 2]) if of_a_class else split()
    given = [DataLoader(TensorDataset(part.x, part.y), batch_size=16) for part in (forget, retain)]
    by_text = unlearn(model(), *given, method="influence:preset=svhn,iterations=2")
    by_hand = unlearn(model(), *given, method=chosen("influence", "svhn", iterations=2, strength=strength))
    assert same(copied(by_text), copied(by_hand))
    with pytest.raises(InputError, match="influence has no option 'strenght', did you mean 'strength'"):
        unlearn(model(), *given, method="influence:strenght=3")


def all_of(loader):
    found, batch = read_loader("retain", loader, 0)
    got = found.batch(torch.arange(len(found)))
    return got, batch


def test_shuffling_dropping_and_workers_do_not_change_which_samples_there_are():
    rows = samples(size=10)
    data = TensorDataset(rows.x, rows.y)
    for loader in (DataLoader(data, 4), DataLoader(data, 4, shuffle=True), DataLoader(data, 4, drop_last=True)):
        got, batch = all_of(loader)
        assert torch.equal(got["x"], rows.x)
        assert torch.equal(got["y"], rows.y)
        assert batch == 4


def test_samplers_subsets_and_batch_samplers_say_which():
    rows, some = samples(size=10), [7, 2, 5]
    data = TensorDataset(rows.x, rows.y)
    subset = DataLoader(Subset(data, some), 2)
    sampled = DataLoader(data, 2, sampler=SubsetRandomSampler(some))
    batched = DataLoader(data, batch_sampler=BatchSampler(SubsetRandomSampler(some), 3, False))
    assert torch.equal(all_of(subset)[0]["x"], rows.x[some])
    for loader, batch in ((sampled, 2), (batched, 3)):
        got, size = all_of(loader)
        assert torch.equal(got["x"], rows.x[sorted(some)])
        assert size == batch
    assert len(all_of(DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 4, True)))[0]["y"]) == 8


class Stream(IterableDataset):
    def __iter__(self):
        rows = samples(size=10)
        return iter([(x, int(y)) for x, y in zip(rows.x, rows.y, strict=True)])


def test_streams_and_plain_lists_are_read_once():
    rows = samples(size=10)
    for loader in (DataLoader(Stream(), 4), [(rows.x[:4], rows.y[:4]), (rows.x[4:], rows.y[4:].int())], DataLoader(Stream(), None)):
        if isinstance(loader, DataLoader) and loader.batch_size is None:
            with pytest.raises(InputError, match="without labels"):
                all_of(loader)
            continue
        got, _ = all_of(loader)
        assert torch.equal(got["x"], rows.x)
        assert torch.equal(got["y"], rows.y)
        assert got["y"].dtype == torch.int64


class Shaken(Dataset):
    """A data set that augments with torch's own randomness."""

    def __len__(self):
        return 10

    def __getitem__(self, row):
        return torch.full((INPUTS,), float(row)) + torch.rand(INPUTS), row % CLASSES


def test_random_augmentation_repeats_and_leaves_the_users_randomness_alone():
    found, _ = read_loader("retain", DataLoader(Shaken(), 4), 0)
    state = torch.get_rng_state()
    rows = torch.tensor([3, 1])
    assert torch.equal(found.batch(rows)["x"], found.batch(rows)["x"])
    assert not torch.equal(found.batch(rows)["x"], found.batch(rows.flip(0))["x"].flip(0))
    assert torch.equal(state, torch.get_rng_state())


BAD = [
    (DataLoader(torch.zeros(4, INPUTS), 2), "returns Tensor, without labels"),
    (DataLoader(TensorDataset(torch.zeros(4, INPUTS)), 2), "returns list of 1, without labels"),
    (DataLoader(TensorDataset(torch.zeros(4, INPUTS), torch.zeros(4)), 2), r"returns labels \(1,\) float32 for 1 samples"),
    (DataLoader(TensorDataset(torch.zeros(4, INPUTS), torch.zeros(4, 2, dtype=torch.int64)), 2), r"returns labels \(1, 2\) int64"),
    ([], "has no samples"),
    (DataLoader(TensorDataset(torch.zeros(0, INPUTS), torch.zeros(0, dtype=torch.int64)), 2), "has no samples"),
    (DataLoader(TensorDataset(torch.zeros(4, INPUTS), torch.full((4,), 9)), 2), "a label is 9; expected 0 to 3"),
]


@pytest.mark.parametrize(("loader", "message"), BAD)
def test_a_loader_that_does_not_serve_is_refused_in_one_line(loader, message):
    with pytest.raises(InputError, match=message) as error:
        unlearn(model(), loader, loaders()[1])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (nn.Sequential(nn.Linear(INPUTS, 4), nn.Unflatten(1, (2, 2))), {}, r"returns \(1, 2, 2\) for 1 sample; expected \(1, classes\)"),
        (nn.LSTM(INPUTS, 4), {}, "returns tuple for 1 sample"),
        (build(), {"method": "scissor"}, "--method 'scissor' is unknown"),
        (build(), {"method": "retrain"}, "give fresh, a function that builds one"),
        (nn.Sequential(nn.Linear(INPUTS, 2)), {}, "a label is 3; expected 0 to 1"),
    ],
)  # fmt: skip
def test_a_model_or_option_that_does_not_serve_is_refused_in_one_line(network, options, message):
    with pytest.raises(InputError, match=message) as error:
        unlearn(network, *loaders(), **options)
    assert "\n" not in str(error.value)
