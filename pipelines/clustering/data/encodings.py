"""The encoding of a text file, found from its bytes.

Where a mark or UTF-8 itself does not say it, each candidate is tried and judged by what it makes of
the bytes: letters that its languages use often, words of one script, capitals only at the start. A
table has few words, and statistics of running text say little of them.
"""

from __future__ import annotations

import codecs
import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import Literal, get_args

from pipelines.core.errors import BadRequest, Stopped
from pipelines.core.messages import Message

Encoding = Literal[
    "utf-8",
    "utf-16",
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp1258",
    "cp874",
    "koi8_r",
    "mac_roman",
    "cp850",
    "cp866",
    "gb18030",
    "big5",
    "shift_jis",
    "euc_jp",
    "iso2022_jp",
    "cp949",
]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
TITLES: dict[str, str] = {
    "utf-8": "Unicode (UTF-8)",
    "utf-16": "Unicode (UTF-16)",
    "cp1252": "Western European (Windows-1252)",
    "cp1250": "Central European (Windows-1250)",
    "cp1251": "Cyrillic (Windows-1251)",
    "cp1253": "Greek (Windows-1253)",
    "cp1254": "Turkish (Windows-1254)",
    "cp1255": "Hebrew (Windows-1255)",
    "cp1256": "Arabic (Windows-1256)",
    "cp1257": "Baltic (Windows-1257)",
    "cp1258": "Vietnamese (Windows-1258)",
    "cp874": "Thai (Windows-874)",
    "koi8_r": "Cyrillic (KOI8-R)",
    "mac_roman": "Western European (Mac)",
    "cp850": "Western European (DOS 850)",
    "cp866": "Cyrillic (DOS 866)",
    "gb18030": "Simplified Chinese (GB 18030)",
    "big5": "Traditional Chinese (Big5)",
    "shift_jis": "Japanese (Shift JIS)",
    "euc_jp": "Japanese (EUC-JP)",
    "iso2022_jp": "Japanese (ISO-2022-JP)",
    "cp949": "Korean (Windows-949)",
}
SAMPLE_BYTES = 1 << 20

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHINESE = (
    "的一是不了在人有我他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家"
    "十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从名称城市区县省号类别"
    "度量长宽高重价格数值组平均温湿面积人口北京上海广州深圳东西南江河湖"
)
_TRADITIONAL = (
    "的一是不了在人有我他這為之大來以個中上們到說國和地也子時道出而要於就下得可你年生自會那後能對著事其裡所去行過家"
    "十用發天如然作方成者多日都三小無同經當起與好看學進種將還分此心前面定見主沒公從名稱城市區縣省號類別度量長寬高重"
    "價格數值組平均溫濕面積人口臺北高雄新竹南東西"
)
_KOREAN = (
    "이다는에가을의하고지로서한기사시도인리자대어그나수은해것정일부동제구전보주성여라들상스조장과구공원비소아유미무경선생"
    "계국내신연물방양세용우위실치간관교금년월명면번호이름값수량합계평균서울산광역"
)
_JAPANESE = (
    "のにはをたがでてとしれさいるあらもこかまなっりきうくよけそやみせめお日一国人年大十二本中長出三時行見月分後前生"
    "五間上東四今金九入学高円子外八六下来気小七山話女北午百書先名川千水半男西電校語土木聞食車何南万毎白天母火右"
    "読友左休父雨数量値番号都市県区京阪アイウエオカキクケコサシスセソタチツテトナニハヒフマミメモラリルレロンー"
)
# A script that words in a candidate are of; and what its languages use often. Where a blank parts
# them, they are alphabets of one language each, of which a text is in one. Letters of Cyrillic,
# Greek, Hebrew and Arabic come in the order of how often they are used.
_CANDIDATES: tuple[tuple[Encoding, str, str], ...] = (
    ("cp1252", "LATIN", "äöüßÄÖÜéèêëàâçîïôûùñáíóúãõåæøÅÆØÉÀÇÑ€°²³µ–’“”„«»ºª·"),
    ("gb18030", "CJK", _CHINESE),
    ("cp1251", "CYRILLIC", "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфОЕАИНТСРВЛКМДПУГЗБЧЖШЦЭФ№«»"),
    # Before Central European, whose Romanian ţ is Turkish ş.
    ("cp1254", "LATIN", "çğıöşüÇĞİÖŞÜâîû€°"),
    (
        "cp1250",
        "LATIN",
        "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ€°– áäčďéěíĺľňóôŕřšťúůýžÁÄČĎÉĚÍĹĽŇÓÔŔŘŠŤÚŮÝŽ€°– áéíóöőúüűÁÉÍÓÖŐÚÜŰ€°– "
        "ăâîşţĂÂÎŞŢ€°– čćđšžČĆĐŠŽ€°– äöüßÄÖÜ€°–",
    ),
    ("cp1253", "GREEK", "αοιετσνηυρπκμλωςθγδάίόέήβχφύώξζψΑΟΙΕΤΣΝΗΥΡΠΚΜΛΩΘΓΔ"),
    ("big5", "CJK", _TRADITIONAL),
    ("shift_jis", "CJK", _JAPANESE),
    ("cp949", "HANGUL", _KOREAN),
    ("cp1255", "HEBREW", "יוהלאמתרבשנדקחעפצגכטםןסז"),
    ("cp1256", "ARABIC", "اليمنتربعدهوسحكفقجشصطةأخضىئءذزثغظ"),
    ("cp1257", "LATIN", "āčēģīķļņšūžĀČĒĢĪĶĻŅŠŪŽ€ ąčęėįšųūžĄČĘĖĮŠŲŪŽ€ äöõüšžÄÖÕÜŠŽ€"),
    ("cp1258", "LATIN", "ăâđêôơưĂÂĐÊÔƠƯàáèéìíòóùúýÀÁÈÉÌÍÒÓÙÚÝ\u0300\u0301\u0303\u0309\u0323"),
    ("koi8_r", "CYRILLIC", "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфОЕАИНТСРВЛКМДПУГЗБЧЖШЦЭФ"),
    ("euc_jp", "CJK", _JAPANESE),
    ("mac_roman", "LATIN", "äöüßÄÖÜéèêëàâçîïôûùñáíóúãõåæøÅÆØÉÀÇÑ€°µ–’“”„"),
    ("cp874", "THAI", "กขคงจชซญณดตถทธนบปผพฟภมยรลวศษสหอฮะาำเแโใไัิีึืุูั็่้์"),
    ("cp850", "LATIN", "äöüßÄÖÜéèêëàâçîïôûùñáíóúãõåæøÅÆØÉÀÇÑ°²³µ«»"),
    ("cp866", "CYRILLIC", "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфОЕАИНТСРВЛКМДПУГЗБЧЖШЦЭФ№"),
)
_ESCAPES = (b"\x1b$B", b"\x1b$@", b"\x1b(J")  # of ISO-2022-JP, all of whose bytes are ASCII
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")
_OFTEN, _COMMON, _LETTER, _SIGN, _STRANGE = 1.5, 0.9, 0.6, 0.0, -1.0
# A letter between digits is a blank of thousands in another encoding.
_BETWEEN = re.compile(r"(?<=\d)[^\W\d_](?=\d)")
_AMID_DIGITS = 4.0
_RANKED = ("CYRILLIC", "GREEK", "HEBREW", "ARABIC")
_RARE = 0.5  # by so much the rarest letter of an alphabet speaks less for it than the commonest
_MISPLACED = 1.5  # is taken for a letter where no word has it
_EASY = 0.3  # taken from where nearly every byte beyond ASCII is a letter, which says less
_NEAR = 0.35  # scores this near leave a doubt


@dataclass(frozen=True, slots=True)
class FoundEncoding:
    """The encoding of a file.

    Attributes:
        name: Python's name.
        doubt: what speaks against being sure, or None.
        others: encodings that its bytes may be in as well, likely ones first.
        errors: what Python does with bytes that are none of it: ``strict`` or ``replace``.
    """

    name: str
    doubt: Message | None = None
    others: tuple[Encoding, ...] = ()
    errors: Literal["strict", "replace"] = "strict"


def find_encoding(path: Path, stop: threading.Event | None = None) -> FoundEncoding:
    """Looks at all bytes of a file for UTF-8, and at the first megabyte for other encodings.

    Raises:
        BadRequest: it is not text.
        Stopped: ``stop`` was set.
    """
    with path.open("rb") as file:
        start = file.read(SAMPLE_BYTES)
    for mark, name in _BOMS:
        if start.startswith(mark):
            return FoundEncoding(name)
    even, odd = (start[side:4096:2].count(0) for side in (0, 1))
    # Of line ends, digits and Latin letters in UTF-16 every other byte is 0.
    most, least = max(even, odd), min(even, odd)
    if most > 20 * least and most > 0.03 * min(2048, len(start) / 2):
        name = "utf-16-be" if even > odd else "utf-16-le"
        if _can_be(name, start):
            return FoundEncoding(name)
    if even + odd or 0 in start:
        raise BadRequest(
            "This file is neither text nor Parquet nor NPY. Save the table as CSV and send that."
        )
    if any(escape in start for escape in _ESCAPES):
        return FoundEncoding("iso2022_jp")
    if _is_utf8(path, stop):
        return FoundEncoding("utf-8")
    guessed = _guess(path, start, stop)
    return _nearly_utf8(start, guessed) or guessed


def _nearly_utf8(start: bytes, guessed: FoundEncoding) -> FoundEncoding | None:
    """UTF-8 for a file that is cut within its last letter, or has a line of another encoding among
    many; None where it is rather in another one."""
    text = start.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(not each.isascii() for each in text) - bad
    is_cut = bad == 1 and text.endswith("\ufffd") and len(start) < SAMPLE_BYTES
    if not good or (good < 20 * bad and not is_cut):
        return None
    words = (word for word in re.split(r"[\s;,]+", text) if "\ufffd" in word)
    return FoundEncoding(
        "utf-8",
        Message(
            "The file is in UTF-8 but for a few bytes, which are shown as in {word}. Save it "
            "in one encoding if these words matter.",
            word=repr(next(words, "…\ufffd")[:30]),
        ),
        tuple(dict.fromkeys((guessed.name, *guessed.others)))[:3],
        "replace",
    )


def _can_be(name: str, start: bytes) -> bool:
    """Whether the beginning of a file can be text in an encoding."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(start, len(start) < SAMPLE_BYTES)
    except UnicodeDecodeError:
        return False
    return b"\n" not in start or "\n" in text or "\r" in text


def _is_utf8(path: Path, stop: threading.Event | None) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in _blocks(path, stop):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _blocks(path: Path, stop: threading.Event | None):
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            if stop is not None and stop.is_set():
                raise Stopped
            yield block


def _guess(path: Path, start: bytes, stop: threading.Event | None) -> FoundEncoding:
    lines = [line for line in start.splitlines() if not line.isascii()][:400]
    if not lines:  # they come later: look there
        lines = _later_lines(path, stop)
    text = b"\n".join(line[:2000] for line in lines)
    scores: dict[Encoding, float] = {}
    for name, script, often in _CANDIDATES:
        try:
            decoded = text.decode(name)
            scores[name] = max(_score(decoded, script, each) for each in often.split(" "))
        except UnicodeDecodeError:
            continue
    if not scores:  # each forbids one of the bytes
        return FoundEncoding("cp1252", _doubt("cp1252", text), ("mac_roman",))
    best = max(scores, key=scores.__getitem__)
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    others = [each for each in ranked if each != best and scores[each] > scores[best] - 2 * _NEAR]
    return FoundEncoding(best, _doubt(best, text), tuple(others[:3]))


def _later_lines(path: Path, stop: threading.Event | None) -> list[bytes]:
    for block in _blocks(path, stop):
        if lines := [line for line in block.splitlines() if not line.isascii()]:
            return lines[:400]
    return []


def _doubt(name: str, text: bytes) -> Message:
    words = [
        word
        for word in text.decode(name, "replace").replace(";", " ").replace(",", " ").split()
        if not word.isascii()
    ]
    return Message(
        "The bytes do not say their encoding; as {title} the first words are {words}. Choose "
        "another if these are not right.",
        title=TITLES[name],
        words=", ".join(repr(word.strip("\"'")[:30]) for word in dict.fromkeys(words[:3])) or "–",
    )


def _score(text: str, script: str, letters: str) -> float:
    """How likely letters and words are, a mean over the characters beyond ASCII.

    Args:
        letters: those that are used often.
    """
    total, count = 0.0, 0
    often = _weights(letters, script in _RANKED)
    for is_letter, group in groupby(text, str.isalpha):
        word = "".join(group)
        beyond = [each for each in word if not each.isascii()]
        if not beyond:
            continue
        count += len(beyond)
        if not is_letter:
            total += sum(often.get(each) or _of_sign(each) for each in beyond)
            continue
        total += sum(_of_letter(each, script, often) for each in beyond)
        total += _of_word(word, beyond, script)
        total -= _MISPLACED * _count_misplaced(word, script)
    total -= _AMID_DIGITS * sum(not each.isascii() for each in _BETWEEN.findall(text))
    return total / max(1, count) - _EASY * (script == "THAI")


def _of_sign(character: str) -> float:
    category = unicodedata.category(character)
    return _STRANGE if category.startswith("C") else _SIGN - 0.5 * category.startswith("S")


@cache
def _weights(letters: str, is_ranked: bool) -> dict[str, float]:
    """Letter → how much it speaks for an encoding."""
    if not is_ranked:
        return dict.fromkeys(letters, _OFTEN)
    order = list(dict.fromkeys(letters.lower()))
    return {each: _OFTEN - _RARE * order.index(each.lower()) / len(order) for each in letters}


def _count_misplaced(word: str, script: str) -> int:
    """How many letters stand where no word has them: a test of eight-bit alphabets, in which all
    bytes are letters of some kind."""
    if script == "HEBREW":  # final forms
        return sum(each in "םןץףך" for each in word[:-1])
    if script == "GREEK":
        return sum(each == "ς" for each in word[:-1]) + (len(word) > 1 and word[-1] == "σ")
    if script == "CYRILLIC":
        return word[0].lower() in "ъьы"
    return 0


def _of_letter(letter: str, script: str, often: dict[str, float]) -> float:
    if letter in often:
        return often[letter]
    name = unicodedata.name(letter, "")
    if script == "CJK":
        if not name.startswith(_CJK):
            return _STRANGE
        # What the older standard GB 2312 or Big5 has among its first, common half.
        return _COMMON if _is_common(letter) else -0.3
    if script == "THAI":  # its rare letters are what Korean and Chinese bytes look like
        return _STRANGE
    return _LETTER if name.startswith(script) else _STRANGE


def _is_common(letter: str) -> bool:
    for encoding, least, most in (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6)):
        try:
            if least <= letter.encode(encoding)[0] <= most:
                return True
        except UnicodeEncodeError:
            continue
    return False


def _of_word(word: str, beyond: list[str], script: str) -> float:
    """What the word as a whole takes away: mixed scripts, accents only, capitals amid it."""
    lost = 0.0
    if script == "LATIN":
        if len(word) == len(beyond) > 1:  # of accents only
            lost -= 1.5 * len(beyond)
        elif len(beyond) > 0.7 * len(word) > 2:
            lost -= 1.0 * len(beyond)
    elif len(beyond) < len(word):
        lost -= 2.0 * len(beyond)
    capitals = sum(before.islower() and after.isupper() for before, after in pairwise(word))
    return lost - 1.5 * capitals
