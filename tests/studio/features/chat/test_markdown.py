"""Answers as HTML: what is drawn, that none of it acts, and that growing costs what it must."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from html.parser import HTMLParser

import pytest
from pygments.lexers import get_lexer_by_name

from pipelines.core.child_process import UnreadableAnswer
from studio.features.chat.markdown import html as markdown
from studio.features.chat.markdown import process as draw_process
from studio.features.chat.markdown.blocks import draw_blocks
from studio.features.chat.markdown.html import (
    MAX_COLOURED,
    MAX_COLOURED_LINE,
    MAX_HERE,
    MAX_RENDERED,
    IncrementalHtml,
)
from studio.features.chat.markdown.languages import _LANGUAGES, lexer_name
from studio.features.chat.markdown.process import read_blocks, read_coloured


def render(text: str) -> str:
    return markdown.render(text, "ann")


ALLOWED = {
    "a": {"href", "target", "rel", "class"},
    "button": {"type", "class"},
    "code": set(),
    "div": {"class"},
    "li": set(),
    "ol": {"start"},
    "pre": {"tabindex"},
    "span": {"class"},
    "td": {"style"},
    "th": {"style"},
    **{f"h{level}": set() for level in range(1, 7)},
    **{name: set() for name in ("blockquote", "br", "em", "hr", "p", "s", "strong", "ul")},
    **{name: set() for name in ("table", "tbody", "thead", "tr")},
}
ANSWER = r"""# Roots
The roots of $ax^2 + bx + c$ are, with \(a \ne 0\):

$$
x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
$$

1. First *this*
2. then that
   ```python
   def roots(a, b, c):
       return "<b>"
   ```

| a | b |
|---|---:|
| 1 | 2 |

> quoted
> twice

\[ E = mc^2 \]

It costs $5, not $6.
"""
SLOW = "a\n" * 9_000  # for pygments' lexer of Java
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "text <img src=x onerror=alert(1)> text",
    "<iframe src=https://evil.example></iframe>",
    "<svg/onload=alert(1)>",
    "<style>*{display:none}</style>",
    "<!-- <b> --> <?php ?> <![CDATA[ x ]]>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:x) [y](file:///etc/passwd) [z](/logout) [w](//evil.example)",
    "<javascript:alert(1)>",
    "[x]: javascript:alert(1)\n\n[x]",
    '[x](https://a.example "t\\"onmouseover=alert(1)")',
    "[x](https://a.example/?q=\"onmouseover='alert(1)')",
    "![](https://evil.example/beacon.png?secret)",
    '![a<b>](https://evil.example/x.png "t")',
    "![x](data:image/svg+xml;base64,AAAA)",
    "[![x](https://evil.example/a.png)](https://evil.example)",
    '```"><script>alert(1)</script>\nx\n```',
    "```html\n<script>alert(1)</script>\n```",
    "$<img src=x onerror=alert(1)>$",
    "$$\n</div><script>alert(1)</script>\n$$",
    "\\(</span><script>\\)",
    "| <img src=x onerror=alert(1)> |\n|---|\n| <script> |",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "a\x00b \ud800",
]


class Reader(HTMLParser):
    """What a browser would make of it: tags with attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment


def put_together(pieces: list[str]) -> str:
    """The HTML of an answer that comes in pieces, as the page puts it together at the end."""
    growing, blocks, tail = IncrementalHtml("ann"), "", ""
    for piece in pieces:
        if (grown := growing.feed(piece)) is None:
            continue
        blocks += "".join(grown.blocks)
        tail = grown.tail if grown.tail is not None else tail + grown.words
    return blocks + tail


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_an_answer_acts_or_is_fetched(attack):
    for html in (render(attack), put_together(list(attack))):
        for tag, attributes in Reader(html).tags:
            assert set(attributes) <= ALLOWED[tag], html
            if "href" in attributes:
                assert attributes["href"].startswith(("https://a.example", "https://evil.example"))
                assert attributes["rel"] == "noopener noreferrer nofollow"


def test_html_in_an_answer_is_text():
    html = render("Write <b>bold</b> and <img src=x onerror=alert(1)>")
    assert Reader(html).text.strip() == "Write <b>bold</b> and <img src=x onerror=alert(1)>"


def test_a_picture_becomes_a_link():
    ((_, link),) = [tag for tag in Reader(render("![a map](https://a.example/x.png)")).tags[1:]]
    assert link["href"] == "https://a.example/x.png"
    assert "a map" in render("![a map](https://a.example/x.png)")


def test_formulas_keep_their_tex_and_prices_are_none():
    reader = Reader(render(ANSWER))
    maths = [attributes["class"] for tag, attributes in reader.tags if "class" in attributes]
    assert maths.count("math") == 2
    assert maths.count("math display") == 2
    assert r"x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}" in reader.text
    assert "It costs $5, not $6." in reader.text


def test_what_looks_like_markdown_in_a_formula_is_left_alone():
    assert render("$a_1 * b_2 * c_3$") == '<p><span class="math">a_1 * b_2 * c_3</span></p>\n'
    assert '<div class="math display">- a\n= b</div>' in render("$$\n- a\n= b\n$$")


def test_formulas_in_code_are_code():
    assert 'class="math' not in render("`$x$`\n\n```\n$$x$$\n```\n\n    $y$")


def test_code_names_its_language_and_is_coloured_without_changing():
    html = render('```python\nprint("<b>")\n```')
    assert "<span>python</span>" in html
    assert 'class="tok-' in html
    assert 'print("<b>")' in Reader(html).text


@pytest.mark.parametrize("step", [1, 3, 17])
def test_an_answer_that_has_grown_is_drawn_as_one_that_was_there(step):
    pieces = [ANSWER[at : at + step] for at in range(0, len(ANSWER), step)]
    grown, whole = Reader(put_together(pieces)), Reader(render(ANSWER))
    # Code is coloured once it is complete, and the last words may not be drawn yet.
    assert unescape(grown.text).split() == unescape(whole.text).split()


@pytest.mark.parametrize(
    "line",
    [
        "Plain words. ",
        *(
            pytest.param(each, marks=pytest.mark.deep)
            for each in ("1. item **x** `y`\n", "x = 1\n", "- a\n\n", "> q\n")
        ),
    ],
)
def test_work_on_an_answer_is_in_proportion_to_its_length(line):
    """Counted in characters that are read, not in time."""
    growing, characters, read = IncrementalHtml("ann"), 0, {}
    text = (line * 16_000)[:16_000]
    for at in range(0, len(text), 4):
        before = len(growing._open)
        if (grown := growing.feed(text[at : at + 4])) is not None and grown.tail is not None:
            characters += 2 * (before + 4) - len(growing._open)
        read[at + 4] = characters
    assert read[16_000] < 2.6 * read[8_000]


def test_of_plain_words_only_the_new_ones_are_sent():
    text = "The ship went out to sea and nobody knew where it would go. " * 50
    pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
    growing, sent = IncrementalHtml("ann"), 0
    for piece in pieces:
        if (grown := growing.feed(piece)) is not None:
            sent += len("".join(grown.blocks)) + len(grown.tail or "") + len(grown.words)
    assert sent < 20 * len(text)
    assert Reader(put_together(pieces)).text.split() == text.split()


def test_spaces_between_what_comes_are_kept():
    assert Reader(put_together(["one ", "two", " ", "three", "\n", "four"])).text.split() == [
        *("one", "two", "three", "four")
    ]
    assert "x = 1\n\ny" in Reader(put_together(["```\nx = 1", "\n", "\n", "y"])).text


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        *(
            pytest.param(each, marks=pytest.mark.deep)
            for each in ("\\[\n", "| a ", "```java\n" + SLOW + "\n```\n")
        ),
    ],
)
def test_text_made_to_be_slow_keeps_this_process_free(piece):
    text = (piece * (MAX_RENDERED // len(piece)))[: MAX_RENDERED - 1]
    begin = time.thread_time()
    render(text)
    assert time.thread_time() - begin < 0.5, "the seconds of the other process do not count"


def test_code_that_takes_too_long_to_colour_stands_uncoloured_and_its_neighbour_does_not():
    slow, quick = SLOW, 'print("<b>")'
    html = render(f"# Two\n\n```java\n{slow}\n```\n\n```py\n{quick}\n```")
    assert slow in Reader(html).text
    assert quick in Reader(html).text
    assert "tok-" not in html.partition("<span>py</span>")[0]
    assert 'class="tok-' in html.partition("<span>py</span>")[2]


def test_code_of_long_lines_or_of_many_stands_uncoloured_and_costs_its_neighbours_nothing():
    long_line = "x" * (MAX_COLOURED_LINE + 1)
    many = "x = 1\n" * (MAX_COLOURED // 6 + 1)
    blocks = "".join(f"```make\n{each}\n```\n\n" for each in (long_line, many) * 2)
    html = render(f"{blocks}```py\nlast = 3\n```")
    for each in (long_line, many):
        assert Reader(html).text.count(each) == 2
    assert html.count("tok-") == html.partition("<span>py</span>")[2].count("tok-") > 0


def test_a_text_whose_drawing_is_given_up_is_shown_as_it_was_written(monkeypatch):
    monkeypatch.setattr(draw_process, "LIMIT_SECONDS", 1e-6)
    text = "**bold**, " * MAX_HERE
    assert render(text) == f'<div class="as-written">{text}</div>'
    growing = IncrementalHtml("ann")
    assert growing.feed(text).tail == f'<div class="as-written">{text.rstrip()}</div>'
    assert growing.feed("**more**").words == " **more**", "it is not tried again"


def test_while_others_texts_are_drawn_a_long_one_is_drawn_here_without_colours(monkeypatch):
    monkeypatch.setattr(draw_process, "TURN_SECONDS", 0)
    text = "Two of **them**: " * 400 + "\n\n```py\nx = 2\n```"
    with draw_process._DRAWING._slots.take("other"):
        html = render(text)
    assert ("<strong>them</strong>" in html, "tok-" in html) == (True, False)


def test_languages_that_people_write_are_coloured_and_others_are_not():
    for name in _LANGUAGES:
        assert get_lexer_by_name(name)
    for language in ("py", "C++", "sh", "{.python}", "ts"):
        assert lexer_name(language) is not None
    for language in ("trac-wiki", "nemerle", "", "text", "../etc"):
        assert lexer_name(language) is None
    assert "tok-" not in render("```nemerle\nclass A {}\n```")


def test_drawing_elsewhere_comes_to_the_same():
    text = ANSWER * 20
    assert len(text) > MAX_HERE
    assert draw_process.draw_elsewhere("ann", text) == draw_blocks(text)


@pytest.mark.parametrize(
    "blocks",
    [
        b"cos\nabort\n(tR.",
        b'[[0, "<p>a</p>"]]',
        b'[[0, "<p>a</p>", [], 1]]',
        b'[["0", "<p>a</p>", []]]',
        b'[[0, "<script>a</script>", []]]',
        b"[[0, \"<p onclick='a'>a</p>\", []]]",
        b'[[0, "<a href=\\"javascript:a\\">a</a>", []]]',
        b'[[0, "<img src=x>", []]]',
        b'[[0, "<svg", []]]',
        b'[[0, "<code-1>", [["py", "a"]]]]',
    ],
)
def test_the_process_that_draws_says_nothing_that_acts_on_a_page(blocks):
    assert read_blocks(b'[[0, "<p>a &lt;b&gt;</p><code-0>", [["py", "a"]]]]')
    with pytest.raises(UnreadableAnswer):
        read_blocks(blocks)


@pytest.mark.parametrize(
    "html",
    ["<b>a &lt; b</b>", "a &lt; c", "<span class='tok-k' onclick='x'>a</span> &lt; b", "a < b"],
)
def test_coloured_code_is_the_code_with_colours(html):
    coloured = '<span class="tok-n">a</span> &lt; b'
    assert read_coloured(json.dumps(coloured).encode(), "a < b") == coloured
    with pytest.raises(UnreadableAnswer):
        read_coloured(json.dumps(html).encode(), "a < b")


def test_each_owners_texts_are_drawn_in_a_process_of_their_own():
    def process_of(owner):
        draw_process.colour_elsewhere(owner, "python", "x = 1\n")
        return draw_process._DRAWING._processes[owner].id

    first = [process_of(owner) for owner in ("a", "b", "c", "d")]
    assert len(set(first)) == draw_process.MOST
    assert [process_of(owner) for owner in ("a", "c", "d")] == [first[0], *first[2:]]
    process_of("e")  # in the place of the one that was used longest ago
    assert list(draw_process._DRAWING._processes) == ["a", "c", "d", "e"]


def test_a_process_that_draws_nonsense_is_ended_and_the_text_stands_as_written(monkeypatch):
    text = "**bold** " * MAX_HERE
    before = draw_process.draw_elsewhere("ann", text)
    process = draw_process._DRAWING._processes["ann"]
    monkeypatch.setattr(process, "line", lambda seconds: b'[[0, "<script>", []]]\n')
    with pytest.raises(draw_process.GivenUpError):
        draw_process.draw_elsewhere("ann", text)
    assert not process.alive
    assert draw_process.draw_elsewhere("ann", text) == before


BOLD = [
    # Chinese, Japanese, Korean, Thai: no spaces around what is emphasised.
    ("**注意：**请先保存。", ["注意："]),
    # Quotes, dots and signs of any writing beside it, then Latin letters or digits.
    ("**“重点”**3 个，**“次要”**2 个", ["“重点”", "“次要”"]),
    ("他说**“你好……”**OK", ["“你好……”"]),
    ("**等等——**abc，**价格：¥**100", ["等等——", "价格：¥"]),
    ("请**注意：**先保存，**再退出。**谢谢", ["注意：", "再退出。"]),
    ("这是**“引用”**的内容", ["“引用”"]),
    ("**「強調」**です。**（注）**も", ["「強調」", "（注）"]),
    ("**마크다운(Markdown)**은 **가볍다.**라고", ["마크다운(Markdown)", "가볍다."]),
    ('ใช้**"คำสั่ง"**นี้', ['"คำสั่ง"']),
    ("__重要。__ 看", ["重要。"]),
    ("**葛󠄀(城)**市", ["葛󠄀(城)"]),
    ("用**`git`**命令", ["git"]),
    # As CommonMark has it.
    ("a**b(c)**d", []),
    ("**Note:** now, **then.** So", ["Note:", "then."]),
    ("😀**a.**b", []),
    ("5 ** 3 ** 2", []),
]


@pytest.mark.parametrize(("text", "bold"), BOLD)
def test_bold_words_are_those_between_the_asterisks_in_any_writing(text, bold):
    html = render(text)
    assert [Reader(each).text for each in re.findall("<strong>(.*?)</strong>", html)] == bold


@pytest.mark.parametrize(
    "text", ["**注意：**请先保存。", "`代码`**：**好", "~~删除。~~好", "*强调，*好"]
)
def test_no_sign_of_an_emphasis_is_left_in_writing_without_spaces(text):
    assert not re.search(r"[*~]", render(text))


def test_what_is_longer_than_any_answer_is_shown_as_it_is():
    html = render("<b>*x*</b>" * MAX_RENDERED)
    assert html.startswith('<div class="as-written">&lt;b&gt;*x*')
    assert [tag for tag, _ in Reader(html).tags] == ["div"]
