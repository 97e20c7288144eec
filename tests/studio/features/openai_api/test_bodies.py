"""Bodies in OpenAI's terms as requests to the engine, without a model."""

from __future__ import annotations

import pytest

from pipelines.chat.requests import MAX_SEED, ChatMessage, ChatRequest, CompletionRequest
from studio.features.openai_api import bodies, images
from studio.features.openai_api.errors import Invalid

ASKED = [{"role": "user", "content": "Who?"}]


def test_what_is_left_open_is_left_to_the_model_s_file():
    (request,) = bodies.chat({"messages": ASKED, "model": "m", "top_p": None}).requests
    assert request == ChatRequest(
        model="m", messages=(ChatMessage(role="user", content="Who?"),), overflow="refuse"
    )


def test_all_settings_reach_the_engine():
    body = {
        "messages": [*ASKED, {"role": "assistant", "content": "He"}],
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "min_p": 0.125,
        "repeat_penalty": 1.5,
        "max_tokens": 9,
        "max_completion_tokens": 8,
        "stop": "end",
        "seed": 3,
        "logprobs": True,
        "top_logprobs": 4,
        "continue_final_message": True,
        "response_format": {"type": "json_object"},
    }
    (request,) = bodies.chat(body).requests
    found = request.model_dump(exclude={"messages", "model"})
    assert found == {
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "min_p": 0.125,
        "repetition_penalty": 1.5,
        "max_new_tokens": 8,
        "stop": ("end",),
        "seed": 3,
        "logprobs": 4,
        "continue_last": True,
        "overflow": "refuse",
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logit_bias": {},
        "json_schema": {"type": "object"},
    }


def test_choices_have_seeds_that_follow_one_another():
    seeds = [each.seed for each in bodies.chat({"messages": ASKED, "n": 3, "seed": 5}).requests]
    assert seeds == [5, 6, 7]
    last = bodies.chat({"messages": ASKED, "n": 2, "seed": MAX_SEED}).requests
    assert [each.seed for each in last] == [MAX_SEED, 0]
    drawn = bodies.chat({"messages": ASKED, "n": 2}).requests
    assert [each.seed for each in drawn] == [-1, -1], "each draws its own"


def test_choices_of_several_prompts_stand_prompt_by_prompt():
    asked = bodies.completion({"prompt": ["a", "b"], "n": 2, "seed": 1, "echo": True})
    assert [(each.prompt, each.seed, each.echo) for each in asked.requests] == [
        ("a", 1, True), ("a", 2, True), ("b", 1, True), ("b", 2, True)
    ]  # fmt: skip


def test_a_completion_is_short_unless_it_is_told_otherwise():
    assert bodies.completion({"prompt": "a"}).requests == (
        CompletionRequest(prompt="a", max_new_tokens=16),
    )


def test_only_the_first_instructions_are_joined():
    def message(role: str, content: object) -> dict:
        return {"role": role, "content": content, "name": "ignored"}

    parts = [{"type": "text", "text": "x"}, {"type": "input_text", "text": "y"}]
    assert bodies.messages(
        [
            message("system", "a"),
            message("developer", "b"),
            message("system", parts),
            message("user", "c"),
        ]
    ) == [{"role": "system", "content": "a\n\nb\n\nxy"}, {"role": "user", "content": "c"}]
    later = [message("user", "c"), message("system", "d"), message("system", "e")]
    roles = [each["role"] for each in bodies.messages([message("system", "a"), *later])]
    assert roles == ["system", "user", "system", "system"], "later ones stay where they are"


def test_a_body_is_left_as_it_was():
    body = {"messages": [{"role": "system", "content": "a"}, {"role": "system", "content": "b"},
                         *ASKED], "stop": ["x"]}  # fmt: skip
    before = repr(body)
    bodies.chat(body)
    assert repr(body) == before


def refusal(read, **body) -> Invalid:
    body = {"messages": ASKED, "prompt": "a"} | body
    with pytest.raises(Invalid) as caught:
        read(body)
    return caught.value


NULLS = ("temperature", "top_p", "n", "stop", "seed", "logit_bias", "tools", "tool_choice",
         "response_format", "stream_options", "presence_penalty", "max_tokens", "user", "functions",
         "logprobs", "top_logprobs", "modalities", "reasoning_effort", "best_of")  # fmt: skip


@pytest.mark.parametrize(
    "harmless",
    [
        dict.fromkeys(NULLS),
        {"tools": [], "tool_choice": "auto", "functions": [], "function_call": "none"},
        {"tools": [], "tool_choice": {}, "parallel_tool_calls": False},
        {"tools": [{"type": "function"}], "tool_choice": "none"},
        {"n": 1, "logit_bias": {}, "stop": "", "presence_penalty": 0, "frequency_penalty": 0.0},
        {"response_format": {"type": "text"}, "modalities": ["text"], "best_of": 1},
        {"response_format": {}, "logprobs": False, "top_logprobs": 0, "suffix": ""},
        {"stream_options": {"include_usage": None, "include_obfuscation": False}, "model": ""},
        {"user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto"},
        {"reasoning_effort": "none", "verbosity": "medium", "grammar": "", "typical_p": 1.0},
        {"mirostat": 0, "options": {}, "guided_json": {}, "use_beam_search": False},
        {"logit_bias": [], "reasoning_effort": "auto", "enable_thinking": False},
        # SillyTavern's, for whatever server
        {
            "do_sample": True,
            "skip_special_tokens": True,
            "add_bos_token": True,
            "skew": 0,
            "guidance_scale": 1,
            "negative_prompt": "",
            "banned_strings": [],
            "num_beams": 1,
            "custom_token_bans": "",
            "early_stopping": False,
            "stopping_strings": [],
            "nsigma": 0,
            "epsilon_cutoff": 0,
            "encoder_repetition_penalty": 1,
            "truncation_length": 2048,
        },
    ],
)
def test_fields_that_ask_for_nothing_change_nothing(harmless: dict):
    """As openai's client, langchain, pydantic-ai and litellm fill them in."""
    (plain,) = bodies.chat({"messages": ASKED}).requests
    assert bodies.chat({"messages": ASKED, **harmless}).requests == (plain,)
    (plain,) = bodies.completion({"prompt": "a"}).requests
    assert bodies.completion({"prompt": "a", **harmless}).requests == (plain,)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "function"}], "tool_choice": "auto"}, "tools"),
        ({"tools": {"f": 1}}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"response_format": "json_object"}, "response_format"),
        ({"best_of": 3}, "best_of"),
        ({"best_of": 3, "n": 2}, "best_of"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"guided_choice": ["yes", "no"]}, "guided_choice"),
        ({"grammar": "root ::= a"}, "grammar"),
        ({"min_tokens": 5}, "min_tokens"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"5": True}}, "logit_bias"),
        ({"logit_bias": {"-1": 0}}, "logit_bias"),
        ({"logit_bias": [[5, 1]]}, "logit_bias"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": "much"}, "frequency_penalty"),
        ({"logit_bias": {"05": 1, "5": 2}}, "logit_bias"),
        ({"max_new_tokens": 9}, "max_new_tokens"),
        ({"max_tokens": 8, "n_predict": 9}, "n_predict"),
        ({"stopping_strings": ["a"], "stop": ["b"]}, "stopping_strings"),
        ({"rep_pen": 1.2}, "rep_pen"),
        ({"do_sample": False}, "do_sample"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"regex": "[0-9]+"}, "regex"),
        ({"banned_strings": ["ministrations"]}, "banned_strings"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -2}, "seed"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_name(body: dict, param: str):
    for read in (bodies.chat, bodies.completion):
        error = refusal(read, **body)
        assert error.param.split("[")[0].split(".")[0] == param
        assert param in str(error) or "tools" in str(error)


def test_a_value_by_all_of_its_names_is_taken():
    names = {"max_tokens": 9, "max_new_tokens": 9, "stop": ["a"], "stopping_strings": ["a"]}
    (request,) = bodies.completion({"prompt": "a", **names}).requests
    assert (request.max_new_tokens, request.stop) == (9, ("a",))


def test_minus_one_is_no_limit():
    (request,) = bodies.chat({"messages": ASKED, "max_tokens": -1, "top_k": -1}).requests
    assert (request.max_new_tokens, request.top_k) == (None, 0)
    for name in ("max_tokens", "max_completion_tokens"):
        (request,) = bodies.completion({"prompt": "a", name: -1}).requests
        assert request.max_new_tokens is None, "not the 16 tokens of one that names no limit"


@pytest.mark.parametrize("name", ["n_predict", "num_predict"])
def test_no_limit_by_another_name_is_taken_where_there_is_none(name: str):
    (request,) = bodies.chat({"messages": ASKED, name: -1}).requests
    assert request.max_new_tokens is None
    (request,) = bodies.completion({"prompt": "a", "max_tokens": -1, name: -1}).requests
    assert request.max_new_tokens is None
    assert refusal(bodies.completion, **{name: -1}).param == name, "it would end after 16 tokens"


def test_other_tokens_of_a_completion_are_asked_for_by_logprobs():
    error = refusal(bodies.completion, top_logprobs=2)
    assert (error.param, str(error)) == (
        "top_logprobs", "top_logprobs is not known here. Send it as logprobs.")  # fmt: skip


@pytest.mark.parametrize("said", ["Hi", {"role": "user", "content": "Hi"}])
def test_messages_that_are_no_list_are_said_to_be_none(said: object):
    assert "messages must be a list" in str(refusal(bodies.chat, messages=said))


TOOL_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "assistant", "tool_calls": [TOOL_CALL, {"id": "2"}]}, "tool_calls[1]"),
        ({"role": "assistant", "content": "x", "function_call": {"name": "f"}}, "function_call"),
        ({"role": "tool", "content": None, "tool_call_id": "1"}, "content"),
        ({"role": "function", "content": None, "name": "f"}, "role"),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "audio"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "content[0]"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "content[0]"),
    ],
)
def test_a_history_is_refused_for_its_own_reason(message: dict, param: str):
    error = refusal(bodies.chat, messages=[*ASKED, message, *ASKED])
    assert error.param == f"messages[1].{param}"
    assert ("tool" in str(error)) == (param in ("tool_calls[1]", "function_call", "role"))


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"role": "assistant", "content": None}, ""),
        ({"role": "assistant", "content": "", "tool_calls": None, "function_call": None}, ""),
        ({"role": "assistant", "content": [], "tool_calls": [], "audio": None}, ""),
        ({"role": "assistant", "content": None, "refusal": "I won't."}, "I won't."),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"role": "assistant", "content": "x", "annotations": [], "refusal": None}, "x"),
    ],
)
def test_answers_come_back_as_clients_keep_them(message: dict, content: str):
    (request,) = bodies.chat({"messages": [*ASKED, message, *ASKED]}).requests
    assert [each.content for each in request.messages] == ["Who?", content, "Who?"]


def test_an_answer_at_the_end_is_gone_on_with_unless_another_is_asked_for():
    said = [*ASKED, {"role": "assistant", "content": "He"}]
    assert bodies.chat({"messages": said}).requests[0].continue_last
    other = bodies.chat({"messages": said, "continue_final_message": False}).requests[0]
    assert not other.continue_last
    system = [{"role": "system", "content": "Say hello."}]
    assert not bodies.chat({"messages": system}).requests[0].continue_last
    assert not bodies.chat({"messages": [*ASKED, *system]}).requests[0].continue_last


def test_large_seeds_stay_repeatable():
    def seeds(**body) -> list[int]:
        return [each.seed for each in bodies.chat({"messages": ASKED, **body}).requests]

    assert seeds(seed=2**63 - 1) == seeds(seed=2**63 - 1) != seeds(seed=2**63 - 2)
    assert all(0 <= seed <= MAX_SEED for seed in seeds(seed=2**63 - 1, n=8))
    assert seeds(seed=MAX_SEED) == [MAX_SEED]
    assert seeds(top_p=0)[0] == -1


def test_prompts_are_texts_or_tokens():
    def prompts(given) -> list:
        asked = bodies.completion({"prompt": given, "max_tokens": 0, "logprobs": False})
        return [each.prompt_tokens or each.prompt for each in asked.requests]

    assert prompts([5, 6]) == [(5, 6)]
    assert prompts([[5], [6, 7]]) == [(5,), (6, 7)]
    assert prompts(["a", [5]]) == ["a", (5,)]
    assert prompts("") == [""]
    for odd, param in (([5, "a"], "prompt[1]"), ([[5], [True]], "prompt[1][0]"),
                       ([5, -1], "prompt[1]"), ([[]], "prompt"), ([None], "prompt[0]"),
                       ({}, "prompt"), (5, "prompt"), ([[5], None], "prompt")):  # fmt: skip
        error = refusal(bodies.completion, prompt=odd)
        assert error.param == param
        assert "str" not in str(error)


def test_biases_reach_the_engine_by_the_tokens_numbers():
    (request,) = bodies.chat({"messages": ASKED, "logit_bias": {"5": -100, "7": 1.5}}).requests
    assert request.logit_bias == {5: -100, 7: 1.5}


def test_pictures_are_not_made_otherwise_than_asked_without_a_word():
    plain = {"prompt": "a red mug", "batch_count": 1}
    harmless = {"background": "opaque", "partial_images": 0, "quality": "standard", "user": "me",
                "output_compression": None, "moderation": "auto", "batch_size": 1}  # fmt: skip
    assert images.request_of({"prompt": "a red mug", **harmless}) == plain
    odd = {"background": "transparent", "partial_images": 2, "quality": "hd", "image": "data:x",
           "width": 512, "guidance_scale": 3, "num_inference_steps": 5,
           "batch_size": 2}  # fmt: skip
    for changes in ({name: value} for name, value in odd.items()):
        with pytest.raises(Invalid) as caught:
            images.request_of({"prompt": "a", **changes})
        assert [caught.value.param] == list(changes)
