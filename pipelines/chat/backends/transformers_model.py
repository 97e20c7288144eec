"""Language models by transformers: safetensors folders, hub models, GGUF files to look into.

One answer at a time; who wants many at once points at a server
(:mod:`pipelines.chat.backends.remote`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from pipelines.chat.backends.decoding import DynamicSteps, StaticSteps, Steps
from pipelines.chat.backends.detokenizer import Detokenizer
from pipelines.chat.backends.model_folder import check_folder
from pipelines.chat.context import context_exceeded
from pipelines.chat.entries import FOLDER, ChatEntry
from pipelines.chat.events import Finished, Reading, TokenOdds, Words
from pipelines.chat.rendering import process as rendering
from pipelines.chat.requests import ChatMessage, Generation
from pipelines.core.cache import Notes
from pipelines.core.errors import Stopped, Unavailable, UserError, tells_of_a_fault
from pipelines.core.messages import Message

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)
_SAID = 400  # characters of what transformers says
_WRAPPED = re.compile(r".*error for .*:\n\s*\w+: (.+)")
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
        trained = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        is_known = isinstance(trained, int) and trained > 0
        self.context_length = min(trained if is_known else math.inf, entry.context_length)
        self.vocabulary_size = int(model.get_input_embeddings().weight.shape[0])
        self._turn = threading.Lock()
        # bitsandbytes' weights stay on the card they were quantised on.
        self.movable = entry.quantisation == "none"
        self.template = entry.chat_template or _template_of(tokenizer)
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
        if not self.template and (names := _names_of_templates(self.tokenizer)):
            raise Unavailable(
                "{model} has several chat templates ({names}) and none that is called default. "
                "Give the one to use as chat_template in its file.",
                model=self.entry.title,
                names=", ".join(names)[:200],
            )
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
        return self._check_known(ids)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which nothing is a special token."""
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return encoded["input_ids"]

    def complete_prompt(self, text: str) -> list[int]:
        """The tokens of a plain prompt, special tokens read as such."""
        return self._check_known(self.tokenizer(text)["input_ids"])

    def _check_known(self, ids: list[int]) -> list[int]:
        """``ids``, if the weights have a row for each.

        Raises:
            Unavailable: the tokenizer is of a model with more.
        """
        if (most := max(ids, default=0)) >= self.vocabulary_size:
            raise Unavailable(
                "The tokenizer of {model} has a token {token}, and its weights end at {last}: they "
                "do not belong together. Download both again.",
                model=self.entry.title,
                token=most,
                last=self.vocabulary_size - 1,
            )
        return ids

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
            if token >= len(odds):
                raise _no_numbers(self.entry)
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

    def embed(self, tokens: Sequence[int], stop: threading.Event) -> list[float]:
        """The mean of a text's last hidden states, of length 1.

        Raises:
            Stopped: ``stop`` was set.
            ContextExceeded: the text does not fit.
        """
        import torch

        if len(tokens) > self.context_length:
            raise context_exceeded(len(tokens), self.context_length)
        with self._in_turn(stop), torch.inference_mode():
            ids = torch.tensor([[*tokens]], device=self.model.device)
            states = self.model(ids, output_hidden_states=True).hidden_states[-1]  # (1, L, H)
            mean = states[0].float().mean(0)
            return (mean / mean.norm().clamp(min=1e-12)).tolist()

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
        check_folder(folder, entry.title)
    options: dict[str, Any] = {"dtype": dtype_for(device), "use_safetensors": True}
    if path.is_file():
        del options["use_safetensors"]
    if entry.quantisation != "none":
        options |= _quantise(entry, device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **place)
        model, about = transformers.AutoModelForCausalLM.from_pretrained(
            folder, **place, **options, output_loading_info=True
        )
        _check_weights(entry, about["missing_keys"])
        if entry.lora:
            model = _with_lora(model, entry, home)
        if entry.quantisation == "none":
            model.to(device)
        loaded = TransformersModel(entry, model.eval().requires_grad_(False), tokenizer)
        _try_out(loaded)
    except UserError:
        raise
    except Exception as error:  # whatever a library does with files that it has not thought of
        if is_out_of_memory(error):
            raise out_of_memory(error, device, entry.title) from error
        raise _cannot_load(entry, error) from error
    return loaded


def _check_weights(entry: ChatEntry, missing: Collection[str]) -> None:
    """Raises Unavailable where transformers has made weights up: it only warns of that."""
    if missing:
        raise Unavailable(
            "{model} lacks {count} of the weights that its config.json speaks of, such as {name}: "
            "it would say anything. Download its files again.",
            model=entry.title,
            count=len(missing),
            name=min(missing)[:100],
        )


def _try_out(model: TransformersModel) -> None:
    """Has a model cut a text and read a token, before anybody waits for more of it.

    Raises:
        Unavailable: its numbers are none; or whatever its library raises.
    """
    import torch

    model.tokenize("a")
    with torch.inference_mode():
        if not DynamicSteps(model.model).read([0]).isfinite().any():
            raise _no_numbers(model.entry)


def _no_numbers(entry: ChatEntry) -> Unavailable:
    return Unavailable(
        "{model} comes to numbers that are none (NaN): its weights are damaged, or too large for "
        "this device's numbers. Download them again, or choose another model.",
        model=entry.title,
    )


def _template_of(tokenizer: Any) -> str:
    """The tokenizer's chat template; of several, the one that is called default or stands alone."""
    found, names = tokenizer.chat_template, _names_of_templates(tokenizer)
    if names:
        found = found.get(names[0] if len(names) == 1 else "default")
    return found if isinstance(found, str) else ""


def _names_of_templates(tokenizer: Any) -> list[str]:
    """Of chat templates that have names; empty where there is one without."""
    found = tokenizer.chat_template
    named = found.items() if isinstance(found, dict) else ()
    return [str(name) for name, text in named if isinstance(text, str)]


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
    _log.warning("%s cannot be loaded", entry.name, exc_info=error)
    return Unavailable(
        "transformers cannot load {model}: {reason}.", model=entry.title, reason=_reason(error)
    )


def _reason(error: Exception) -> str | Message:
    """What transformers says, where that is said to people."""
    text = str(error)
    if "ignore_mismatched_sizes" in text:
        return Message("its weights have other sizes than its config.json says")
    if "Unrecognized configuration class" in text:
        return Message("it is of a kind that does not write text")
    # "Validation error for field …:", and in the next line the error that this stands for.
    if (inner := _WRAPPED.match(text)) is not None:
        text = inner[1]
    named = isinstance(error, OSError | ValueError | ImportError | RuntimeError | SafetensorError)
    if not (named or inner) or tells_of_a_fault(text) or not text.strip():
        return Message("a file of it is not as it must be; Atelier's log has more")
    return text.strip().splitlines()[0].rstrip(".")[:_SAID]


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end an answer: the model's, the tokenizer's, and the chat formats' ends of turn."""
    ends = {tokenizer.eos_token_id}
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends |= {*configured} if isinstance(configured, (list, tuple)) else {configured}
    vocabulary = tokenizer.get_vocab()
    ends |= {vocabulary.get(token) for token in ("<|im_end|>", "<|eot_id|>", "<|end_of_text|>")}
    return ends - {None}
