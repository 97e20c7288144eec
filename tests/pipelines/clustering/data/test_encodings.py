from __future__ import annotations

import pytest

from pipelines.clustering.data.encodings import find_encoding
from pipelines.clustering.data.tables import look
from pipelines.core.errors import BadRequest

WRITTEN = {
    "cp1252": ["Name;Größe;Gewicht\nJörg;1,83;80,5\n", "Größe;x\n1;2\n", "année,prix\nété,5\n",
               "niño;años\nPeña;5\n", "MÜLLER;GRÖSSE\n1;2\n", "São Paulo;5\n", "°C;µm\n1;2\n"],
    "cp1250": ["město;počet\nPlzeň;5\n", "miasto;wartość\nŁódź;5\nGdańsk;3\n",
               "županija,visina\nŠibenik,5\n", "imię;wzrost\nZażółć;5\n"],
    "cp1251": ["город,x\nМосква,1\nПермь,2\n", "имя;рост\nИван;5\n", "год,цена\n1,2\n",
               "місто,населення\nКиїв,5\nЛьвів,6\n", "град,население\nСофия,5\n"],
    "koi8_r": ["город,x\nМосква,1\nПермь,2\n"],
    "cp1253": ["πόλη,x\nΑθήνα,5\n", "έτος,x\n1,2\n", "Όνομα;Ηλικία\nΓιώργος;5\nΜαρία;6\n",
               "ΠΟΛΗ;ΤΙΜΗ\nΑΘΗΝΑ;1\n", "προϊόν,τιμή\nψωμί,5\nγάλα,6\n"],
    "cp1254": ["şehir,sayı\nİzmir,5\nEskişehir,7\n", "bölge,sıcaklık\ngüney,30\n",
               "ad;yaş\nAyşe;5\nMehmet;6\n", "ŞEHİR,NÜFUS\nDİYARBAKIR,5\n"],
    "cp1255": ["עיר,אוכלוסייה\nירושלים,5\nתל אביב,6\n", "שם;גיל\nדוד;5\nשרה;6\n",
               "מוצר,מחיר\nלחם,5\nחלב,6\nביצים,12\n", "שנה,x\n1,2\n"],
    "cp1256": ["مدينة,x\nالقاهرة,5\n", "الاسم;العمر\nمحمد;5\nفاطمة;6\n"],
    "cp1257": ["miestas,gyventojų\nKaunas,5\nŠiauliai,6\n", "vārds;vecums\nJānis;5\nĢirts;6\n"],
    "cp1258": ["phươ\u0300ng,sô\u0301 dân\nĐô\u0301ng Đa,5\n", "tên,tuô\u0309i\nNguyê\u0303n,5\n"],
    "gb18030": ["品种,长度\n甲,1\n乙,2\n",
                "城市,人口,面积\n北京,2189,16410\n", "长度,宽\n1,2\n", "姓名,年龄\n张伟,18\n",
                "a,b\n是,1\n否,2\n"],
    "big5": ["城市,人口\n臺北,5\n", "名稱,數值\n甲,1\n乙,2\n"],
    "shift_jis": ["都市,人口\n東京,5\n大阪,6\n", "カナ,x\nアイウ,2\n"],
    "euc_jp": ["都市,人口\n東京,5\n大阪,6\n"],
    "cp949": ["도시,인구\n서울,5\n부산,6\n"],
    "mac_roman": ["Größe;x\nJörg;2\n"],
    "cp850": ["Größe;Stück\nJörg;2\n", "prénom;âge\nZoé;3\nFrançois;5\n"],
    "cp866": ["имя;рост\nИван;170\nПётр;180\n"],
    "cp874": ["ปี,x\n1,2\n", "ชื่อ;อายุ\nสมชาย;5\n", "สินค้า,ราคา\nข้าว,5\n",
              "ชื่อ,ส่วนสูง\nสมชาย,170\nสมหญิง,160\n", "จังหวัด,ประชากร\nเชียงใหม่,5\n"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "text"), [(name, text) for name, texts in WRITTEN.items() for text in texts]
)
def test_an_encoding_is_found_from_a_few_words_and_doubted(tmp_path, encoding, text):
    path = tmp_path / "upload"
    path.write_bytes(text.encode(encoding))
    found = find_encoding(path)
    assert found.name == encoding
    word = next(word for word in text.replace(";", ",").split(",") if not word.isascii())
    assert word.split()[0] in str(found.doubt)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_an_encoding_that_the_bytes_say_is_not_doubted(tmp_path, encoding):
    path = tmp_path / "upload"
    path.write_bytes(("Größe;x\n" + "1;2\n" * 99).encode(encoding))
    found = find_encoding(path)
    assert (found.name, found.doubt, found.others) == (encoding, None, ())


def test_bytes_of_no_encoding_after_a_megabyte_are_looked_at_too(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(b"name,x\n" + b"abc,1\n" * 200_000 + "Größe,2\n".encode("cp1252"))
    found = find_encoding(path)
    assert found.name == "cp1252"
    assert "Größe" in str(found.doubt)


def test_blanks_between_thousands_are_no_letters_of_dos(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes("a.b;x\n-335\xa0662\xa0464,86;1\n-1\xa0401,70;-1,49\n".encode("cp1252"))
    assert [column.kind for column in look(path).columns] == ["number", "number"]


def test_japanese_in_seven_bits_is_seen_by_its_escapes(tmp_path):
    path = tmp_path / "upload"
    path.write_bytes("名前,身長\n田中,170.5\n鈴木,165\n".encode("iso2022_jp"))
    table = look(path)
    assert table.names == ("名前", "身長")
    assert table.preview[1] == ("鈴木", "165")


def test_a_line_of_another_encoding_or_a_cut_end_leaves_a_file_in_utf_8(tmp_path):
    path = tmp_path / "x.csv"
    lines = "".join(f"Köln {number},{number}\n" for number in range(30))
    for data in (f"name,x\n{lines}".encode() + "Köln,7\n".encode("latin-1"),
                 "name,x\nMünchen,1\nMü".encode()[:-1]):  # fmt: skip
        path.write_bytes(data)
        found = find_encoding(path)
        assert (found.name, found.errors) == ("utf-8", "replace")
        assert "\ufffd" in str(found.doubt)
        assert look(path).columns[0].name == "name"
    path.write_bytes("Größe,x\nklein,1\n".encode("cp1252"))
    assert find_encoding(path).errors == "strict"


def test_a_zero_byte_makes_no_utf_16(tmp_path):
    path = tmp_path / "x.csv"
    for data in (b"a,b\n1,\x002\n", b"a,b\n1,\x0023\n"):
        path.write_bytes(data)
        with pytest.raises(BadRequest, match="neither text nor"):
            find_encoding(path)
    path.write_bytes("a,b\n1,2\n".encode("utf-16-le"))
    assert find_encoding(path).name == "utf-16-le"
