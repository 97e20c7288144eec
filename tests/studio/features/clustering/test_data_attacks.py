"""Files and requests that mean harm, or have gone wrong on their way."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import resource
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from pipelines.clustering import running
from pipelines.clustering.data.csv_dialect import Reading
from pipelines.clustering.data.tables import Table
from pipelines.clustering.wire import FilePath
from pipelines.clustering.worker_pool import MemoryExceeded
from pipelines.core.errors import BadRequest, OutOfMemory, UserError
from studio.api import access
from studio.core.services import Options, Studio
from studio.features.clustering.data import reading
from studio.features.clustering.plot import points
from tests.patience import PATIENCE, PROMPTLY, wait_until
from tests.pipelines.clustering.data.lying_parquet import (
    BYTES,
    DELTA_BYTES,
    DELTA_LENGTHS,
    PLAIN,
    TEXT,
    Lie,
    encode_repeats,
    varint,
    zeros,
    zigzag,
)
from tests.studio.live import build_api, live_studio, sentence

TABLES, DATA = "/api/v1/cluster-tables", "/api/v1/cluster-data"


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Iterator[tuple[Studio, str]]:
    options = Options(tmp_path_factory.mktemp("attacked"), device="cpu", offline=True)
    with live_studio(options, build_api) as running:
        yield running


@pytest.fixture(scope="module")
def client(studio) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=studio[1], timeout=PATIENCE) as client:
        yield client


class Harm:
    """What a pickle would run."""

    def __reduce__(self):
        return (time.sleep, (100,))


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def parquet(**columns) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


def forge_npy(shape: str) -> bytes:
    """An NPY file whose header says more than there is."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 64


FILES = {
    "nothing": (b"", "empty"),
    "white space": (b"\n \n", "empty"),
    "names alone": (b"a,b\n", "no rows below"),
    "a parquet without rows": (parquet(a=[]), "no rows"),
    "an npy without rows": (npy(np.zeros((0, 3))), "no rows"),
    "10,000 columns": (b",".join([b"1"] * 10_000) + b"\n", "10,000 columns; at most 1,000"),
    "an npy of 10,000 columns": (npy(np.zeros((2, 10_000))), "10,000 columns; at most 1,000"),
    "a broken parquet": (b"PAR1" + b"\x07" * 500 + b"PAR1", "damaged or cut off"),
    "half a parquet": (parquet(a=range(1000))[:2000], "damaged or cut off"),
    "a bomb of zeros": (npz(X=np.zeros(10_000_000)), "archive"),
    "a gzip": (b"\x1f\x8b\x08\0" + b"\0" * 50, "compressed"),
    "an npy of pickles": (npy(np.array([Harm()], dtype=object)), "Python objects"),
    "a pickle": (pickle.dumps([1.0, 2.0]), "neither text nor"),
    "an npy that claims 8 TB": (forge_npy("(1000000000000, 1)"), "damaged or cut off"),
    "an npy of negative length": (forge_npy("(-1, 2)"), ""),
    "an npy whose header claims 4 GB": (b"\x93NUMPY\x02\0" + b"\xff" * 4 + b"{" * 99, "damaged"),
    "a parquet whose page claims 2 GB": (
        Lie(zeros(1_000_000), 2_000_000_000).octets(),
        "takes more memory than there is for it, or is damaged",
    ),
    "an npy whose header is code": (forge_npy("__import__('time').sleep(100)"), "damaged"),
    "an npy of five axes": (npy(np.zeros((1,) * 5)), "axes"),
    "an npy of texts": (npy(np.array(["a", "b"])), "array of numbers"),
    "a quotation mark": (b'a,b\n1,"2\n3,4\n', "never closed"),
    "one long line": (b"1" * 2_000_000, "first line is longer"),
    "a program": (b"\x7fELF" + bytes(range(256)) * 20, "neither text nor"),
    "wider below": (b"a,b\n1,2\n1,2,3\n", "Line 3 has 3 fields"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_table_is_refused_with_a_sentence(studio, client, kind):
    content, said = FILES[kind]
    before = time.monotonic()
    answer = client.post(TABLES, content=content)
    assert answer.status_code == (507 if "memory" in said else 422), answer.text
    assert said in sentence(answer)
    assert time.monotonic() - before < PROMPTLY
    assert list((studio[0].home / "cache").glob("tmp*")) == []
    assert client.get(TABLES).json() == {"tables": []}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_encodings_are_found(client, encoding):
    content = "höhe,名称\n1.5,红\n2.5,蓝\n".encode(encoding)
    if encoding == "gb18030":
        content = "高度,名称\n1.5,红\n2.5,蓝\n".encode(encoding)
    answer = client.post(TABLES, content=content)
    assert answer.status_code == 201, answer.text
    assert [each["name"] for each in answer.json()["columns"]][1] == "名称"
    assert client.delete(f"{TABLES}/{answer.json()['id']}").status_code == 204


def test_of_a_wrong_delimiter_the_sentence_names_the_right_one(client):
    answer = client.post(TABLES, content=b"a;b\n1;2\n", params={"delimiter": "|"})
    assert answer.status_code == 422
    assert "separated by ';'" in sentence(answer)
    answer = client.post(TABLES, content=b"a;b\n1;2\n", params={"delimiter": "ab"})
    assert answer.status_code == 422
    assert "'ab'" in sentence(answer) or "ab" in sentence(answer)


def test_a_file_beyond_the_limit_is_refused_by_its_length_and_while_it_comes(
    studio, client, monkeypatch
):
    monkeypatch.setattr(access.Uploads, "of", lambda self, path: 2_000_000)
    kept = [0]

    def stream():
        for _ in range(200):
            for path in (studio[0].home / "cache").glob("tmp*"):
                with contextlib.suppress(FileNotFoundError):
                    kept.append(path.stat().st_size)
            yield b"1,2,3,4\n" * 12_500

    answer = client.post(TABLES, content=b"1\n" * 1_500_000)
    assert answer.status_code == 413
    assert "at most 2.0 MB" in sentence(answer)
    with contextlib.suppress(httpx.TransportError):  # the studio has hung up, as it may
        assert client.post(TABLES, content=stream()).status_code == 413
    assert max(kept) <= 2_000_000  # of 20 MB that were sent
    assert list((studio[0].home / "cache").glob("tmp*")) == []


def test_the_limit_is_300_mb_for_tables_and_small_for_what_describes_data(studio):
    address = studio[1].removeprefix("http://").split(":")
    for path, length, status in (
        (TABLES, 500_000_000, b"413"),
        (DATA, 2_000_000, b"413"),
        (f"{TABLES}/x/reading", 2_000_000, b"413"),
    ):
        with socket.create_connection((address[0], int(address[1])), timeout=PATIENCE) as line:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
            line.sendall(head.encode())
            assert line.recv(100).split()[1] == status


def test_an_upload_that_breaks_off_leaves_nothing(studio, client):
    address = studio[1].removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=PATIENCE) as line:
        head = f"POST {TABLES} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n1,2\n"
        line.sendall(head.encode())
        cache = studio[0].home / "cache"
        wait_until(lambda: list(cache.glob("tmp*")))
    wait_until(lambda: not list(cache.glob("tmp*")))
    assert client.get(TABLES).json() == {"tables": []}


def test_texts_without_letters_and_formulas_are_only_texts(client):
    content = b'a,=cmd|x\n1,"=HYPERLINK(""http://x"")"\n2,<script>\n'
    answer = client.post(TABLES, content=content, params={"name": "<img src=x>.csv\r\nX: y"})
    assert answer.status_code == 201, answer.text
    table = answer.json()
    assert table["name"] == "<img src=x>.csvX: y"
    assert table["preview"][0] == ["1", '=HYPERLINK("http://x")']
    assert client.delete(f"{TABLES}/{table['id']}").status_code == 204


def test_many_categories_and_endless_columns_are_refused(client):
    rows = "\n".join(f"{i % 60},{i}" for i in range(180))
    table = client.post(TABLES, content=f"a,b\n{rows}\n".encode()).json()
    picking = {"columns": ["a"], "as_categories": ["a"], "max_levels": 20}
    source = {"kind": "table", "table": table["id"], "picking": picking}
    answer = client.post(DATA, json=source)
    assert answer.status_code == 422
    assert "more than 20 categories" in sentence(answer)
    source["picking"]["max_levels"] = 10**9
    assert client.post(DATA, json=source).status_code == 422
    source["picking"] = {"columns": ["a"] * 2000}
    assert client.post(DATA, json=source).status_code == 422
    source["picking"] = {"columns": ["\ud800"]}
    body = b'{"kind": "table", "table": "%s", "picking": {"columns": ["\\ud800"]}}'
    answer = client.post(DATA, content=body % table["id"].encode())
    assert answer.status_code == 422
    assert sentence(answer)


@pytest.mark.parametrize(
    "query", ["dims=4", "dims=0", "dims=x", "projection=tsne", "scaling=log", "projection=%00"]
)
def test_a_plot_that_there_is_not_is_refused(client, query):
    known = client.post(DATA, json={"kind": "made", "name": "iris"}).json()
    answer = client.get(f"{DATA}/{known['id']}/points?{query}")
    assert answer.status_code == 422
    assert sentence(answer)


def test_without_umap_learn_a_sentence_says_what_is_missing(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr(points, "compute", lambda owner, work, X, asked, *_: work(X=X, **asked))
    known = client.post(DATA, json={"kind": "made", "name": "iris"}).json()
    answer = client.get(f"{DATA}/{known['id']}/points?projection=umap")
    assert answer.status_code == 503
    assert "umap-learn" in sentence(answer)


def test_values_at_the_ends_of_what_a_float_can_be_are_plotted(client):
    content = b"a,b\n1e149,1e-300\n-1e149,3e-300\n0,2e-300\n"
    table = client.post(TABLES, content=content).json()
    source = {"kind": "table", "table": table["id"], "picking": {"columns": ["a", "b"]}}
    known = client.post(DATA, json=source).json()
    for scaling in ("none", "standard", "minmax", "robust"):
        body = client.get(f"{DATA}/{known['id']}/points?scaling={scaling}").content
        length = int.from_bytes(body[:4], "little")
        header = json.loads(body[4 : 4 + length])
        places = np.frombuffer(body, "<f4", 6, 4 + length).reshape(3, 2)
        assert np.isfinite(places).all()
        spread = np.ptp(places * header["unit"], axis=0)
        assert (spread > 0).all()
        if scaling == "none":
            assert np.allclose(spread, [2e149, 2e-300], rtol=1e-6, atol=0)


class Hungry:
    """Stands for a table that takes all memory amid being read."""

    @contextlib.contextmanager
    def lend(self, *_):
        raise MemoryExceeded
        yield


def test_a_table_that_takes_too_much_memory_ends_its_own_process_only(client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(running, "POOL", Hungry())
        answer = client.post(TABLES, content=b"a,b\n1,2\n")
        assert answer.status_code == 507
        assert sentence(answer).startswith("The table takes more memory than there is for it, or")
    assert client.post(TABLES, content=b"a,b\n1,2\n").status_code == 201


def test_a_table_that_takes_too_long_is_given_up_and_its_process_ended(client, monkeypatch):
    monkeypatch.setattr(reading, "LIMIT_SECONDS", -1.0)
    monkeypatch.setattr(reading, "_look", endless)
    answer = client.post(TABLES, content=b"a,b\n1,2\n")
    assert answer.status_code == 503
    assert "and was ended" in sentence(answer)


def endless(path: FilePath, reading: Reading) -> Table:
    while True:
        time.sleep(0.1)


# --- Parquet files that lie about what they hold, or are broken ---------------------------------

DAMAGED = "The Parquet file is damaged or cut off. Send the whole file."
MEMORY = "The table takes more memory than there is for it, or is damaged. Send the whole file"
ROWS = "The table has more than 1,000,000 rows"


@pytest.fixture(scope="module")
def see() -> Iterator[Callable[[Path], Table]]:
    """Reads a table in a process that may take 200 MB: what takes more has soon taken it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "LEAST_ALLOWED", 200_000_000)
        yield lambda path: reading.look_apart("ada", path, Reading())
    running.POOL.end()


def texts(page: bytes, encoding: int, rows: int = 10) -> Lie:
    packed = zlib.compress(page, wbits=31)
    about = {"physical": BYTES, "logical": TEXT, "encoding": encoding}
    return Lie(packed, len(page), rows=rows, page_rows=rows, claimed=len(page), **about)


# Each of 2,000 texts is the first one's million letters: two gigabytes.
PREFIXES = encode_repeats(0, 10**6, 2000) + encode_repeats(10**6, 0, 2000) + b"x" * 10**6
# Of 2³⁰ lengths, in blocks of so many: they would take four gigabytes.
LENGTHS = varint(2**30) + varint(1) + varint(2**30) + zigzag(0) + (zigzag(0) + b"\0") * 3

LIES = {
    "a page that claims 2 GB": (Lie(zeros(2_000_000), 2_000_000_000), OutOfMemory, MEMORY),
    "five pages that claim 0.9 GB": (
        *(Lie(zeros(1_000), 900_000_000, columns=5), OutOfMemory, MEMORY),
    ),
    "a page of negative length": (Lie(zeros(1_000), -5), BadRequest, DAMAGED),
    "a page that unfolds into more": (Lie(zeros(1_000), 100), BadRequest, DAMAGED),
    "10¹² rows": (Lie(zeros(1_000), 1_000, rows=10**12), BadRequest, ROWS),
    "a page of 10⁹ rows": (
        *(Lie(zeros(1_000), 1_000, page_rows=10**9, rows=10**6), BadRequest, DAMAGED),
    ),
    "lengths without end": (texts(LENGTHS, DELTA_LENGTHS), OutOfMemory, MEMORY),
    "texts of one beginning": (texts(PREFIXES, DELTA_BYTES, 2000), OutOfMemory, MEMORY),
    "no texts at all": (texts(bytes(99), DELTA_BYTES), BadRequest, DAMAGED),
}


@pytest.mark.parametrize("kind", LIES)
def test_a_parquet_that_lies_is_refused_and_takes_no_memory_of_the_studio(see, tmp_path, kind):
    lie, error, said = LIES[kind]
    (tmp_path / "table").write_bytes(lie.octets())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error) as refusal:
        see(tmp_path / "table")
    assert str(refusal.value).startswith(said)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_parquet_description_of_nothing_is_refused(see, tmp_path):
    size = 9_000_000
    end = size.to_bytes(4, "little") + b"PAR1"
    (tmp_path / "table").write_bytes(b"PAR1" + bytes(size) + end)
    with pytest.raises(BadRequest) as refusal:
        see(tmp_path / "table")
    assert str(refusal.value) == DAMAGED


def test_a_parquet_made_by_hand_is_read_where_it_does_not_lie(see, tmp_path):
    page = encode_repeats(0, 10, 50) + encode_repeats(10, 0, 50) + b"0123456789"
    (tmp_path / "table").write_bytes(texts(page, DELTA_BYTES, 50).octets())
    table = see(tmp_path / "table")
    assert (table.rows, table.preview[-1]) == (50, ("0123456789",))


@pytest.mark.parametrize("encoding", [PLAIN, DELTA_BYTES])
def test_parquet_texts_that_are_not_utf_8_are_damaged(see, tmp_path, encoding):
    page = encode_repeats(0, 4, 10) + encode_repeats(4, 0, 10) if encoding else b""
    word = b"\xaa\xff\xfe!"
    page += word if encoding else (len(word).to_bytes(4, "little") + word) * 10
    (tmp_path / "table").write_bytes(texts(page, encoding).octets())
    with pytest.raises(BadRequest) as refusal:
        see(tmp_path / "table")
    assert str(refusal.value) == DAMAGED


def test_bytes_of_a_parquet_that_were_changed_lead_to_a_sentence_or_to_other_values(see, tmp_path):
    columns = {"a": np.arange(300.0), "b": ["x", "y", "z"] * 100}
    pq.write_table(pa.table(columns), tmp_path / "table", compression="snappy")
    whole = (tmp_path / "table").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(16):
        changed = bytearray(whole)
        for place in random.integers(4, len(whole) - 4, 3):
            changed[place] = random.integers(256)
        (tmp_path / "table").write_bytes(changed)
        try:
            see(tmp_path / "table")
        except UserError as error:
            refused += str(error) == DAMAGED
    assert refused > 2
