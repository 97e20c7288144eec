"""What can go wrong, said so that a person knows what to do.

Every error that a person may see is a :class:`UserError`: its sentence names the value, the limit
and the remedy. Anything else that is raised is a bug: the log has it whole, and a person is told of
its cause as far as that can be understood without knowing the program.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipelines.core.messages import Message

UNFORESEEN = "{kind}: {reason}"

RequestT = TypeVar("RequestT", bound=BaseModel)


class UserError(Exception):
    """An error whose sentence is meant for the person at the page.

    Args:
        template: English sentence with ``str.format`` fields; see :class:`Message`.
        **values: values for the fields.
    """

    def __init__(self, template: str, **values: Any) -> None:
        self.message = Message(template, **values)
        super().__init__(str(self.message))

    def __reduce__(self):  # keyword values survive pickling to another process
        return (_rebuild, (type(self), self.message.template, self.message.values))


def _rebuild(kind: type[UserError], template: str, values: dict[str, Any]) -> UserError:
    return kind(template, **values)


class BadRequest(UserError):
    """The request holds a value that cannot be used (HTTP 422).

    Attributes:
        path: where in the request: names of fields and numbers of items, the outermost first;
            empty when that is unknown, or the whole.
        kind: pydantic's name for what is wrong, such as ``string_too_long``; empty when unknown.
    """

    path: tuple[str | int, ...] = ()
    kind: str = ""

    def at(self, *path: str | int) -> BadRequest:
        """Notes where in the request the value is, and returns this same error."""
        self.path = path
        return self


class NotFound(UserError):
    """A name or id that stands for nothing here (HTTP 404)."""


class Refused(UserError):
    """A thing that this person may not do (HTTP 403)."""


class Busy(UserError):
    """A limit on queue or quota is reached (HTTP 429)."""


class Unavailable(UserError):
    """Something needed cannot be had: offline, a missing package, a gated model (HTTP 503)."""


class OutOfMemory(UserError):
    """The device's memory did not suffice; the sentence says what was asked, free and to lower."""


def unforeseen(error: BaseException) -> Message:
    """The message that is stored for an error of a class that is not expected.

    It holds the name and the text of the error; :func:`studio.i18n.translate` turns it into a
    sentence when it is shown.
    """
    return Message(UNFORESEEN, kind=type(error).__name__, reason=str(error))


def reason_of(error: BaseException, limit: int = 500) -> str:
    """What an error of a library says, to stand as a reason in a sentence.

    Its name is in front where it is called an error, by which :mod:`studio.i18n` knows a mistake
    in the program; other names, such as BrokenProcessPool, would be taken for words.
    """
    name, text = type(error).__name__, str(error).strip()
    if name.endswith(("Error", "Exception", "Warning")):
        return f"{name}: {text}"[:limit]
    return text[:limit] or f"{RuntimeError.__name__}: "


def tells_of_a_fault(words: str) -> bool:
    """Whether a text is a program's report of a fault in itself, which people are not shown.

    Such are tracebacks, names of Python's exceptions for mistakes, and printed objects.

    >>> [tells_of_a_fault(words) for words in ("KeyError: 'choices'", "litellm.Timeout: try again")]
    [True, False]
    """
    return _FAULT.search(words) is not None


_FAULT = re.compile(
    r"Traceback \(most recent|\b(?:Arithmetic|Assertion|Attribute|Index|Key|Lookup|Name|"
    r"NotImplemented|Recursion|Syntax|Type|Unicode\w{0,20}|Validation|ZeroDivision)Error\b"
    r"|<(?:class|function|module|bound method) |\bobject at 0x|\bNoneType\b"
)


def words_of(error: BaseException, limit: int = 200) -> str:
    """What an error of a library says, in one line of at most ``limit`` characters."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:limit] if lines else "no reason given"


def rebuild_error(kind: str, message: Message) -> UserError:
    """The error of the class that is called ``kind``, which another process has raised.

    It may say anything: what is none of these classes' names is a plain :class:`UserError`.
    """
    own = (each for each in UserError.__subclasses__() if each.__module__ == __name__)
    known = {each.__name__: each for each in own}
    return _rebuild(known.get(kind, UserError), message.template, message.values)


class Stopped(Exception):
    """Raised by an engine that has seen its stop flag; nothing is wrong."""


def validate(model: type[RequestT], data: Any) -> RequestT:
    """``model.model_validate(data)`` with pydantic's errors turned into one :class:`BadRequest`.

    Raises:
        BadRequest: names the first offending field, its value and the limit, and how many more
            fields are wrong.
    """
    _check_lengths(model, data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _sentence(model, data, error) from None


def _check_lengths(model: type[BaseModel], data: Any) -> None:
    """Refuses lists that are too long before pydantic makes an error of each of their entries."""
    for name, field in model.model_fields.items() if isinstance(data, dict) else ():
        value = data.get(name)
        limit = next(
            filter(None, (getattr(each, "max_length", None) for each in field.metadata)), None
        )
        if limit is not None and isinstance(value, list | tuple) and len(value) > limit:
            first = {"type": "too_long", "loc": (name,), "input": value,
                     "ctx": {"max_length": limit}}  # fmt: skip
            sentence = bad_value(first, model, data).at(name)
            sentence.kind = first["type"]
            raise sentence


def validate_stored(model: type[RequestT], data: Any) -> RequestT:
    """As :func:`validate`, but ignores fields that the model no longer has.

    It is for what an earlier version has stored.

    Raises:
        BadRequest: as :func:`validate` does, of the fields that there are.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        unknown = [each["loc"] for each in error.errors(include_url=False, include_context=False)
                   if each["type"] == "extra_forbidden"]  # fmt: skip
    known = copy.deepcopy(data)
    for *path, name in unknown:
        with contextlib.suppress(LookupError, TypeError):  # pydantic names kinds of a union too
            inside = known
            for part in path:
                inside = inside[part]
            del inside[name]
    return validate(model, known)


_LIMITS = {
    "greater_than_equal": ("{field} is {value}; it must be at least {limit}.", "ge"),
    "greater_than": ("{field} is {value}; it must be more than {limit}.", "gt"),
    "less_than_equal": ("{field} is {value}; it must be at most {limit}.", "le"),
    "less_than": ("{field} is {value}; it must be less than {limit}.", "lt"),
    "multiple_of": ("{field} is {value}; it must be a multiple of {limit}.", "multiple_of"),
    "string_too_long": ("{field} has {value} characters; at most {limit} are taken.", "max_length"),
    "too_long": ("{field} has {value} entries; at most {limit} are taken.", "max_length"),
    "finite_number": ("{field} is {value}; it must be a number.", None),
    "missing": ("{field} is missing.", None),
    "extra_forbidden": ("There is no setting called {field}.", None),
    "too_short": ("{field} cannot be {value}: at least {limit} entries are needed.", "min_length"),
    "string_too_short": (
        "{field} cannot be {value}: at least {limit} characters are needed.",
        "min_length",
    ),
    "literal_error": ("{field} cannot be {value}: it must be {limit}.", "expected"),
    "enum": ("{field} cannot be {value}: it must be {limit}.", "expected"),
    "union_tag_invalid": ("{field} cannot be {value}: its kind must be {limit}.", "expected_tags"),
    "union_tag_not_found": ("{field} does not say of which kind it is.", None),
    "none_required": ("{field} cannot be {value}: it must be left out.", None),
    "string_unicode": ("{field} cannot be {value}: it holds half a character.", None),
    **dict.fromkeys(
        ("string_type", "string_sub_type", "bytes_type"),
        ("{field} cannot be {value}: it must be text.", None),
    ),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"),
        ("{field} cannot be {value}: it must be a whole number.", None),
    ),
    **dict.fromkeys(
        ("float_type", "float_parsing", "decimal_type", "decimal_parsing"),
        ("{field} cannot be {value}: it must be a number.", None),
    ),
    **dict.fromkeys(
        ("bool_type", "bool_parsing"),
        ("{field} cannot be {value}: it must be true or false.", None),
    ),
    **dict.fromkeys(
        ("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"),
        ("{field} cannot be {value}: it must be a list.", None),
    ),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"),
        ("{field} cannot be {value}: it must be an object of names and values.", None),
    ),
    **dict.fromkeys(
        ("string_pattern_mismatch", "url_parsing", "url_type", "path_type", "json_invalid"),
        ("{field} cannot be {value}: it is not written in the form that is needed.", None),
    ),
}
_OTHER = "{field} cannot be {value}: {reason}"


def _sentence(model: type[BaseModel], data: Any, error: ValidationError) -> BadRequest:
    first = error.errors(include_url=False)[0]
    sentence = bad_value(first, model, data).at(*first["loc"])
    sentence.kind = first["type"]
    return sentence


def bad_value(first: Mapping[str, Any], model: type[BaseModel] | None, data: Any) -> BadRequest:
    """One of pydantic's errors as a sentence, without pydantic's words.

    Args:
        first: as ``ValidationError.errors()`` has it.
        model: what ``data`` should be; its titles name the fields.
    """
    if isinstance(cause := first.get("ctx", {}).get("error"), UserError):
        return BadRequest(cause.message.template, **cause.message.values)
    field = _field_at(model, [str(part) for part in first["loc"]])
    label = field.title if field and field.title else _place(first["loc"], data)
    if first["type"] == "extra_forbidden":
        label = str(first["loc"][-1])
    value = first.get("input")
    shown = len(value) if first["type"] in ("string_too_long", "too_long") else _short(value)
    template, limit_key = _LIMITS.get(first["type"], (_OTHER, None))
    values: dict[str, Any] = {"field": label, "value": shown}
    if limit_key:
        values["limit"] = first["ctx"][limit_key]
    if template is _OTHER:
        reason = str(first.get("ctx", {}).get("error") or "it cannot be read")
        values["reason"] = reason if reason.endswith(".") else f"{reason}."
    return BadRequest(template, **values)


def _place(path: Sequence[str | int], data: Any) -> str:
    """Where in the data an error is, as in “role (messages, entry 2)”.

    Of the path, what stands in the data: pydantic puts names of its own kinds in between.
    """
    names: list[str] = []
    for at, part in enumerate(path):
        if isinstance(part, int) and isinstance(data, list | tuple) and part < len(data):
            entry = f"entry {part + 1}"
            names[-1:] = [f"{names[-1]}, {entry}"] if names else [entry]
            data = data[part]
        elif isinstance(data, Mapping) and part in data:
            names.append(str(part))
            data = data[part]
        elif at == len(path) - 1 and isinstance(data, Mapping) and isinstance(part, str):
            names.append(part)  # it is missing
    if not names:
        return "The whole"
    *outer, inner = names
    return f"{inner} ({' / '.join(outer)})" if outer else inner


def _field_at(model: type[BaseModel] | None, path: list[str]) -> FieldInfo | None:
    """The innermost field that an error's path leads to, also through lists of other models."""
    field = None
    for part in path:
        if model is not None and part in model.model_fields:
            field = model.model_fields[part]
            model = next(_models_in(field.annotation), None)
    return field


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _short(value: Any, limit: int = 60) -> str:
    """A value as who has sent it writes it: text as it is, all else in JSON."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, float):  # nan and inf have no spelling in JSON
        text = repr(value)
    elif hasattr(value, "filename"):  # of a form
        text = "a file"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"
