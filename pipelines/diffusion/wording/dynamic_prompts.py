"""Dynamic prompts, resolved: from a template and a seed to the words that a picture is made from.

A seed means the same words, alone and in a batch. What a template could become is measured before
anything is chosen, so that one which could grow without end is refused at once.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelines.core.errors import BadRequest
from pipelines.core.messages import Message
from pipelines.diffusion.hires.requests import Hires
from pipelines.diffusion.lora.tags import with_tags
from pipelines.diffusion.requests import MAX_PROMPT, TextToImageRequest
from pipelines.diffusion.wording.grammar import (
    Choice,
    Definition,
    Node,
    Option,
    Variable,
    Wildcard,
    escape,
    is_dynamic,
    parse,
    parse_line,
)
from pipelines.diffusion.wording.wildcards import Wildcards, match_names

TEMPLATE, NEGATIVE_TEMPLATE = "Template", "Negative Template"
HIRES_TEMPLATES = {"prompt": "Hires Template", "negative_prompt": "Hires Negative Template"}
"""Field of a second pass → what its template is called, which is our own."""
IN_TURN = "All combinations"
MAX_PARTS = 100_000  # chosen for one prompt
MAX_CHAIN = 10  # of lists and variables that name one another
MAX_CHARACTERS = 4_000_000  # of all lists that one prompt names

Nodes = tuple[Node, ...]
Scope = dict[str, Nodes]
"""What each variable stands for."""


class Cost(NamedTuple):
    """The most that something can become: characters, and parts that are looked at."""

    length: int = 0
    parts: int = 1

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]
        return Cost(self.length + other.length, self.parts + other.parts)

    def times(self, count: int) -> Cost:
        return Cost(self.length * count, self.parts * count)


Meanings = dict[str, list[Nodes | Cost]]
"""All that each variable can stand for, or how much that is at most."""


class Words(NamedTuple):
    """Prompt and negative prompt of one picture, resolved."""

    prompt: str
    negative_prompt: str


class Template:
    """A prompt that may have choices, read once and resolved for many seeds.

    Args:
        text: the prompt as it was typed.
        wildcards: the lists of words that there are.

    Raises:
        BadRequest: it cannot be read, a list or variable names itself, or it could become too long.
        NotFound: it names a list that is not there.
    """

    def __init__(self, text: str, wildcards: Wildcards) -> None:
        self.text = text
        self.is_dynamic = is_dynamic(text)
        self._nodes = parse(text)
        if not self.is_dynamic:
            return
        self._wildcards = wildcards
        self._names: list[str] | None = None  # of all lists
        self._found: dict[str, tuple[Option, ...]] = {}  # by the pattern of lists that are named
        self._lists: dict[str, tuple[Option, ...]] = {}  # by the name of a list
        self._costs: dict[tuple[str, int], Cost] = {}  # of lists; of which definitions they hold
        self._defined, self._variables = 0, 0  # how many were met while measuring
        self._characters = 0
        cost = self._cost(self._nodes, (), {})
        if cost.length > MAX_PROMPT:
            raise BadRequest(
                "The prompt can become {value} characters long; at most {limit} are taken. Choose "
                "fewer words, or shorter ones.",
                value=f"{cost.length:.3g}" if cost.length > 10**9 else cost.length,
                limit=MAX_PROMPT,
            )
        if cost.parts > MAX_PARTS:
            raise BadRequest(
                "The prompt can become a choice among {value} parts; at most {limit} are taken. "
                "Choose fewer of them.",
                value=f"{cost.parts:.3g}" if cost.parts > 10**9 else cost.parts,
                limit=MAX_PARTS,
            )

    def resolve(self, key: int | str) -> str:
        """The words that ``key``, a seed, means."""
        if not self.is_dynamic:
            return self.text
        return _settle(self._choose(self._nodes, random.Random(key), {}))

    def combinations(self) -> Iterator[str]:
        """All that it can become, each once, the last choice changing first; weights are no matter.

        Those of which several are taken come in the order in which they are written.
        """
        if not self.is_dynamic:
            return iter((self.text,))
        return (_settle(text) for text, _ in self._each(self._nodes, {}))

    # --- what can come of it --------------------------------------------------------------------

    def _cost(self, nodes: Nodes, within: tuple[str, ...], scope: Meanings) -> Cost:
        """The most that ``nodes`` can become.

        Args:
            within: the lists and variables that this is part of, the outermost first.
            scope: all that variables can stand for; what is defined is added.
        """
        total = Cost()
        for node in nodes:
            match node:
                case str():
                    total += Cost(len(node))
                case Definition():
                    # Otherwise it is measured where it is used: it may name what comes later.
                    meaning = self._cost(node.nodes, within, scope) if node.once else node.nodes
                    known = scope.setdefault(node.name, [])
                    if meaning not in known:
                        known.append(meaning)
                        self._defined += 1
                    total += Cost(0, meaning.parts if isinstance(meaning, Cost) else 1)
                case Variable():
                    total += self._variable_cost(node, within, scope)
                case Wildcard():
                    total += self._list_cost(node.name, within, scope)
                case Choice():
                    options = self._options(node)
                    count = self._most(node, options)
                    if options is node.options:
                        each = _largest(self._cost(one.nodes, within, scope) for one in options)
                    else:  # the lines of a list
                        each = self._cost(node.options[0].nodes, within, scope)
                    total += each.times(count) + Cost(len(node.between) * max(count - 1, 0), count)
            if total.parts > MAX_PARTS or total.length > MAX_PROMPT:
                break  # it is refused; measuring what is left could take as long as choosing
        return total

    def _variable_cost(self, node: Variable, within: tuple[str, ...], scope: Meanings) -> Cost:
        self._variables += 1
        name = f"${{{node.name}}}"
        _check_chain(name, within)
        if node.name in scope:
            within = (*within, name)
            return _largest(
                meaning if isinstance(meaning, Cost) else self._cost(meaning, within, scope)
                for meaning in tuple(scope[node.name])
            )
        if node.default is None:
            raise BadRequest(
                "{variable} stands for nothing yet. Write ${{{name}=words}} before it, or "
                "${{{name}:words}} for words to take then.",
                variable=name,
                name=node.name,
            )
        return self._cost(node.default, within, scope)

    def _list_cost(self, pattern: str, within: tuple[str, ...], scope: Meanings) -> Cost:
        self._lines(pattern)
        return _largest(
            self._cost_of_list(name, within, scope) for name in match_names(pattern, self._names)
        )

    def _cost_of_list(self, name: str, within: tuple[str, ...], scope: Meanings) -> Cost:
        shown = f"__{name}__"
        _check_chain(shown, within)
        if (name, -1) in self._costs:
            return self._costs[name, -1]
        if (key := (name, self._defined)) not in self._costs:
            before = self._variables
            cost = _largest(
                self._cost(each.nodes, (*within, shown), scope) for each in self._list(name)
            )
            # Of lists without variables it is the same whatever these stand for.
            self._costs[(name, -1) if self._variables == before else key] = cost
            return cost
        return self._costs[key]

    def _list(self, name: str) -> tuple[Option, ...]:
        """The lines of a list as what is chosen from."""
        if name in self._lists:
            return self._lists[name]
        options = []
        for number, line in self._wildcards.lines(name):
            self._characters += len(line)
            if self._characters > MAX_CHARACTERS:
                raise BadRequest(
                    "The lists of words that the prompt names have more than {limit} characters. "
                    "Name fewer of them.",
                    limit=MAX_CHARACTERS,
                )
            try:
                options.append(parse_line(line))
            except BadRequest as error:
                raise BadRequest(
                    "Line {number} of the list {name} cannot be read: {reason}",
                    number=number,
                    name=name,
                    reason=error.message,
                ) from error
        if not any(option.weight for option in options):
            raise BadRequest(
                "The list {name} has no words to choose. Write some, one in a line.", name=name
            )
        self._lists[name] = tuple(options)
        return self._lists[name]

    def _options(self, choice: Choice) -> tuple[Option, ...]:
        """What is chosen from; of a list that stands alone its lines, so that each comes once."""
        if len(choice.options) == 1:
            match choice.options[0].nodes:
                case (Wildcard(name=pattern),):
                    return self._lines(pattern)
        return choice.options

    def _lines(self, pattern: str) -> tuple[Option, ...]:
        """The lines of all lists that a name or pattern means."""
        if pattern not in self._found:
            if self._names is None:
                self._names = self._wildcards.names()
            names = match_names(pattern, self._names)
            self._found[pattern] = tuple(each for name in names for each in self._list(name))
        return self._found[pattern]

    @staticmethod
    def _most(choice: Choice, options: Sequence[Option]) -> int:
        count = len(options)
        return count if choice.most is None else min(choice.most, count)

    # --- choosing -------------------------------------------------------------------------------

    def _choose(self, nodes: Nodes, rng: random.Random, scope: Scope) -> str:
        parts = []
        for node in nodes:
            match node:
                case str():
                    parts.append(node)
                case Definition():
                    if node.once:
                        scope[node.name] = (self._choose(node.nodes, rng, scope),)
                    else:
                        scope[node.name] = node.nodes
                case Variable():
                    stands_for = scope.get(node.name, node.default) or ()
                    parts.append(self._choose(stands_for, rng, scope))
                case Wildcard():
                    (option,) = _draw(self._lines(node.name), 1, rng)
                    parts.append(self._choose(option.nodes, rng, scope))
                case Choice():
                    options = self._options(node)
                    most = self._most(node, options)
                    least = min(node.least, most)
                    count = least
                    if most > least:
                        count += int(rng.random() * (most - least + 1))
                    drawn = [
                        self._choose(option.nodes, rng, scope).strip()
                        if count > 1
                        else self._choose(option.nodes, rng, scope)
                        for option in _draw(options, count, rng)
                    ]
                    parts.append(node.between.join(drawn))
        return "".join(parts)

    def _each(self, nodes: Nodes, scope: Scope) -> Iterator[tuple[str, Scope]]:
        """All that ``nodes`` can become, each with what variables stand for behind it."""
        if not nodes:
            yield "", scope
            return
        texts, open_nodes = [""] * len(nodes), [self._each_of(nodes[0], scope)]
        while open_nodes:
            found = next(open_nodes[-1], None)
            if found is None:
                open_nodes.pop()
                continue
            texts[len(open_nodes) - 1], after = found
            if len(open_nodes) == len(nodes):
                yield "".join(texts), after
            else:
                open_nodes.append(self._each_of(nodes[len(open_nodes)], after))

    def _each_of(self, node: Node, scope: Scope) -> Iterator[tuple[str, Scope]]:
        match node:
            case str():
                yield node, scope
            case Definition():
                # A variable stands for the same wherever it is used: other values are other words.
                for text, _ in self._each(node.nodes, scope):
                    yield "", {**scope, node.name: (text,)}
            case Variable():
                yield from self._each(scope.get(node.name, node.default) or (), scope)
            case Wildcard():
                for option in self._lines(node.name):
                    yield from self._each(option.nodes, scope)
            case Choice():
                options = [option for option in self._options(node) if option.weight]
                most = self._most(node, options)
                for count in range(min(node.least, most), most + 1):
                    for taken in itertools.combinations(options, count):
                        yield from self._join(taken, node.between, scope)

    def _join(
        self, options: tuple[Option, ...], between: str, scope: Scope
    ) -> Iterator[tuple[str, Scope]]:
        several = len(options) > 1
        nodes: list[Node] = []
        for number, option in enumerate(options):
            nodes += [between] if number else []
            nodes += option.nodes
        for text, after in self._each(tuple(nodes), scope):
            yield text.strip() if several else text, after


class Wording:
    """The words of all pictures of one request.

    Args:
        request: with the prompts as they were typed; styles are worked in.
        wildcards: the lists of words that there are.

    Raises:
        UserError: as :class:`Template` does.
    """

    def __init__(self, request: TextToImageRequest, wildcards: Wildcards) -> None:
        self._prompt = Template(request.prompt, wildcards)
        self._negative = Template(request.negative_prompt, wildcards)
        second = request.hires
        self._second = {
            field: Template(text, wildcards)
            for field in ("prompt", "negative_prompt")
            if second is not None and (text := getattr(second, field))
        }
        self._loras = [use.model_dump() for use in request.loras if use.works]
        self._all: list[Words] | None = None
        self._asked_for_all, self._are_more = request.combinations, False
        if request.combinations and self.is_dynamic:
            count = request.batch_count * request.batch_size
            pairs = (
                Words(prompt, negative)
                for prompt in self._prompt.combinations()
                for negative in self._negative.combinations()
            )
            self._all = list(itertools.islice(pairs, count))
            self._are_more = next(pairs, None) is not None

    @property
    def is_dynamic(self) -> bool:
        every = (self._prompt, self._negative, *self._second.values())
        return any(each.is_dynamic for each in every)

    def hires(self, picture: TextToImageRequest) -> Hires | None:
        """A picture's second pass with words of its own."""
        if picture.hires is None:
            return None
        own = {
            field: each.resolve(f"second {field} {picture.seed}")
            for field, each in self._second.items()
        }
        return picture.hires.model_copy(update=own)

    @property
    def facts(self) -> dict[str, str]:
        """What a picture's settings say of the templates, as sd-dynamic-prompts calls them."""
        facts = {}
        if self._prompt.is_dynamic:
            facts[TEMPLATE] = with_tags(self._prompt.text, self._loras)
        if self._negative.is_dynamic:
            facts[NEGATIVE_TEMPLATE] = self._negative.text
        facts |= {
            HIRES_TEMPLATES[field]: each.text
            for field, each in self._second.items()
            if each.is_dynamic
        }
        return facts if self._all is None else {**facts, IN_TURN: "True"}

    @property
    def notes(self) -> list[Message]:
        """What there is to say of all combinations, where they were asked for."""
        if not self._asked_for_all:
            return []
        if self._all is None:
            return [Message("There are no choices in the prompt to combine.")]
        count = len(self._all)
        if self._are_more:
            return [
                Message(
                    "The prompt has more combinations than these {count}. More pictures show more.",
                    count=count,
                )
            ]
        return [Message("The prompt has {count} combinations.", count=count)]

    def of(self, seed: int, number: int) -> Words:
        """The words of one picture.

        Args:
            number: its place among all pictures of the request, from 0.
        """
        if self._all is not None:
            return self._all[number % len(self._all)]
        # The negative prompt draws on its own: another prompt leaves it as it is.
        return Words(self._prompt.resolve(seed), self._negative.resolve(f"negative {seed}"))


def _draw(options: Sequence[Option], count: int, rng: random.Random) -> list[Option]:
    """Some options by their weights, none of them twice."""
    left = [option for option in options if option.weight]
    drawn = []
    while left and len(drawn) < count:
        place = rng.random() * sum(option.weight for option in left)
        at = 0
        while at < len(left) - 1 and place >= left[at].weight:
            place -= left[at].weight
            at += 1
        drawn.append(left.pop(at))
    return drawn


def _largest(costs: Iterator[Cost] | list[Cost]) -> Cost:
    """The most of several in both respects."""
    length = parts = 0
    for cost in costs:
        length, parts = max(length, cost.length), max(parts, cost.parts)
        if parts > MAX_PARTS or length > MAX_PROMPT:
            break
    return Cost(length, parts)


def _settle(text: str) -> str:
    """The words, so written that resolving them again changes nothing."""
    return escape(text) if is_dynamic(text) else text


def _check_chain(name: str, within: tuple[str, ...]) -> None:
    """Refuses a list or variable that is part of itself, or of too many others."""
    if name in within:
        way = " → ".join((*within[within.index(name) :], name))
        raise BadRequest(
            "{name} names itself: {way}. Take it out of its own words.", name=name, way=way
        )
    if len(within) >= MAX_CHAIN:
        raise BadRequest(
            "Lists and variables name one another more than {limit} times: {way}. Take some out.",
            limit=MAX_CHAIN,
            way=" → ".join((*within, name)),
        )
