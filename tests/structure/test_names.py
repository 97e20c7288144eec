"""What docstrings and comments refer to exists."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from tests.structure.sources import (
    PRODUCT,
    ROOT,
    docstrings_of,
    imported_module,
    module_name,
    product_modules,
    python_files,
    source_of,
    statements_of,
    tracked_files,
    tree_of,
)

WORD = re.compile(r"[A-Za-z_]\w*")
REFERENCE = re.compile(r"(:\w+:)?(`{1,2})~?([^`]+)\2")
FILE = re.compile(r"(?<![/\w])(?:pipelines|studio|tests|presets|assets|benchmarks)/[\w./-]+\.\w+\b")
THIS = "tests/structure/test_names.py"
TEXTS = (".py", ".js", ".css", ".yaml", ".toml", ".md", "Makefile")

# Names of other people's programs that docstrings speak of and no code here does.
FOREIGN = {
    "CoreMetadata",  # InvokeAI
    "ControlNetUnit.serialize",  # sd-webui-controlnet
    "FileMetaData",  # Parquet
    "create_infotext",  # stable-diffusion-webui, as the next
    "parse_generation_parameters",
    "tokenize_line",
    "euclidean_rdist",  # scikit-learn, as the next
    "traverse_upwards",
    "adapter_conditioning_factor",  # diffusers, as the next
    "lora_state_dict",
    "nai_meta.py",
    "sd_hijack_clip.py",
    "train_util.py",
}
# What looks like a module or a file and is meant to be none.
INVENTED = {
    "pipelines/x.py",
    "studio.lock",
}


@cache
def words_of_code() -> set[str]:
    """All words of the repository's code, strings and data, docstrings and comments left out."""
    words: set[str] = set()
    for file in python_files():
        if file == THIS:
            continue
        lines = source_of(file).splitlines()
        for node in docstrings_of(file):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        words.update(WORD.findall("\n".join(line.partition("  #")[0] for line in lines)))
    for file in tracked_files():
        if file.endswith((".js", ".css", ".yaml", ".toml", ".txt", "Makefile")):
            words.update(WORD.findall(source_of(file)))
    return words


@cache
def names_in(module: str) -> set[str]:
    """What a module of the product's defines or imports at its top, with the members of classes."""
    names: set[str] = set()
    for node in ast.walk(tree_of(product_modules()[module])):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((each.asname or each.name).partition(".")[0] for each in node.names)
    return names


def is_defined(name: str) -> bool:
    """Whether a dotted name that begins with one of the product's packages is defined."""
    module = imported_module(name)
    if module is None:
        return False
    rest = name.removeprefix(module).strip(".")
    return not rest or all(part in names_in(module) for part in rest.split("."))


def package_of(file: str) -> str:
    return file.rpartition("/")[0].replace("/", ".")


def is_known(name: str, file: str, sure: bool) -> bool:
    """Whether a name in a docstring of ``file`` stands for something.

    Args:
        sure: whether it is a name, however it is written.
    """
    if name.startswith("."):  # relative to the file's package, or the ending of a file's name
        return is_defined(f"{package_of(file)}{name}") or name[1:] in words_of_code()
    top = name.partition(".")[0]
    if top in PRODUCT and "." in name:
        return is_defined(name)
    looks_like_one = re.search(r"_|\.|^[A-Z]\w*[a-z]\w*[A-Z]", name)
    if not sure and not looks_like_one:
        return True
    if all(part in words_of_code() for part in name.split(".") if part):
        return True
    return "." in name and not (ROOT / top).exists() and importlib.util.find_spec(top) is not None


def references(file: str) -> Iterator[tuple[str, bool, int]]:
    """The names that a file's docstrings refer to, whether they are surely names, and lines."""
    for node in docstrings_of(file):
        for match in REFERENCE.finditer(node.value):
            role, name = match.group(1), match.group(3)
            called = name.endswith("()")
            name = name.removesuffix("()")
            if role or re.fullmatch(r"\.?[A-Za-z_][\w.]*", name):
                yield name, bool(role) or called, node.lineno


def test_names_in_docstrings_exist():
    missing = {
        (f"{file}:{line}", name)
        for file in python_files()
        for name, sure, line in references(file)
        if name not in FOREIGN and not is_known(name, file, sure)
    }
    assert sorted(missing) == []


def test_names_of_others_are_spoken_of():
    spoken_of = {name for file in python_files() for name, _, _ in references(file)}
    assert sorted(FOREIGN - spoken_of) == []
    assert sorted(FOREIGN & words_of_code()) == []


def names_in_string(text: str) -> Iterator[str]:
    """The names of the product's that a string is, or that a program in it imports."""
    packages = "|".join(PRODUCT)
    if re.fullmatch(rf"(?:{packages})(?:\.\w{{3,}})+", text):
        yield text
    for module, names in re.findall(rf"from ((?:{packages})[\w.]*) import ([\w, ]+)", text):
        yield from (f"{module}.{name.strip().partition(' ')[0]}" for name in names.split(","))
    yield from re.findall(rf"^\s*import ((?:{packages})[\w.]+)", text, re.MULTILINE)


def test_dotted_names_in_strings_are_defined():
    """Patches of tests, ``-m`` of child processes, engines' modules, programs: all are strings."""
    missing = {
        (f"{file}:{node.lineno}", name)
        for file in python_files()
        if not file.startswith("tests/structure/")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in names_in_string(node.value)
        if name not in INVENTED and not is_defined(name)
    }
    assert sorted(missing) == []


def test_imported_names_are_defined():
    """What a file imports of the product's modules is there, without running any of them."""
    missing = {
        (f"{file}:{node.lineno}", f"{node.module}.{alias.name}")
        for file in python_files()
        for node in statements_of(file)
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in PRODUCT
        for alias in node.names
        if not is_defined(f"{node.module}.{alias.name}")
    }
    assert sorted(missing) == []


@cache
def classes_of_product() -> dict[str, list[tuple[str, ast.ClassDef, set[str], list]]]:
    """The classes of each name: files, nodes, what they define or set, and ``self._…`` in them."""
    classes = defaultdict(list)
    for file in product_modules().values():
        for node in statements_of(file):
            if not isinstance(node, ast.ClassDef):
                continue
            members: set[str] = set()
            private: list[ast.Attribute] = []
            for each in ast.walk(node):
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                    members.add(each.name)
                elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                    members.add(each.id)
                elif isinstance(each, ast.Attribute):
                    if isinstance(each.ctx, ast.Store):
                        members.add(each.attr)
                    elif re.match("_[^_]", each.attr) and ast.unparse(each.value) == "self":
                        private.append(each)
            classes[node.name].append((file, node, members, private))
    return classes


def members_of(name: str) -> set[str] | None:
    """What the product's classes of a name and their bases define or set; None: a base is foreign.

    Classes that are called alike are taken together.
    """
    members: set[str] = set()
    names, done = [name], {"ABC", "Exception", "Protocol", "object"}
    while names:
        if (each := names.pop()) in done:
            continue
        done.add(each)
        if each not in classes_of_product():
            return None
        for _, node, own, _ in classes_of_product()[each]:
            members |= own
            bases = (ast.unparse(base).partition("[")[0] for base in node.bases)
            names += [base.rpartition(".")[2] for base in bases]
    return members


def test_private_members_that_a_class_asks_itself_for_exist():
    """A rename that forgets a call is seen, be it on a path that few tests go."""
    missing = {
        (f"{file}:{each.lineno}", f"{name}.{each.attr}")
        for name, classes in classes_of_product().items()
        if (members := members_of(name)) is not None
        for file, _, _, private in classes
        for each in private
        if each.attr not in members
    }
    assert sorted(missing) == []


def names_at_top(file: str) -> set[str]:
    """What a file defines or imports outside of functions and classes."""
    names = {
        each.id
        for node in statements_of(file)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for each in ast.walk(node)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }
    for node in statements_of(file):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((each.asname or each.name).partition(".")[0] for each in node.names)
    return names


def test_what_tests_import_of_one_another_is_defined():
    modules = {module_name(file): file for file in python_files("tests")}
    missing = {
        (f"{file}:{node.lineno}", f"{node.module}.{alias.name}")
        for file in modules.values()
        for node in statements_of(file)
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "tests"
        for alias in node.names
        if f"{node.module}.{alias.name}" not in modules
        and (node.module not in modules or alias.name not in names_at_top(modules[node.module]))
    }
    assert sorted(missing) == []


def test_files_that_are_spoken_of_exist():
    missing = {
        (file, name)
        for file in tracked_files()
        if file.endswith(TEXTS)
        for name in FILE.findall(source_of(file))
        if name not in INVENTED and not (ROOT / name).exists()
    }
    assert sorted(missing) == []
