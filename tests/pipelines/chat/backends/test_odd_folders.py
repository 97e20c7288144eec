"""Folders of transformers models as people have them: not whole, not fitting, not what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.chat.backends.transformers_model import _reason, load
from pipelines.chat.downloads import INDEX, WHOLE, is_complete
from pipelines.chat.entries import ChatEntry
from pipelines.chat.requests import ChatMessage
from pipelines.core.errors import Unavailable, validate
from tests.pipelines.chat.llamas import make_tokenizer, save_llama

SAID = [ChatMessage(role="user", content="the cat Ünïcode")]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is as it must be."""
    return save_llama(tmp_path_factory.mktemp("whole") / "whole")


def prompt(folder: Path) -> list[int]:
    """What a model in a folder is given to read."""
    data = {"name": "odd", "title": "Odd", "backend": "transformers", "source": {"folder": "odd"}}
    entry = validate(ChatEntry, data)
    return load(entry, folder, "cpu", lambda *_: None, folder.parent).prompt(SAID)


def write_file(name: str, data: object) -> Change:
    """Puts a file in the place of one, or where there was none."""
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return lambda folder: (folder / name).write_bytes(data)


def set_fields(name: str, **values: object) -> Change:
    """Changes fields in a file of JSON."""

    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_bytes()) | values
        (folder / name).write_text(json.dumps(data))

    return change


def edit_weights(edit: Callable[[dict], dict]) -> Change:
    """Changes the weights."""

    def change(folder: Path) -> None:
        weights = edit(load_file(folder / WHOLE))
        save_file(weights, folder / WHOLE, {"format": "pt"})

    return change


def use_shards(name: str = "a.safetensors", there: bool = True) -> Change:
    """Puts the weights into a shard that an index names."""

    def change(folder: Path) -> None:
        names = [*load_file(folder / WHOLE)]
        (folder / WHOLE).rename(folder.parent / "elsewhere.safetensors")
        if there:
            shutil.copy(folder.parent / "elsewhere.safetensors", folder / name)
        weights = {each: name for each in names}
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weights}))

    return change


def set_template(template: object) -> Change:
    """Gives the tokenizer's settings another chat template."""

    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        set_fields("tokenizer_config.json", chat_template=template)(folder)

    return change


def make_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def exchange_tokenizer(folder: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(50)] + ["Ünïcode"])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (edit_weights(lambda w: {k: v for k, v in w.items() if "layers.1." not in k}),
         "lacks 9 of the weights that its config.json speaks of, such as model.layers.1.input"),
        (set_fields("config.json", num_hidden_layers=3), "lacks 9 of the weights"),
        (set_fields("config.json", num_hidden_layers=3_000_000), "no model has more than 10000"),
        (set_fields("config.json", text_config={"num_experts": 10**9}), "of num_experts; no model"),
        (edit_weights(lambda w: {f"x.{name}": tensor for name, tensor in w.items()}), "lacks 21"),
        (edit_weights(lambda w: {k: v * torch.nan for k, v in w.items()}), "numbers that are none"),
        (set_fields("config.json", intermediate_size=65), "other sizes than its config.json says"),
        (set_fields("config.json", hidden_size="32"), "Field 'hidden_size' expected int, got str"),
        (set_fields("config.json", pad_token_id=10**6), "a file of it is not as it must be"),
        (set_fields("config.json", dtype="nope"), "a file of it is not as it must be"),
        (set_fields("tokenizer_config.json", model_max_length="x"), "a file of it is not as it"),
        (write_file("config.json", [1]), "config.json of Odd is not the JSON that transformers"),
        (write_file("tokenizer_config.json", b"<html>"), "tokenizer_config.json of Odd is not the"),
        (write_file(WHOLE, POINTER), "model.safetensors of Odd is a pointer of Git LFS"),
        (write_file("tokenizer.json", POINTER), "tokenizer.json of Odd is a pointer of Git LFS"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "Odd has no tokenizer in its folder"),
        (lambda folder: (folder / "config.json").unlink(), "The file config.json of Odd is not"),
        (lambda folder: (folder / WHOLE).unlink(), "The file model.safetensors of Odd is"),
        (make_adapter, "holds an adapter (LoRA) and no model"),
        (exchange_tokenizer, "they do not belong together"),
        (use_shards(there=False), "The file a.safetensors of Odd is not there"),
        (use_shards("a.bin"), "names a.bin among the weights"),
        (use_shards("../elsewhere.safetensors", there=False), "names ../elsewhere.safetensors"),
        (set_template([{"name": "a", "template": "x"}, {"name": "b", "template": "y"}]),
         "has several chat templates (a, b) and none that is called default"),
        (set_template(5), "has no chat template"),
        (set_template([{"name": "default", "template": 5}]), "has no chat template"),
    ],
)  # fmt: skip
def test_what_a_folder_is_not_is_said(whole: Path, tmp_path: Path, change: Change, sentence: str):
    folder = shutil.copytree(whole, tmp_path / "odd")
    change(folder)
    with pytest.raises(Unavailable) as caught:
        prompt(folder)
    assert sentence in str(caught.value)
    assert not any(word in str(caught.value) for word in ("Error", "NoneType", str(tmp_path)))


def test_a_model_that_reads_pictures_is_not_called_a_fault_of_ours():
    error = ValueError("Unrecognized configuration class <class 'x.CLIPConfig'> for this kind of")
    assert str(_reason(error)) == "it is of a kind that does not write text"


@pytest.mark.parametrize(
    "change",
    [use_shards(), set_template([{"name": "rag", "template": "{{ messages[0].content }}"}]),
     write_file("generation_config.json", b"{"),
     set_fields("config.json", max_position_embeddings=0),
     edit_weights(lambda w: w | {"unknown": torch.zeros(3)})],
)  # fmt: skip
def test_what_does_not_matter_is_passed_over(whole: Path, tmp_path: Path, change: Change):
    folder = shutil.copytree(whole, tmp_path / "odd")
    change(folder)
    assert prompt(folder)


@pytest.mark.parametrize(
    "index",
    [b"", b"[]", b"5", b'{"weight_map": null}', b'{"weight_map": {}}', b'{"weight_map": {"a": 5}}',
     b'{"weight_map": {"a": [1]}}', b'{"weight_map": {"a": "\\u0000"}}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_an_index_that_cannot_be_read_is_of_no_complete_folder(tmp_path: Path, index: bytes):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / INDEX).write_bytes(index)
    assert not is_complete(tmp_path)
