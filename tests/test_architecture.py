"""The shape of the repository: imports run one way, outside libraries stay behind one module, files stay short."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "structmfg"
GROUND = [
    "_version",
    "_text",
    "_import",
    "_flags",
    "_checks",
    "_memory",
    "_results",
    "_files",
    "_npz",
    "_pages",
    "_statistics",
]
ROOMS = ["operators", "linear", "games", "parallel", "policies", "economies", "evaluation", "solvers"]
ROOMS += ["verification", "reports", "runs", "benchmarks", "cli"]
LAYERS = GROUND + ROOMS
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))


def layer_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def tree_of(file):
    """The syntax tree of a file."""
    return ast.parse(file.read_text())


@functools.cache
def imported(file):
    """The dotted names of the modules, and of the names in them, that a file imports, with whether for types only."""
    tree, found = tree_of(file), []
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(name, id(node) in typing_only) for name in names]
    return found


def users(library):
    """The files that import a library, as paths inside the package, but for those that need it for types only."""
    return {
        str(file.relative_to(PACKAGE))
        for file in FILES
        for name, typing_only in imported(file)
        if f"{name}.".startswith(f"{library}.") and not typing_only
    }


def module_of(file):
    """The dotted name of a file; of a folder's `__init__.py`, its face, that of the folder."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def own_imports(file):
    """The modules of this package that a file imports, with the name it takes from each (None for the module)."""
    for name, _ in imported(file):
        if name in MODULES:
            yield name, None
        elif name.split(".")[0] == "structmfg":
            yield tuple(name.rsplit(".", 1))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_downward(file):
    """From the command line down to the operators, also those within functions and for types only."""
    layer = layer_of(file)
    allowed = {*LAYERS[: LAYERS.index(layer) + 1], "__version__"} if layer in LAYERS else {*LAYERS}
    for name, _ in imported(file):
        if layer in LAYERS and name.split(".")[0] == "structmfg":
            assert [*name.split("."), ""][1] in allowed, f"{layer} must not import {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_what_is_private_stays_in_its_folder(file):
    """A module `_x` is imported within its folder and the folders below it; a name `_x` only within its module."""
    for module, name in own_imports(file):
        folder = MODULES[module].parent
        if module.rsplit(".", 1)[-1].startswith("_"):
            assert folder in file.parents, f"import it from the face of {folder.name}: {module}"
        assert name is None or not name.startswith("_") or name == "__version__", f"{module}.{name} is private"


def test_no_circles():
    """No module imports itself by way of others, not even within a function or for types only."""
    below = {module: {other for other, _ in own_imports(file)} - {module} for module, file in MODULES.items()}
    graphlib.TopologicalSorter(below).prepare()  # which names a circle where there is one


def test_every_folder_is_a_room():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("folder", sorted({file.parent for file in [*FILES, *TESTS]}), ids=lambda path: path.name)
def test_folders_are_not_crowded(folder):
    assert len(list(folder.glob("*.py"))) <= 16


def test_haiku_stays_behind_one_module():
    assert users("haiku") == {"policies/_functions.py"}


def test_jax_sparse_stays_behind_one_module():
    assert users("jax.experimental.sparse") == {"operators/_sparse.py"}


def test_dask_stays_behind_one_module():
    assert users("distributed") == {"parallel/_executor.py"}


def test_oracles_share_no_code_with_what_they_judge():
    """NumPy and the standard library, and each other."""
    oracles = sorted((PACKAGE / "verification" / "oracles").glob("*.py"))
    assert len(oracles) > 1
    for file in oracles:
        for name, _ in imported(file):
            own = name.startswith("structmfg.verification.oracles.")
            assert own or name.split(".")[0] in {"numpy", *sys.stdlib_module_names}, f"{file} must not import {name}"


@pytest.mark.parametrize("library", ["pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"])
def test_no_pickle(library):
    assert users(library) == set()
    assert not any("allow_pickle=True" in file.read_text() for file in FILES)


# Calls that run what they are given, or hand it to a shell; `np.load` and `loadtxt` judge nothing before they allocate.
RUNNING = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "np.load", "numpy.load", "np.loadtxt"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_data_is_run(file):
    """Nor handed to a shell, nor unpacked; the one way to numpy's reader says `allow_pickle=False`."""
    for call in (node for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)):
        name, arguments = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert name not in RUNNING, f"{file}:{call.lineno}: {name}"
        assert not name.endswith((".extract", ".extractall", ".unpack_archive")), f"{file}:{call.lineno}: {name}"
        assert arguments.get("shell") != "True", f"{file}:{call.lineno}: a shell"
        if name.endswith((".read_array", ".write_array")):
            assert arguments.get("allow_pickle") == "False", f"{file}:{call.lineno}: {name}"


def test_files_are_short():
    lengths = {str(file): len(file.read_text().splitlines()) for file in [*FILES, *TESTS]}
    assert {file: length for file, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize("name", ["benchmarks", "operators", "solvers", "verification"])
def test_links_at_the_root(name):
    if not (ROOT / ".git").exists():
        pytest.skip("an sdist has no links")
    link = ROOT / name
    assert link.is_symlink()
    assert link.readlink() == Path("structmfg") / name


def test_what_draws_and_searches_is_imported_by_need():
    """`structmfg games` draws and trains nothing; `structmfg.verification` is there when asked for."""
    code = "import sys, structmfg.cli; structmfg.cli.main(['games', '--quiet'])"
    code += "; print([x for x in ('matplotlib', 'jinja2', 'hypothesis', 'optax') if x in sys.modules])"
    code += "; print(structmfg.verification.verify.__name__, 'hypothesis' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "verify False"]
