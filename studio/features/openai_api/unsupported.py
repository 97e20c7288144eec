"""Fields of the protocol, and of its other servers, that cannot be followed here.

Each is refused by its name, unless its value asks for nothing: clients send many fields with the
value that changes nothing. A field that is not named here and that nobody here knows is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studio.features.openai_api.errors import Invalid

_EMPTY = ("", [], {}, False, None)  # ask for nothing, whatever the field
_NO_LIMIT = -1
# Field → further values that change nothing.
_FIELDS: Mapping[str, tuple[Any, ...]] = {
    # OpenAI's
    "audio": (),
    "modalities": (["text"],),
    "reasoning_effort": ("none", "auto"),
    "verbosity": ("medium",),
    "web_search_options": (),
    # vLLM's
    "allowed_token_ids": (),
    "bad_words": (),
    "chat_template": (),
    "chat_template_kwargs": (),
    "documents": (),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_whitespace_pattern": (),
    "ignore_eos": (),
    "include_stop_str_in_output": (),
    "length_penalty": (1,),
    "logits_processors": (),
    "min_tokens": (0,),
    "prompt_logprobs": (),
    "skip_special_tokens": (True,),
    "stop_token_ids": (),
    "structured_outputs": (),
    "truncate_prompt_tokens": (),
    "use_beam_search": (),
    # llama.cpp's, and of those who follow it
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "grammar": (),
    "json_schema": (),
    "mirostat": (0,),
    "mirostat_mode": (0,),
    "n_probs": (0,),
    "smoothing_factor": (0,),
    "tfs": (1,),
    "tfs_z": (1,),
    "top_a": (0,),
    "typical": (1,),
    "typical_p": (1,),
    "xtc_probability": (0,),
    "top_n_sigma": (0, -1),
    "lora": (),
    # SGLang's
    "ebnf": (),
    "lora_path": (),
    "min_new_tokens": (0,),
    "no_stop_trim": (),
    "regex": (),
    "stop_regex": (),
    # of text-generation-webui, TabbyAPI, KoboldCpp and TGI
    "ban_eos_token": (),
    "banned_strings": (),
    "banned_tokens": (),
    "custom_token_bans": (),
    "decoder_input_details": (),
    "do_sample": (True,),
    "dynamic_temperature": (),
    "early_stopping": (),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "grammar_string": (),
    "guidance_scale": (1,),
    "min_length": (0,),
    "negative_prompt": (),
    "no_repeat_ngram_size": (0,),
    "nsigma": (0,),
    "num_beams": (1,),
    "penalty_alpha": (0,),
    "skew": (0,),
    "watermark": (),
    # OpenRouter's, DeepSeek's, Anthropic's and Qwen's, of thinking
    "enable_thinking": (),
    "reasoning": ({"effort": "none"}, {"enabled": False}),
    "thinking": ("disabled", {"type": "disabled"}),
    "thinking_budget": (0,),
    # Ollama's
    "format": (),
    "options": (),
    "think": (),
}
_ON = ("do_sample", "skip_special_tokens")  # these ask for something where they are false
# What other servers call a field of this protocol → its name here, and values that change nothing.
_OTHER_NAMES: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "max_length": ("max_tokens", ()),
    "max_new_tokens": ("max_tokens", ()),
    "max_output_tokens": ("max_tokens", ()),
    "n_predict": ("max_tokens", (_NO_LIMIT,)),
    "num_predict": ("max_tokens", (_NO_LIMIT,)),
    "rep_pen": ("repetition_penalty", (1,)),
    "stop_sequence": ("stop", ()),
    "stop_sequences": ("stop", ()),
    "stopping_strings": ("stop", ()),
}


def refuse_unsupported(given: Mapping[str, Any], choices: int, is_chat: bool) -> None:
    """Refuses the first field that asks for what cannot be had.

    Args:
        choices: ``n``: as many answers are tried as are given.
        is_chat: of an answer in a chat, which has no limit where the body names none. To ask for
            no limit of a completion is to ask for something.

    Raises:
        Invalid: names the field and says what to do.
    """
    if not is_chat:
        _refuse_in_completions(given)
    best_of = given.get("best_of")
    if best_of not in (None, 0, 1, choices):
        raise Invalid(
            "The best of {count} answers cannot be chosen here: leave best_of out, and ask for n "
            "of them.",
            count=str(best_of)[:40],
            param="best_of",
        )
    for name, neutral in _FIELDS.items():
        if name not in given or given[name] in neutral:
            continue
        if given[name] not in _EMPTY or name in _ON:
            raise Invalid("{field} cannot be followed here. Leave it out.", field=name, param=name)
    for name, (ours, neutral) in _OTHER_NAMES.items():
        if not is_chat:
            neutral = tuple(each for each in neutral if each != _NO_LIMIT)
        # Some clients send a value by all of its names.
        if name in given and given[name] not in (*_EMPTY, *neutral, given.get(ours)):
            raise Invalid(
                "{field} is not known here. Send it as {name}.", field=name, name=ours, param=name
            )


def refuse_parts_of(message: Mapping[str, Any], number: int, where: str) -> None:
    """Refuses a message that refers to sound, or calls a function as was done before tools.

    Raises:
        Invalid: names the field of the message.
    """
    if message.get("function_call"):
        raise Invalid(
            "{field} is not known here. Send it as {name}.",
            field="function_call",
            name="tool_calls",
            param=f"{where}.function_call",
        )
    if message.get("audio"):
        raise Invalid(
            "Message {number} refers to sound; the models here read text only.",
            number=number,
            param=f"{where}.audio",
        )


def _refuse_in_completions(given: Mapping[str, Any]) -> None:
    """Refuses what only an answer in a chat can be asked for."""
    kind = given.get("response_format")
    kind = kind.get("type", "text") if isinstance(kind, dict) and kind else kind
    if kind not in (*_EMPTY, "text"):
        raise Invalid(
            "Answers are text here; a response_format of the type {kind} cannot be promised.",
            kind=str(kind)[:40],
            param="response_format",
        )
    for choice, tools in (("tool_choice", "tools"), ("function_call", "functions")):
        chosen = given.get(choice, "auto")
        if chosen not in (*_EMPTY, "auto", "none"):
            raise Invalid("There are no tools here that could be chosen.", param=choice)
        if given.get(tools) not in _EMPTY and chosen != "none":
            raise Invalid(
                "Completions cannot use {field}. Send a conversation to /v1/chat/completions.",
                field=tools,
                param=tools,
            )
