"""Damage to models and checkpoints: the zip archive, the pickle in it, and the contents."""

import functools
import io
import operator
import os
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from typing import Any

import torch

from .table import TORCH, Case, damages


class Attack:
    """A pickle that runs a command where it is read without care."""

    def __init__(self, *call: Any):
        self.call = call

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call[0], self.call[1:]


def attack(case: Case) -> Attack:
    """One of several ways to leave the marker."""
    touch = f"touch {case.marker}"
    ways: list[tuple] = [(os.system, touch), (os.mkdir, str(case.marker)), (open, str(case.marker), "w")]
    ways += [(subprocess.check_output, ["touch", str(case.marker)]), (eval, f"open({str(case.marker)!r}, 'w')")]
    return Attack(*case.rng.choice(ways))


def records(case: Case) -> dict[str, bytes]:
    """The records of the archive."""
    with zipfile.ZipFile(case.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def entry(name: str, how: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """A record without the time of day, so that a case is the same whenever it is made."""
    found = zipfile.ZipInfo(name)
    found.compress_type = how
    return found


def write_records(case: Case, contents: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    """Write an archive anew."""
    with zipfile.ZipFile(case.path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(entry(name, how), content)


def changed(case: Case, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the contents and save them in torch's own way."""
    content = torch.load(case.path, weights_only=True)
    change(content)
    torch.save(content, case.path)


def paths(tree: Any, above: tuple = ()) -> list[tuple]:
    """The keys that lead to everything in nested dicts and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path for key, inner in items for path in ((*above, key), *paths(inner, (*above, key)))]


def holder(content: Any, path: tuple) -> Any:
    """What holds the thing at `path`."""
    return functools.reduce(operator.getitem, path[:-1], content)


def weights(content: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights, under whichever key."""
    return content.get("weights", content.get("state_dict", {}))


def description(content: dict[str, Any]) -> dict[str, Any]:
    """Configuration and tokenizer."""
    return content.get("bundle", content)


@damages(TORCH)
def bit_flip_in_a_record(case: Case) -> None:
    """One bit of the numbers of a tensor."""
    with zipfile.ZipFile(case.path) as archive:
        entry = case.rng.choice([one for one in archive.infolist() if one.file_size])
    data = case.data
    name, extra = struct.unpack_from("<HH", data, entry.header_offset + 26)
    data[entry.header_offset + 30 + name + extra + case.place(entry.file_size)] ^= 1 << case.place(8)
    case.data = data


@damages(TORCH)
def central_directory_lies(case: Case) -> None:
    """Sizes, place, checksum or method of a record in the zip's central directory, or the directory's own place."""
    data = case.data
    if case.rng.random() < 0.3:
        at = data.rindex(b"PK\x05\x06") + case.rng.choice([4, 8, 10, 12, 16])
    else:
        entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\x01\x02"]
        at = case.rng.choice(entries) + case.rng.choice([8, 10, 16, 20, 24, 28, 42])
    data[at] ^= 1 + case.place(255)
    case.data = data


@damages(TORCH)
def record_missing(case: Case) -> None:
    """A record of the archive is missing."""
    contents = records(case)
    del contents[case.rng.choice([name for name in contents if name.endswith("data.pkl") or "/data/" in name])]
    write_records(case, contents)


@damages(TORCH)
def record_shortened(case: Case) -> None:
    """A tensor's record is shorter or longer than the pickle says, with a right checksum."""
    contents = records(case)
    name = case.rng.choice([name for name in contents if "/data/" in name])
    contents[name] = contents[name][: len(contents[name]) // 2] if case.rng.random() < 0.7 else contents[name] * 2
    write_records(case, contents)


@damages(TORCH)
def record_names_traverse(case: Case) -> None:
    """Names of records that lead out of the archive."""
    contents = records(case)
    names = {name: name.replace("/", "/../../../", 1) for name in contents}
    if case.rng.random() < 0.5:
        names = {name: f"/tmp/{name}" for name in contents}
    write_records(case, {names[name]: content for name, content in contents.items()})


@damages(TORCH)
def another_archive(case: Case) -> None:
    """A zip archive of other things: a document, nothing, or a million zeros."""
    others: list[dict[str, bytes]] = [
        {"word/document.xml": b"<xml/>"},
        {},
        {"archive/data.pkl": b""},
        {"a": bytes(10**6)},
    ]
    write_records(case, case.rng.choice(others), case.rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


@damages(TORCH)
def zip_bomb(case: Case) -> None:
    """A record that unpacks to 128 MB of zeros."""
    contents = records(case)
    name = next(name for name in contents if "/data/" in name)
    with zipfile.ZipFile(case.path, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in contents.items():
            if other != name:
                archive.writestr(entry(other), content)
        with archive.open(entry(name), "w", force_zip64=True) as record:
            for _ in range(4):
                record.write(bytes(32 << 20))


@damages(TORCH, unseen=())
def compressed_archive(case: Case) -> None:
    """The same records, compressed: the same contents."""
    write_records(case, records(case), zipfile.ZIP_DEFLATED)


@damages(TORCH)
def foreign_pickle(case: Case) -> None:
    """A plain pickle that runs a command."""
    case.data = pickle.dumps(
        {"format": "hybrid-asr model 1", "weights": attack(case)}, protocol=case.rng.choice([0, 2, 4])
    )


@damages(TORCH)
def command_in_the_pickle(case: Case) -> None:
    """A torch file whose pickle runs a command among the rest."""
    content = torch.load(case.path, weights_only=True)
    places: list[Any] = [content, weights(content), description(content), description(content)["config"]]
    where = case.rng.choice(places)
    where[case.rng.choice(["other", "kind", "step"])] = attack(case)
    torch.save(content, case.path)


@damages(TORCH)
def code_in_the_archive(case: Case) -> None:
    """A TorchScript-like archive: code, constants and a pickle that runs a command."""
    stream = io.BytesIO()
    pickle.dump(attack(case), stream, protocol=2)
    contents = {"a/data.pkl": stream.getvalue(), "a/constants.pkl": stream.getvalue(), "a/version": b"3\n"}
    write_records(case, contents | {"a/code/__torch__.py": b"import os\n"})


@damages(TORCH)
def object_of_a_class(case: Case) -> None:
    """An object of some class among the contents: weights_only refuses it."""
    values = [functools.partial(print, "x"), complex, case.path, io.BytesIO(b"x"), range(3), zipfile.ZipInfo("x")]
    changed(case, lambda content: content.update(other=case.rng.choice(values)))


@damages(TORCH)
def whole_module(case: Case) -> None:
    """A module that was saved whole, as many tutorials do."""
    torch.save(torch.nn.ReLU(), case.path)


@damages(TORCH)
def something_else_saved(case: Case) -> None:
    """A tensor, a list, a number, a text, weights alone, or the checkpoint of another program."""
    content = torch.load(case.path, weights_only=True)
    others = [torch.ones(3), [1, 2], 7, "text", dict(weights(content)), {"state_dict": weights(content)}, {}, None]
    others += [
        {"model": weights(content), "epoch": 3},
        {1: 2},
        {"format": 3},
        {"bundle": 3},
        {"bundle": {"format": []}},
    ]
    torch.save(case.rng.choice(others), case.path)


@damages(TORCH)
def torch_key_missing(case: Case) -> None:
    """A key at the top, in the description, or the name of a weight is missing."""

    def change(content: dict[str, Any]) -> None:
        part = case.rng.choice([content, description(content), weights(content), description(content)["config"]])
        known = (
            "config",
            "tokenizer",
            "labels_per_frame",
            "format",
            "bundle",
            "features",
            "model",
            "loss",
            "text",
            "decode",
        )
        keys = [key for key in part if key in known or isinstance(part[key], torch.Tensor)]
        keys += [key for key in part if key in ("weights", "state_dict", "optimizer", "step", "history")]
        del part[case.rng.choice(keys)]

    changed(case, change)


@damages(TORCH, unseen=())
def torch_key_unknown(case: Case) -> None:
    """A key too many in the model's configuration, or a weight that the model has not."""

    def change(content: dict[str, Any]) -> None:
        tree = description(content)["config"]
        places: list[Any] = [tree["model"], tree["model"]["encoder"], tree["features"], weights(content)]
        part = case.rng.choice(places)
        part["model.other" if part is weights(content) else "other"] = torch.ones(2) if part is weights(content) else 1

    changed(case, change)


@damages(TORCH)
def torch_value_of_another_type(case: Case) -> None:
    """A value of the description is of another type."""

    def change(content: dict[str, Any]) -> None:
        part = description(content)
        used = ("features", "model", "text", "loss")
        found = [
            path
            for path in paths(part)
            if path[0] in ("tokenizer", "labels_per_frame") or (path[1:2] and path[1] in used)
        ]
        path = case.rng.choice([path for path in found if path[-1] != "high_hz"])  # any number may stand there
        holder(part, path)[path[-1]] = case.rng.choice(
            [[], {"a": 1}, torch.ones(2), b"bytes", -1, float("nan"), (), 1 << 70]
        )

    changed(case, change)


@damages(TORCH)
def number_in_the_configuration_huge(case: Case) -> None:
    """A size of the model or of its features is a million million: nobody can build that."""

    def change(content: dict[str, Any]) -> None:
        tree = description(content)["config"]
        sizes = [
            (tree["model"][part], key) for part in ("encoder", "decoder") for key in ("dim", "layers", "feed_forward")
        ]
        sizes += [(tree["features"], "rate"), (tree["features"], "window_ms"), (tree["model"]["encoder"], "kernel")]
        part, key = case.rng.choice(sizes)
        part[key] = type(part[key])(case.rng.choice([10**7, 10**12]) + part[key] % 2)

    changed(case, change)


@damages(TORCH)
def weight_of_another_shape(case: Case) -> None:
    """A weight has another shape or type, is sparse, no tensor, or a view that claims a million million numbers."""

    def change(content: dict[str, Any]) -> None:
        part = weights(content)
        name = case.rng.choice([name for name in part if part[name].dim() > 0])
        value = part[name]
        others: list[Any] = [torch.ones(1).expand(10**12), value.flatten()[:-1], value[None], "text", None, [1.0], 3.5]
        others += [
            torch.ones(10**6, 10**6, device="meta"),
            torch.zeros(0),
            value.to_sparse(),
            value.to(torch.complex64),
        ]
        part[name] = case.rng.choice(others)

    changed(case, change)


@damages(TORCH)
def weight_not_a_number(case: Case) -> None:
    """A weight is NaN or infinite."""

    def change(content: dict[str, Any]) -> None:
        part = weights(content)
        name = case.rng.choice([name for name in part if part[name].is_floating_point() and part[name].numel()])
        part[name].view(-1)[case.place(part[name].numel())] = case.rng.choice([float("nan"), float("inf")])

    changed(case, change)


@damages(TORCH)
def tokenizer_changed(case: Case) -> None:
    """The tokenizer has other units: fewer, repeated, no text, a damaged sentencepiece model, another kind."""

    def change(content: dict[str, Any]) -> None:
        state = description(content)["tokenizer"]
        if state["kind"] == "char":
            letters = state["characters"]
            others: list[Any] = [letters[:-1], [*letters, "a"], [*letters[:-1], letters[0]], [], [*letters[:-1], 7]]
            state["characters"] = case.rng.choice([*others, "text", None, [*letters[:-1], "ab"]])
        else:
            model = state["model"]
            bits = bytearray(model.numpy().tobytes())
            bits[case.place(len(bits) // 2)] ^= 0xFF
            others = [model[: len(model) // 2], model[:0], model.float(), torch.zeros(100, dtype=torch.uint8)]
            state["model"] = case.rng.choice([*others, "text", torch.tensor(list(bits), dtype=torch.uint8)[:-7]])

    changed(case, change)


@damages(("last",))
def last_state_changed(case: Case) -> None:
    """The step, the history or the optimizer of a last state is something else."""

    def change(content: dict[str, Any]) -> None:
        key = case.rng.choice(["step", "history", "optimizer"])
        others: dict[str, list[Any]] = {
            "step": [-1, "ten", None, 1.5],
            "history": [[{"epoch": 1}], 7, [[]], [{"a": 1}]],
        }
        content[key] = case.rng.choice(others.get(key, [None, [], {"state": 3}, {}]))

    changed(case, change)


@damages(("model", "bpe-model", "last"), unseen=())
def legacy_format(case: Case) -> None:
    """The same contents in torch's format before 1.6, cut somewhere or whole: the same contents."""
    content = torch.load(case.path, weights_only=True)
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=False)
    data = stream.getvalue()
    case.data = data if case.rng.random() < 0.3 else data[: case.place(len(data))]
