"""Rules on the text of the tree: sizes, paths, hosts, unsafe readers."""

from __future__ import annotations

import ast
import re

import pytest
from source import ROOT, files, imports, modules

LONGEST = 400  # lines; about 150 is the aim
CODE = ("*.py", "*.pyi", "*.cpp", "*.hpp", "*.h")
# A path of somebody's machine, or the host of a package index: neither belongs into the tree.
PRIVATE = re.compile(
    r"(?<![\w.])/(?:home|root|Users|work|mnt)/\w|//(?:pypi|files\.pythonhosted|download\.pytorch)\."
)


def test_files_are_short():
    long = {path: count for path in files(*CODE) if (count := len(path.read_text().splitlines())) > LONGEST}
    assert not long, "\n".join(f"{path.relative_to(ROOT)}: {count} lines" for path, count in long.items())


def test_no_machine_paths_or_registry_hosts():
    wrong = []
    for path in files(*CODE, "*.md", "*.toml", "*.txt", "*.json", "*.cmake", "Makefile", "run"):
        if path == ROOT / "tests" / "rules" / "test_tree.py":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if PRIVATE.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text", ["see /home/ann/x", "/root/data", "https://pypi.org/simple"])
def test_the_pattern_finds_what_it_should(text):
    assert PRIVATE.search(text)


@pytest.mark.parametrize("text", ["src/work/x", "a /tmp file", "models/home/x", "1/work"])
def test_the_pattern_leaves_the_rest(text):
    assert not PRIVATE.search(text)


def test_nothing_unpickles():
    banned = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
    found = [
        f"{path.name}:{line}: {name}"
        for path in modules()
        for line, name in imports(path)
        if name.split(".")[0] in banned and name != "pickle.UnpicklingError"  # an exception to catch
    ]
    assert not found, "\n".join(found)


def test_readers_that_could_unpickle_are_told_not_to():
    wrong = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            match ast.unparse(node.func):
                case "np.load" | "numpy.load" if keywords.get("allow_pickle") != "False":
                    wrong.append(f"{path.name}:{node.lineno}: np.load needs allow_pickle=False")
                case "torch.load" if keywords.get("weights_only") != "True":
                    wrong.append(f"{path.name}:{node.lineno}: torch.load needs weights_only=True")
    assert not wrong, "\n".join(wrong)


def test_the_library_does_not_print_or_read_the_environment():
    """Only the command line and the demo talk; behaviour never depends on environment variables."""
    wrong = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                wrong.append(f"{path.name}:{node.lineno}: print")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv"):
                wrong.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


def test_names_of_test_modules_differ():
    """pytest imports them by their bare names."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
