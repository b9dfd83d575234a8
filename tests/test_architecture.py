"""Who may import whom, and that the house keeps its own rules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("curation", "stages", "classifiers", "training")


def imports(file):
    """(module, inside a function) of every import in a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    lazy = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            yield node.module, node in lazy


def modules(package):
    for file in sorted((ROOT / package).rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), file


def test_the_engine_knows_no_stage():
    for name, file in modules("curation"):
        for module, _ in imports(file):
            assert module.split(".")[0] not in ("stages", "classifiers", "training"), f"{name} imports {module}"


def test_stages_know_of_the_engine_only_its_contract():
    contract = ("stage", "documents", "metrics", "errors", "storage")
    allowed = {"curation", *(f"curation.{module}" for module in contract)}
    for package in ("stages", "classifiers"):
        for name, file in modules(package):
            for module, _ in imports(file):
                if module.split(".")[0] == "curation":
                    assert module in allowed, f"{name} imports {module}"
                assert not (package == "classifiers" and module.split(".")[0] == "stages"), f"{name} imports {module}"


def test_the_loader_needs_no_pipeline():
    """A trainer's machine reads packed rows with numpy and pyarrow; no engine, no stage, and torch only beside it."""
    loader = {f"training.{name}" for name in ("data", "order", "fill", "pack_folder", "torch_dataset")}
    allowed = loader | {"training", "curation.documents", "curation.errors"}
    seen = set()
    for name, file in modules("training"):
        if name in loader:
            seen.add(name)
            for module, _ in imports(file):
                assert module.split(".")[0] not in PACKAGES or module in allowed, f"{name} imports {module}"
                assert module.split(".")[0] != "torch" or name == "training.torch_dataset", f"{name} imports {module}"
    assert seen == loader


def test_no_import_circles():
    graph = {}
    for package in PACKAGES:
        for name, file in modules(package):
            graph[name] = {m for m, lazy in imports(file) if not lazy and m.split(".")[0] in PACKAGES}

    done, path = set(), []

    def visit(name):
        assert name not in path, f"circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for other in graph.get(name, ()):
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is_for(package):
    for name, file in modules(package):
        source = file.read_text(encoding="utf-8")
        if source.strip():
            assert ast.get_docstring(ast.parse(source)), f"{name} has no docstring"


def test_every_stage_has_a_manual_page_and_every_key_a_meaning():
    from curation.registry import catalogue

    assert len(catalogue()) >= 15
    for entry in catalogue().values():
        assert entry.summary, f"{entry.name} has no docstring"
        for key, field in entry.load().model_fields.items():
            assert field.description, f"{entry.name}.{key} has no description"


def test_listing_stages_loads_no_library():
    heavy = [
        "ray",
        "fasttext",
        "trafilatura",
        "datatrove",
        "tokenizers",
        "fastokens",
        "torch",
        "numba",
        "lxml",
        "resiliparse",
        "fastwarc",
    ]
    code = f"import sys; from curation.registry import catalogue\nfor e in catalogue().values(): e.load()\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
