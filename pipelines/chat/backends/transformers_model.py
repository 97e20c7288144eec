"""Language models by transformers: safetensors folders, hub models, GGUF files to look into.

One answer at a time; who wants many at once points at a server
(:mod:`pipelines.chat.backends.remote`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.chat.backends.decoding import DynamicSteps, StaticSteps, Steps
from pipelines.chat.backends.detokenizer import Detokenizer
from pipelines.chat.context import context_exceeded
from pipelines.chat.entries import FOLDER, ChatEntry
from pipelines.chat.events import Finished, Reading, TokenOdds, Words
from pipelines.chat.rendering import process as rendering
from pipelines.chat.requests import ChatMessage, Generation
from pipelines.core.cache import Notes
from pipelines.core.errors import Stopped, Unavailable, words_of
from pipelines.core.messages import Message
from pipelines.models.local_models import PICKLES

if TYPE_CHECKING:
    import torch

CHUNK = 256  # tokens of a prompt read at a time: how soon a stop is seen, and progress


class TransformersModel:
    """A causal language model with its tokenizer; see :class:`pipelines.core.cache.Loaded`.

    Attributes:
        entry: what it is.
        model: ``transformers.PreTrainedModel`` in eval mode; must not be changed by who leases it.
        tokenizer: ``transformers.PreTrainedTokenizerBase``.
        context_length: tokens that a conversation may have.
    """

    alive = True

    def __init__(self, entry: ChatEntry, model: Any, tokenizer: Any) -> None:
        self.entry, self.model, self.tokenizer = entry, model, tokenizer
        trained = getattr(model.config, "max_position_embeddings", entry.context_length)
        self.context_length = min(trained, entry.context_length)
        self.vocabulary_size = int(model.config.vocab_size)
        self._turn = threading.Lock()
        # bitsandbytes' weights stay on the card they were quantised on.
        self.movable = entry.quantisation == "none"
        template = entry.chat_template or tokenizer.chat_template or ""
        self.template = template if isinstance(template, str) else template.get("default", "")
        added = tokenizer.added_tokens_decoder.values()
        self._specials = {
            *tokenizer.all_special_tokens,
            *(token.content for token in added if token.special),
        }
        self._ends = _end_tokens(model, tokenizer)
        self._fixed = StaticSteps(model, self.context_length) if entry.compiled else None

    # --- what the engine asks ---------------------------------------------------------------

    def prompt(self, messages: Sequence[ChatMessage], continue_last: bool = False) -> list[int]:
        """The tokens of a conversation, by the model's chat template.

        Raises:
            BadRequest: the template does not take such a conversation.
            Unavailable: there is no template.
        """
        if not self.template:
            raise Unavailable(
                "{model} has no chat template. Give one as chat_template in its file.",
                model=self.entry.title,
            )
        parts = rendering.render(
            self.template,
            messages,
            self._specials,
            continue_last=continue_last,
            tokens=self.tokenizer.special_tokens_map,
        )
        ids: list[int] = []
        for part in parts:
            if part.special:
                ids.append(self.tokenizer.convert_tokens_to_ids(part.text))
            else:
                ids += self.tokenize(part.text)
        return ids

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which nothing is a special token."""
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return encoded["input_ids"]

    def complete_prompt(self, text: str) -> list[int]:
        """The tokens of a plain prompt, special tokens read as such."""
        return self.tokenizer(text)["input_ids"]

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text that tokens stand for, special ones included."""
        return self.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)

    def generate(
        self, prompt: Sequence[int], request: Generation, stop: threading.Event
    ) -> Iterator[Reading | Words | Finished]:
        """Goes on with ``prompt``; the last event is :class:`Finished`.

        Args:
            request: with all sampling values filled in.
            stop: looked at before each token.

        Raises:
            Stopped: ``stop`` was set.
            ContextExceeded: the prompt does not fit.
        """
        import torch

        if len(prompt) >= self.context_length:
            raise context_exceeded(len(prompt), self.context_length)
        with self._in_turn(stop), torch.inference_mode():
            yield from self._generate(list(prompt), request, stop)

    @contextlib.contextmanager
    def _in_turn(self, stop: threading.Event) -> Iterator[None]:
        """Waits until nobody else computes."""
        while not self._turn.acquire(timeout=0.05):
            if stop.is_set():
                raise Stopped
        try:
            yield
        finally:
            self._turn.release()

    def _generate(
        self, prompt: list[int], request: Generation, stop: threading.Event
    ) -> Iterator[Reading | Words | Finished]:
        import torch

        from pipelines.chat.sampling import add_biases, draw, reshape

        start = time.perf_counter()
        room = self.context_length - len(prompt)
        limit = min(request.max_new_tokens or room, room)
        if self._fixed is not None:
            steps: Steps = self._fixed.begin(len(prompt) + limit)
        else:
            steps = DynamicSteps(self.model)
        logits = None
        for at in range(0, len(prompt), CHUNK):
            if stop.is_set():
                raise Stopped
            yield Reading(at, len(prompt))
            logits = steps.read(prompt[at : at + CHUNK])  # (V,)
        yield Reading(len(prompt), len(prompt))
        read = time.perf_counter()

        random = torch.Generator().manual_seed(request.seed)
        text = Detokenizer(self.tokenizer, prompt, request.stop)
        ids, reason, window = list(prompt), "length", request.penalty_window
        penalties = {
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
        }
        while len(ids) - len(prompt) < limit:
            if stop.is_set():
                raise Stopped
            said = ids if window is None else ids[-window:]
            odds = reshape(add_biases(logits, request.logit_bias), request, said, **penalties)
            token = draw(odds, random)
            ids.append(token)
            if token in self._ends:
                reason = "stop"
                break
            piece = text.add(token)
            yield Words(piece, 1, self._odds(logits, token, request.logprobs))
            if text.stopped:
                reason = "stop"
                break
            if len(ids) - len(prompt) < limit:
                logits = steps.write(token)
        if not text.stopped and (rest := text.finish()):
            yield Words(rest, 0)
        yield Finished(
            reason,
            prompt_tokens=len(prompt),
            cached_tokens=0,
            tokens=len(ids) - len(prompt),
            prompt_seconds=read - start,
            seconds=time.perf_counter() - read,
        )

    def prompt_odds(
        self, prompt: Sequence[int], count: int, stop: threading.Event
    ) -> Iterator[Reading | TokenOdds]:
        """The odds of each token of a prompt after those before it; of the first none are known.

        Args:
            count: how many of the likeliest tokens are told beside each.
        """
        import torch

        ids, logits = list(prompt), None
        with self._in_turn(stop), torch.inference_mode():
            steps = DynamicSteps(self.model)
            for at in range(0, len(ids), CHUNK):
                if stop.is_set():
                    raise Stopped
                yield Reading(at, len(ids))
                chunk = ids[at : at + CHUNK]
                found = steps.read_all(chunk)  # (T, V)
                for row, token in zip([logits, *found[:-1]], chunk, strict=True):
                    if row is None:
                        yield self._one(token, None)
                    else:
                        yield from self._odds(row, token, count)
                logits = found[-1]

    def _odds(self, logits: torch.Tensor, token: int, count: int | None) -> tuple[TokenOdds, ...]:
        if count is None:
            return ()
        logprobs = logits.log_softmax(-1)
        best = logprobs.topk(count)
        top = tuple(
            self._one(int(id), float(value))
            for value, id in zip(best.values, best.indices, strict=True)
        )
        one = self._one(token, float(logprobs[token]))
        return (TokenOdds(one.text, one.logprob, one.bytes, top),)

    def _one(self, token: int, logprob: float | None) -> TokenOdds:
        text = self.tokenizer.decode([token])
        return TokenOdds(text, logprob, text.encode())

    # --- as the model cache asks ------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        return self.model.get_memory_footprint()

    def to(self, device: str) -> TransformersModel:
        self.model.to(device)
        return self

    def close(self) -> None:
        self.model = self.tokenizer = self._fixed = None


def load(entry: ChatEntry, path: Path, device: str, notes: Notes, home: Path) -> TransformersModel:
    """Bring the model at ``path`` (a GGUF file or a transformers folder) to ``device``.

    bf16 or fp16 on CUDA, float32 elsewhere; 8 or 4 bits by bitsandbytes where the entry says so.

    Raises:
        Unavailable: it cannot be loaded; says why.
        OutOfMemory: the device's memory does not suffice.
    """
    from safetensors import SafetensorError

    from pipelines.core.devices import dtype_for, is_out_of_memory, out_of_memory
    from pipelines.core.engine import IMPORTING

    notes(Message("Loading {model}", model=entry.title), None)
    with IMPORTING:
        import transformers
    place: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    folder = path
    if path.is_file():
        folder, place["gguf_file"] = path.parent, path.name
    else:
        _refuse_pickles(entry, folder)
    options: dict[str, Any] = {"dtype": dtype_for(device), "use_safetensors": True}
    if path.is_file():
        del options["use_safetensors"]
    if entry.quantisation != "none":
        options |= _quantise(entry, device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **place)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **place, **options)
        if entry.lora:
            model = _with_lora(model, entry, home)
        if entry.quantisation == "none":
            model.to(device)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise out_of_memory(error, device, entry.title) from error
        raise _cannot_load(entry, error) from error
    except (OSError, ValueError, KeyError, ImportError, AttributeError, SafetensorError) as error:
        raise _cannot_load(entry, error) from error
    return TransformersModel(entry, model.eval().requires_grad_(False), tokenizer)


def _refuse_pickles(entry: ChatEntry, folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    if any(path.suffix in PICKLES for path in folder.glob("*")):
        raise Unavailable(
            "{model} has its weights in pickle files, which Atelier never opens. Convert them to "
            ".safetensors.",
            model=entry.title,
        )


def _quantise(entry: ChatEntry, device: str) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for bitsandbytes' 8 or 4 bits."""
    import torch
    from transformers import BitsAndBytesConfig

    from pipelines.core.devices import dtype_for

    if not device.startswith("cuda"):
        raise Unavailable(
            "{model} is quantised by bitsandbytes, which needs an NVIDIA GPU; this device is "
            "{device}. Choose a GGUF model here.",
            model=entry.title,
            device=device,
        )
    if find_spec("bitsandbytes") is None:
        raise Unavailable(
            "{model} needs the package bitsandbytes, which is not installed. Install it by pip "
            "install bitsandbytes, or choose another model.",
            model=entry.title,
        )
    if entry.quantisation == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype_for(device),
        )
    return {"quantization_config": config, "device_map": {"": torch.device(device)}}


def _with_lora(model: Any, entry: ChatEntry, home: Path) -> Any:
    """The base with a PEFT adapter on it, found by its folder's name in ``<home>/chat/``."""
    import peft

    folder = home / FOLDER / entry.lora
    if not (folder / "adapter_config.json").is_file():
        raise Unavailable(
            "The adapter {lora} of {model} has no adapter_config.json in {folder}.",
            lora=entry.lora,
            model=entry.title,
            folder=f"{FOLDER}/{entry.lora}",
        )
    if not (folder / "adapter_model.safetensors").is_file():
        raise Unavailable(
            "The adapter {lora} of {model} has no adapter_model.safetensors.",
            lora=entry.lora,
            model=entry.title,
        )
    return peft.PeftModel.from_pretrained(model, folder).base_model.model


def _cannot_load(entry: ChatEntry, error: Exception) -> Unavailable:
    return Unavailable(
        "transformers cannot load {model}: {reason}.",
        model=entry.title,
        reason=words_of(error, 400),
    )


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end an answer: the model's, the tokenizer's, and the chat formats' ends of turn."""
    ends = {tokenizer.eos_token_id}
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends |= {*configured} if isinstance(configured, (list, tuple)) else {configured}
    vocabulary = tokenizer.get_vocab()
    ends |= {vocabulary.get(token) for token in ("<|im_end|>", "<|eot_id|>", "<|end_of_text|>")}
    return ends - {None}
