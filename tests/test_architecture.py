"""What the source may look like: read, not run, so that a rule holds for code no test reaches."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from types import ModuleType

import pytest
from house import LONGEST, MOST_BRANCHES, branches, functions
from waiting import HANG

import alseg

ROOT = Path(alseg.__file__).parent
DESIGN = ROOT.parent / "docs" / "design.md"

# Data flows down this list, imports point up: a module may import from the lines above its own.
# Modules on one line, and those of one package, may import one another, without a cycle.
FLOORS = """
_version _lazy _types
labels threads
validation progress
interfaces
rows calling
files
images
metrics
datasets
network
training
query
derived
segmenter
pseudo
strategies
oracles
learner
experiment
report
comparison
project
annotate
cli __main__
testing
""".strip().splitlines()
FLOOR = {name: level for level, line in enumerate(FLOORS) for name in line.split()}

# Slow to import, or absent beside some builds of torch: only inside the function that needs them.
IMPORT_LATE = {"monai", "skimage", "matplotlib", "pandas", "tifffile", "modAL", "torchvision"}
IMPORT_LATE |= {"uvicorn", "kornia", "timm", "segmentation_models_pytorch", "transformers"}
NEVER = {"torchvision", "pickle", "dill", "albumentations", "random"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(), str(path)) for name, path in SOURCES.items()}
MODULES = sorted(name for name in SOURCES if name)  # without the package itself


def over(names):
    """One test of a rule, which tells of each of them that breaks it.

    A test for each module would be three thousand, most of whose time is not the rule's.
    """

    def decorate(rule):
        def test():
            broken = []
            for name in names:
                try:
                    rule(name)
                except AssertionError as error:
                    broken.append(str(error))
            assert not broken, "\n".join(broken)

        test.__name__, test.__doc__ = rule.__name__, rule.__doc__
        return test

    return decorate


every_module = over(MODULES)


@functools.cache  # some ten questions walk the tree of each module
def nodes(name):
    return tuple(ast.walk(TREES[name]))


@functools.cache
def imports(name):
    """Every (imported dotted name, line, inside a function) of a module, wherever it stands."""
    return tuple(_imports(SOURCES[name], name))


def _imports(path, name):
    late = {
        id(node)
        for function in nodes(name)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    package = ("alseg." + name).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in nodes(name):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in late
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno, id(node) in late


def own_imports(name):
    """Modules of alseg that a module imports, as keys of SOURCES."""
    for imported, line, _ in imports(name):
        if imported.split(".")[0] != "alseg":
            continue
        parts = imported.split(".")[1:]
        while parts and ".".join(parts) not in SOURCES:
            parts = parts[:-1]  # the last part is a function or a class
        yield ".".join(parts), line


# -- size, and what a package keeps to itself --

# At the root, beside packages: what everybody uses.
ALONE = {"labels", "validation", "progress", "threads", "rows", "calling"}
ALONE |= {"interfaces", "derived"}


def test_no_file_is_too_long():
    lengths = {name: len(path.read_text().splitlines()) for name, path in SOURCES.items()}
    assert not {name: n for name, n in lengths.items() if n > LONGEST}


def test_no_class_is_too_large():
    classes = {
        f"{name}.{node.name}": node.end_lineno - node.lineno + 1
        for name in TREES
        for node in nodes(name)
        if isinstance(node, ast.ClassDef)
    }
    assert not {name: n for name, n in classes.items() if n > LONGEST}


def test_no_function_has_too_many_branches():
    found = {
        f"{module}.{name}"
        for module, tree in TREES.items()
        for name, node in functions(tree)
        if branches(node) > MOST_BRANCHES
    }
    assert not found


def test_few_modules_stand_at_the_root():
    alone = {path.stem for path in ROOT.glob("*.py") if not path.stem.startswith("_")}
    assert alone <= ALONE


def test_no_module_is_called_as_another():
    where = defaultdict(set)
    for name in MODULES:
        where[name.split(".")[-1].lstrip("_")].add(name)
    assert not {name: places for name, places in where.items() if len(places) > 1}


@every_module
def test_outsiders_import_a_package_and_not_its_modules(name):
    """What a package offers stands in its `__init__`; how it is divided is its own business."""
    own = name.split(".")[0]
    for imported, line, _ in imports(name):
        parts = imported.split(".")
        if parts[0] != "alseg" or parts[1] == own or parts[1].startswith("_"):
            continue
        assert not any(part.startswith("_") for part in parts), f"{name}:{line}: {imported}"
        package = ".".join(parts[1:-1])
        if not package:  # `from alseg import calling`
            continue
        assert SOURCES[package].name == "__init__.py" or "." not in package, (
            f"{name}:{line} imports {imported}: take it from alseg.{parts[1]}"
        )
        thing = getattr(importlib.import_module(f"alseg.{package}"), parts[-1])
        inside = isinstance(thing, ModuleType) and not hasattr(thing, "__path__")
        assert not inside, f"{name}:{line} imports the module {imported}"


def private_uses():
    """Names with an underscore that one package defines and another one uses."""
    defined, used = defaultdict(set), []
    for module in TREES:
        own = module.split(".")[0]
        for node in nodes(module):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined[node.name].add(own)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined[node.id].add(own)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                defined[node.attr].add(own)
            elif isinstance(node, ast.Attribute):
                used.append((own, node.attr, ast.unparse(node)))
            elif isinstance(node, ast.Call) and dotted(node.func) in ("getattr", "hasattr"):
                named = node.args[1]
                used.append((own, getattr(named, "value", ""), ast.unparse(named)))
    for own, name, text in used:
        private = str(name).startswith("_") and not name.startswith("__")
        if private and own not in defined[name] and defined[name] - {"cli"}:
            yield f"{own}: {text}"


def test_no_private_name_is_used_across_packages():
    foreign = {"network: t._version", "network: m._parameters"}  # torch's, which alseg has too
    assert not set(private_uses()) - foreign


def dotted(node):
    """`np.random.seed` of such an expression, else an empty string."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *parts[::-1]]) if isinstance(node, ast.Name) else ""


@every_module
def test_every_module_has_its_floor(name):
    assert name.split(".")[0] in FLOOR, f"say in FLOORS where {name} stands"


def floors_table():
    """The floors as docs/design.md shows them, each package by the first sentence of its own."""
    rows = ["| | what it is |", "|---|---|"]
    for line in FLOORS:
        for name in line.split():
            if not name.startswith("_"):
                text = " ".join(ast.get_docstring(TREES[name]).split("\n\n")[0].split())
                folder = "/" if SOURCES[name].name == "__init__.py" else ""
                rows.append(f"| `{name}{folder}` | {text.replace('``', '`')} |")
    return "\n".join(rows)


def test_the_design_page_shows_the_floors():
    page = DESIGN.read_text(encoding="utf-8")
    shown = re.search(r"<!-- floors.*?-->\n(.*?)\n<!-- end of floors", page, re.S).group(1)
    assert shown == floors_table(), "run python tests/house.py --floors"


@every_module
def test_imports_point_upward(name):
    own = name.split(".")[0]
    for imported, line in own_imports(name):
        if imported == "" or imported.split(".")[0] == own:
            continue
        assert FLOOR[imported.split(".")[0]] <= FLOOR[own], f"{name}:{line} imports {imported}"


@every_module
def test_no_module_imports_the_package_as_a_whole(name):
    # `from alseg import Learner` inside alseg is a cycle through the list of public names
    assert not [f"{name}:{line}" for imported, line in own_imports(name) if imported == ""]


def test_no_import_cycle():
    graph = {name: {to for to, _ in own_imports(name)} - {name, ""} for name in MODULES}
    for name in MODULES:  # an imported part of a package runs the package's own file first
        for to in list(graph[name]):
            parents = [p for p in MODULES if to.startswith(p + ".") and not name.startswith(p)]
            graph[name].update(parents)
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for to in sorted(graph[name]):
            visit(to)
        path.pop()
        done.add(name)

    for name in MODULES:
        visit(name)
    assert done == set(MODULES)


@over(sorted(SOURCES))
def test_heavy_libraries_are_imported_where_they_are_used(name):
    for imported, line, late in imports(name):
        top = imported.split(".")[0]
        # the contract checks look at the standard library's state to see that nobody moved it
        never = NEVER - {"random"} if name.startswith("testing") else NEVER
        if name == "training.augmentation_hooks":
            never = never - {"torchvision"}  # of the user's transform, which has imported it
        assert top not in never, f"{name or 'alseg'}:{line} imports {imported}"
        assert late or top not in IMPORT_LATE, f"{name or 'alseg'}:{line} imports {imported} early"
        assert not imported.endswith(".*"), f"{name or 'alseg'}:{line} is a star import"


@every_module
def test_no_global_random_state(name):
    """Neither read nor moved: numpy's, torch's, the standard library's (not imported at all)."""
    allowed = {"default_rng", "Generator", "RandomState", "SeedSequence", "BitGenerator", "PCG64"}
    if name.startswith("testing"):
        allowed.add("get_state")  # to see that nobody moved it
    torch_state = {
        "torch.manual_seed",
        "torch.seed",
        "torch.random.manual_seed",
        "torch.cuda.manual_seed",
        "torch.cuda.manual_seed_all",
        "torch.set_rng_state",
        "torch.random.set_rng_state",
    }
    borrowed = {
        id(node)
        for block in nodes(name)
        if isinstance(block, ast.With) and any("fork_rng" in ast.dump(i) for i in block.items)
        for node in ast.walk(block)
    }
    for node in nodes(name):
        called = dotted(node) if isinstance(node, ast.Attribute) else ""
        if re.match(r"(np|numpy)\.random\.\w+$", called):
            assert called.rsplit(".", 1)[1] in allowed, f"{name}:{node.lineno} uses {called}"
        # A seed inside fork_rng is given back when the block ends.
        if called in torch_state:
            assert id(node) in borrowed, f"{name}:{node.lineno} uses {called} outside fork_rng"
    for imported, line, _ in imports(name):
        assert not imported.startswith("numpy.random."), f"{name}:{line} imports {imported}"


@every_module
def test_no_trap_in_the_code(name):
    """No assert for checks, no bare except, no mutable default, no loading that runs code."""
    for node in nodes(name):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: assert goes with python -O"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where}: bare except"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                mutable = isinstance(default, (ast.List, ast.Dict, ast.Set, ast.Call))
                assert not mutable, f"{where}: mutable default"
        if isinstance(node, ast.Call):
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if dotted(node.func) == "torch.load":
                assert keywords.get("weights_only") == "True", f"{where}: may run what it loads"
            if dotted(node.func) in {"np.load", "numpy.load"}:
                assert keywords.get("allow_pickle", "False") == "False", where
            assert dotted(node.func) != "joblib.load", f"{where}: may run what it loads"


# What changes files goes through `files`. The exceptions, each with its reason.
WRITES_ELSEWHERE = {
    "testing.own_estimators: tempfile.TemporaryDirectory()": "for an estimator's own save",
    "experiment.machine: open('/proc/self/clear_refs', 'w')": "asks Linux to count memory anew",
    "cli.main: os.open(os.devnull, os.O_WRONLY)": "nobody reads our output any more",
}
_OS = {
    "replace",
    "rename",
    "renames",
    "remove",
    "unlink",
    "rmdir",
    "removedirs",
    "mkdir",
    "makedirs",
    "link",
    "symlink",
    "truncate",
    "ftruncate",
    "open",
    "chmod",
    "utime",
}
_PATH = {
    "write_text",
    "write_bytes",
    "unlink",
    "rmdir",
    "mkdir",
    "rename",
    "touch",
    "symlink_to",
    "hardlink_to",
    "chmod",
}
_LIBRARY = {
    "save",
    "savez",
    "savez_compressed",
    "savetxt",
    "savefig",
    "save_file",
    "to_csv",
    "tofile",
    "dump",
    "imsave",
    "imwrite",
    "urlretrieve",
    "download_url_to_file",
    "load_state_dict_from_url",
}
# To a temporary file of `files.replacing`, or to memory; or an object's own `save`, which is ours.
_SAFE_TARGETS = {"temporary", "buffer", "text"}
_OWN_SAVE = {
    "estimator.save",
    "member.save",
    "learner.estimator.save",
    "self.learner.estimator.save",
    "loop.save",
    "learner.save",
    "model.save",
    "save",
}


def writes(name):
    """Calls of a module that change files by another way than `files`."""
    for node in nodes(name):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        last = node.func.attr if isinstance(node.func, ast.Attribute) else called
        owner = called.rpartition(".")[0]
        arguments = [*node.args, *(k.value for k in node.keywords)]
        names = {n.id for a in arguments for n in ast.walk(a) if isinstance(n, ast.Name)}
        modes = [
            a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        opens = last == "open" and any(
            re.fullmatch(r"[rwxabt+]*[wxa+][rwxabt+]*", mode) for mode in modes
        )
        found = (
            opens
            or (owner == "os" and last in _OS)
            or (owner == "shutil" and last != "get_terminal_size")
            or owner == "tempfile"
            or (isinstance(node.func, ast.Attribute) and last in _PATH)
            or (last in _LIBRARY and not names & _SAFE_TARGETS and called not in _OWN_SAVE)
        )
        if found:
            yield f"{name}: {ast.unparse(node)}", node.lineno


@over([name for name in MODULES if name.split(".")[0] != "files"])
def test_all_writing_goes_through_one_module(name):
    for call, line in writes(name):
        assert call in WRITES_ELSEWHERE, f"{name}:{line} writes beside alseg.files: {call}"


def test_the_exceptions_are_there():
    there = {call for name in MODULES for call, _ in writes(name)}
    assert set(WRITES_ELSEWHERE) <= there


@over(sorted(set(SOURCES) - {"_version"}))
def test_every_module_says_what_it_is(name):
    text = ast.get_docstring(TREES[name])
    assert text, f"{name or 'alseg'} has no docstring"
    first = text.splitlines()[0]
    assert first.endswith((".", "?")) and len(first) <= 100, f"{name or 'alseg'}: {first!r}"


def public_definitions(name):
    """(qualified name, node) of the public functions, classes and methods of a module."""
    if any(part.startswith("_") for part in name.split(".")):
        return
    for node in TREES[name].body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        yield f"{node.name}.{method.name}", method


@every_module
def test_public_names_are_documented(name):
    for qualified, node in public_definitions(name):
        if ast.get_docstring(node):
            continue
        thing = importlib.import_module(f"alseg.{name}")
        for part in qualified.split("."):
            thing = getattr(thing, part)
        # an overridden method may leave the word to the one that it overrides
        assert inspect.getdoc(thing), f"alseg.{name}.{qualified} has no docstring"


@every_module
def test_documented_parameters_are_the_real_ones(name):
    """Where a docstring lists parameters it names each one that there is."""
    for qualified, node in public_definitions(name):
        doc = ast.get_docstring(node) or ""
        section = re.search(r"\nParameters\n-+\n(.*?)(?=\n\n?\w[\w ]*\n-{3,}\n|\Z)", doc, re.S)
        if isinstance(node, ast.ClassDef):
            inits = [m for m in node.body if getattr(m, "name", "") == "__init__"]
            if not inits:
                continue
            node = inits[0]
        if not section:
            continue
        arguments = [
            a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        ]
        listed = re.findall(r"^\*{0,2}(\w+(?:, \*{0,2}\w+)*)(?= :|$)", section.group(1), re.M)
        listed = {part.strip(" *") for names in listed for part in names.split(",")}
        # two arguments may share an entry, the second named in its text
        listed |= set(re.findall(r"`(\w+)`", section.group(1))) | {"self", "cls"}
        missing = [a for a in arguments if a not in listed]
        assert not missing, f"alseg.{name}.{qualified} does not document {missing}"


def test_editors_are_told_the_public_names():
    told = {
        name.name: node.module
        for block in TREES[""].body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        for name in node.names
    }
    assert told == alseg._PUBLIC


def test_public_names_are_there():
    assert sorted(set(alseg.__all__)) == sorted(alseg.__all__)
    for public in alseg.__all__:
        assert getattr(alseg, public) is not None
    assert not (set(alseg.__all__) - set(dir(alseg)))


@pytest.mark.slow
def test_import_is_cheap():
    """alseg with all its public names: less than 1.5 times `import torch, skorch`, medians of 3.

    The names are asked for because `import alseg` alone loads none of them. Processor time of the
    child: what the clock says depends on what else the machine does.
    """
    statements = {"torch": "import torch, skorch", "alseg": "from alseg import *"}
    seconds = {name: [] for name in statements}
    for repeat in range(4):
        for name, statement in statements.items():
            code = f"{statement}\nimport time\nprint(time.process_time())"
            run = subprocess.run(
                [sys.executable, "-c", code],
                check=True,
                timeout=HANG,
                capture_output=True,
                text=True,
            )
            if repeat:  # the first reads from disk
                seconds[name].append(float(run.stdout))
    assert median(seconds["alseg"]) < 1.5 * median(seconds["torch"]), seconds
