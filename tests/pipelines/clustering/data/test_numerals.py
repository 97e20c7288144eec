from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.clustering.data.numerals import (
    Evidence,
    Form,
    Marks,
    beside_number,
    find_marks,
    form_of,
    number_of,
    numbers_from,
)

DOT, COMMA = Marks("."), Marks(",")


@pytest.mark.parametrize(
    ("cell", "marks", "value"),
    [
        ("1,234,567.5", Marks(".", ","), 1234567.5),
        ("1.234.567,5", Marks(",", "."), 1234567.5),
        ("1\u202f234\u202f567,5", Marks(",", " "), 1234567.5),
        ("1\u00a0234,5", Marks(",", " "), 1234.5),
        ("1’234’567.50", Marks(".", "'"), 1234567.5),
        ("12,34,567", Marks(".", ","), 1234567),
        ("\u200f-١٬٢٣٤٫٥", Marks(".", ","), -1234.5),
        ("۱۲۳٫۵۰۰", DOT, 123.5),
        ("－１２３．５", DOT, -123.5),
        ("१२,३४,५६७", Marks(".", ","), 1234567),
        ("−5,25", COMMA, -5.25),
        ("1,5E+03", COMMA, 1500),
        ("1.5D+03", DOT, 1500),
        ("–5,25", COMMA, -5.25),
        ("2.5e–3", DOT, 0.0025),
        ("+.5", DOT, 0.5),
        ("5.", DOT, 5),
        ("-Inf", DOT, -math.inf),
    ],
)
def test_numbers_of_many_countries(cell, marks, value):
    assert number_of(cell, marks) == value
    assert numbers_from([cell, "x", cell], marks).tolist()[::2] == [value, value]


@pytest.mark.parametrize("cell", [
    "1,2,3", "12,50", "1,2345", ",123", "0,123", "1,234.5.6", "1_000", "1e", "e5", "0x1F", "--5",
    "", "1 2", "12:30", "True", "²", "½", "十二", "1234,567", "1.5%", "12D5", "5–7",
])  # fmt: skip
def test_what_does_not_follow_the_marks_is_no_number_rather_than_another(cell):
    assert math.isnan(number_of(cell, Marks(".", ",")))
    assert np.isnan(numbers_from([cell], Marks(".", ",")))[0]


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("1.250", Form(either=".")),
        ("١٬٢٣٤", Form(thousands=",")),
        ("١٫٢٣٤", Form(decimal=".")),
        ("12,345", Form(either=",")),
        ("0,125", Form(decimal=",")),
        ("1234,567", Form(decimal=",", long=True)),
        ("12,50", Form(decimal=",")),
        ("1.234.567", Form(thousands=".")),
        ("1.234,5", Form(decimal=",", thousands=".")),
        ("1 234", Form(thousands=" ")),
        ("1234", Form(long=True)),
        ("1.2.2020", None),
        ("1,2.3,4", None),
        ("n.d.", None),
    ],
)
def test_what_a_number_says_of_its_marks(cell, form):
    assert form_of(cell) == form


@pytest.mark.parametrize(
    ("cells", "options", "marks"),
    [
        (["12,50", "1.250"], {}, Marks(",", ".")),
        (["12.50", "1,250"], {}, Marks(".", ",")),
        (["12,345", "8,100", "7"], {}, Marks(".", ",")),
        (["12,345", "9,250"], {"semicolons": True}, COMMA),
        (["12,345", "123456"], {}, COMMA),  # as thousands are not parted
        (["1.250"], {}, DOT),
        (["1.250"], {"decimal": ","}, Marks(",", ".")),
        (["1.250"], {"thousands": "."}, Marks(",", ".")),
        (["1.250"], {"decimal": ",", "thousands": "none"}, COMMA),
        (["1 234,5", "12"], {}, Marks(",", " ")),
        (["1'234.50"], {}, Marks(".", "'")),
        (["7", "x"], {}, DOT),
    ],
)
def test_the_marks_are_those_that_most_numbers_follow(cells, options, marks):
    assert find_marks(Evidence.of(cells), **options) == marks


def test_a_cell_of_two_lines_is_no_number_and_moves_no_other():
    found = numbers_from(["1", "2\n3", "4"], DOT)
    assert np.isnan(found).tolist() == [False, True, False]
    assert found[2] == 4


def test_numbers_are_read_to_the_last_bit_in_all_marks():
    values = np.random.default_rng(0).standard_normal(300) * 10.0 ** np.arange(-150, 150)
    written = list(map(repr, values.tolist()))
    assert (numbers_from(written, DOT) == values).all()
    assert (numbers_from([each.replace(".", ",") for each in written], COMMA) == values).all()


@pytest.mark.parametrize(
    ("cell", "beside"),
    [
        ("($1,234.50)", "($ )"),
        ("123-", "-"),
        ("12,5 %", "%"),
        ("1.250,00 €", "€"),
        ("CHF 1'250.00", "CHF"),
        ("R$ 5,00", "R$"),
        ("12 kg", "kg"),
        ("12kg", "kg"),
        ("1.2万", "万"),
        ("5.7cm", "cm"),
        ("25°C", "°C"),
        ("3rd", None),
        ("12a", None),
        ("3D", None),
        ("<0.01", "<"),
        ("−5", None),
        ("A4", None),
        ("Room 12", None),
        ("2020-01-02", None),
        ("12:30", None),
        ("(555) 123", None),
        ("192.168.1.1", None),
    ],
)
def test_what_stands_beside_a_number(cell, beside):
    assert beside_number(cell) == beside
