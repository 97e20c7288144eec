"""The list of conversations: titles, order, pages, search."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.core.errors import BadRequest, Busy
from studio.features.chat.conversation_record import title_of
from studio.features.chat.conversations import search_conversations
from tests.patience import PATIENCE
from tests.studio.features.chat.talk import ANN, BEN, Talk

GUEST = "guest-1"


def test_the_title_is_the_first_words_of_the_first_message(talk):
    talk.turn("  \n What is a   llama?\nPlease tell.", "An animal.")
    talk.turn("And an alpaca?", "Another.")
    assert talk.now.title == "What is a llama?"
    talk.all.rename(ANN, talk.id, " Animals \n of Peru", talk.revision)
    talk.turn("More?", "No.")
    assert talk.now.title == "Animals of Peru"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("", ""),
        ("a" * 60, "a" * 60),
        ("a" * 61, "a" * 59 + "…"),
        ("word " * 20, ("word " * 11).strip() + "…"),
        ("什么是羊驼" * 20, ("什么是羊驼" * 12)[:59] + "…"),
    ],
)
def test_a_long_title_is_cut_between_words_where_there_are_any(text, title):
    assert title_of(text) == title
    assert len(title) <= 60


@pytest.mark.parametrize("title", ["", "  \n", "x" * 201])
def test_a_title_that_is_none_changes_nothing(talk, title):
    with pytest.raises(BadRequest, match="1 to 200 characters"):
        talk.all.rename(ANN, talk.id, title, talk.revision)


def test_the_list_goes_by_the_last_change_and_is_paged_without_gaps(conversations):
    talks = [Talk(conversations) for _ in range(7)]
    for index in (3, 0, 5):
        talks[index].say("hello")
    expected = [talks[index].id for index in (5, 0, 3, 6, 4, 2, 1)]
    assert [each.id for each in conversations.list(ANN)] == expected
    seen, before = [], None
    while page := conversations.list(ANN, limit=3, before=before):
        seen += [each.id for each in page]
        before = page[-1].cursor
        conversations.delete(ANN, page[-1].id)
    assert seen == expected


@pytest.mark.parametrize("cursor", ["", "x", "1", "1/x", "nan", "/1", "\ud800"])
def test_a_cursor_that_is_none_is_refused(conversations, cursor):
    with pytest.raises(BadRequest, match="no place in the list"):
        conversations.list(ANN, before=cursor)


PIECES = [
    "%",
    "_",
    "\\",
    "'",
    '"',
    "*",
    "🙂",
    "👩‍🚀",
    "é",
    "É",
    "ß",
    "SS",
    "a",
    "A",
    "羊",
    "ﬁ",
    "0",
]


def test_a_search_finds_exactly_what_holds_all_words_in_any_case(conversations):
    chance = random.Random(4)

    def words(count):
        return ["".join(chance.choices(PIECES, k=chance.randint(1, 3))) for _ in range(count)]

    texts = {}
    for _ in range(40):
        talk = Talk(conversations)
        question, answer = " ".join(words(3)), " ".join(words(4))
        talk.turn(question, answer)
        texts[talk.id] = f"{question}\n{answer}".replace("ﬁ", "fi").casefold()
    hits = 0
    for _ in range(300):
        asked = words(chance.randint(1, 2))
        wanted = [word.replace("ﬁ", "fi").casefold() for word in asked]
        expected = {id for id, text in texts.items() if all(word in text for word in wanted)}
        found = {each.id for each in conversations.search(ANN, " ".join(asked))}
        assert found == expected, asked
        hits += len(expected)
    assert hits > 100, "the search was tried on things that are there"


def test_a_search_looks_into_titles_and_hidden_branches_of_the_owner_only(conversations):
    talk, other = Talk(conversations), Talk(conversations, BEN)
    question, _ = talk.turn("about llamas", "They hum.")
    other.turn("about llamas", "They hum.")
    talk.all.edit(ANN, question.id, "about alpacas", talk.revision)
    talk.all.rename(ANN, talk.id, "Peru", talk.revision)
    for text in ("LLAMAS hum", "peru alpacas", ""):
        assert [each.id for each in conversations.search(ANN, text)] == [talk.id]
    assert conversations.search(ANN, "llamas vicuñas") == []


@pytest.mark.parametrize("text", ["x " * 40_000, "\0", "\ud800", "%" * 60_000])
def test_a_strange_search_is_answered(conversations, text):
    Talk(conversations).say("hello")
    conversations.search(ANN, text)


def test_a_search_waits_for_nobody_and_keeps_nobody_waiting(conversations):
    talk = Talk(conversations)
    talk.turn("about llamas", "They hum.")
    with conversations.store.transaction() as connection:
        connection.execute("UPDATE conversations SET updated = updated")
        in_thread = ThreadPoolExecutor(1).submit(conversations.search, ANN, "llamas hum")
        assert [each.id for each in in_thread.result(PATIENCE)] == [talk.id]


def test_a_search_that_takes_too_long_is_given_up(conversations, store):
    talk = Talk(conversations)
    words = " ".join(f"word{number}" for number in range(2_000))
    talk.turn(words, "Yes.")
    with (
        pytest.raises(Busy, match="Search for fewer words"),
        store.search_connection(0) as connection,
    ):
        search_conversations(connection, ANN, words, 50, None)
    assert [each.id for each in conversations.search(ANN, words)] == [talk.id]
