"""The documentation says what there is: every name, every option, links that lead somewhere."""

import argparse
import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest

import alseg
from alseg.cli.parser import make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BRING = DOCS / "bring"
HOOKS = ".pre-commit-config.yaml"
BUILT = ("_build", "auto_examples", "generated")
PAGES = sorted(p for p in DOCS.rglob("*.md") if not set(BUILT) & set(p.relative_to(DOCS).parts))
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
# Their `__all__` is what they offer.
PUBLIC_MODULES = (
    "alseg",
    "alseg.datasets",
    "alseg.interfaces",
    "alseg.metrics",
    "alseg.network",
    "alseg.strategies",
    "alseg.testing",
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
every_example = pytest.mark.parametrize("script", EXAMPLES, ids=lambda p: p.stem)


def read(page):
    return page.read_text(encoding="utf-8")


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", without_fences(text))


def names_in_api():
    """Dotted names that the autosummary tables of the API's pages list."""
    found, module = [], None
    lines = [
        line for page in PAGES if page.parent.name == "api" for line in read(page).splitlines()
    ]
    for line in lines:
        current = re.match(r"\.\. currentmodule:: (\S+)", line)
        module = current.group(1) if current else module
        entry = re.match(r"   ([A-Za-z_]\w*)$", line)
        if entry:
            found.append(f"{module}.{entry.group(1)}")
    return found


# -- names --


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_stands_in_the_api(module):
    listed = set(names_in_api())
    names = [n for n in importlib.import_module(module).__all__ if n != "__version__"]
    assert names
    missing = [f"{module}.{name}" for name in names if f"{module}.{name}" not in listed]
    assert not missing


def test_the_api_lists_nothing_twice_and_nothing_that_is_not_there():
    listed = names_in_api()
    assert len(listed) == len(set(listed)) > 100
    for dotted in listed:
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name), dotted


def test_every_listed_function_and_class_has_a_docstring():
    for dotted in names_in_api():
        module, _, name = dotted.rpartition(".")
        thing = getattr(importlib.import_module(module), name)
        if callable(thing):
            assert (thing.__doc__ or "").strip(), dotted


def names_in_code(text):
    """`alseg.module.name` as the pages write it in backquotes."""
    return set(re.findall(r"`(alseg(?:\.\w+)+)", text))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda p: p.name
)
def test_dotted_names_in_prose_exist(page):
    for dotted in names_in_code(read(page)):
        parts = dotted.split(".")
        if parts[-1] == "__version__":
            continue
        for split in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:split]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[split:]:
            assert hasattr(found, part), dotted
            found = getattr(found, part)


# -- command line --


def subcommands():
    (action,) = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return action.choices


def options(parser):
    return {option for action in parser._actions for option in action.option_strings}


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_every_command_and_its_options_are_documented(name):
    text = read(DOCS / "user" / "command_line.md")
    assert f"### alseg {name}\n" in text
    missing = [o for o in options(subcommands()[name]) - {"-h", "--help"} if f"`{o}" not in text]
    assert not missing


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_every_option_has_help(name):
    for action in subcommands()[name]._actions:
        assert action.help, action.dest


def commands_in(text):
    """The `alseg ...` command lines of the code blocks, as lists of arguments."""
    found = []
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.S | re.M):
        block = block.replace("\\\n", " ")
        for line in block.splitlines():
            line = line.removeprefix("$ ")
            if line.startswith("alseg "):
                found.append(shlex.split(line, comments=True)[1:])
    return found


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda p: p.name)
def test_commands_on_the_pages_are_understood(page):
    for arguments in commands_in(read(page)):
        if "--help" in arguments:
            assert arguments[0] in subcommands()
        elif "COMMAND" not in arguments:
            args = make_parser().parse_args(arguments)
            assert args.command == arguments[0]


@pytest.mark.parametrize(
    "page, least", [("README.md", {"demo", "test"}), ("CONTRIBUTING.md", {"check", "test", "net"})]
)
def test_pages_name_make_targets_that_exist(page, least):
    targets = re.findall(r"^(\w[\w-]*):", read(ROOT / "Makefile"), flags=re.M)
    named = re.findall(r"\bmake ([a-z][\w-]*)(?=\s+#|`| [A-Z]+=|$)", read(ROOT / page), flags=re.M)
    assert least <= set(named) <= set(targets)


def test_continuous_integration_runs_make_targets_that_exist():
    targets = re.findall(r"^(\w[\w-]*):", read(ROOT / "Makefile"), flags=re.M)
    run = re.findall(r"^make ([\w-]+)", read(ROOT / ".ci" / "run"), flags=re.M)
    assert {"check", "test", "test-slow"} <= set(run) <= set(targets)


def test_one_version_and_one_linter_everywhere():
    cited = re.search(r"^version: (\S+)$", read(ROOT / "CITATION.cff"), flags=re.M).group(1)
    assert cited == alseg.__version__
    for field in ("title", "version"):
        said = re.search(rf'^{field}: "?(.*?)"?$', read(ROOT / "CITATION.cff"), flags=re.M).group(1)
        assert f"  {field} = {{{said}}}," in alseg.__citation__.splitlines()
    released = re.search(r"^date-released: (\d+)-", read(ROOT / "CITATION.cff"), flags=re.M).group(
        1
    )
    assert f"  year = {{{released}}}," in alseg.__citation__.splitlines()
    pinned = re.search(r"^ruff==(\S+)$", read(ROOT / "constraints.txt"), flags=re.M).group(1)
    hooked = re.search(r"rev: v(\S+)\n    hooks:\n      - id: ruff", read(ROOT / HOOKS)).group(1)
    assert hooked == pinned


# -- links --


def without_fences(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def anchor(title):
    """What the pages' builder makes of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def headings(text):
    """Anchors of the headings."""
    return {anchor(title) for title in re.findall(r"^#{1,3} (.+)$", without_fences(text), re.M)}


def links(text):
    return re.findall(r"\[[^\]\n]+\]\(([^)\s]+)\)", without_code(text))


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES],
    ids=lambda p: p.name,
)
def test_links_lead_somewhere(page):
    for link in links(read(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if target.parent == DOCS / "auto_examples":  # made from examples/ at build
            assert target.name == "index" or target.name in {p.stem for p in EXAMPLES}, link
            continue
        assert target.is_file(), f"{page.name}: {link}"
        if anchor:
            assert anchor in headings(read(target)), f"{page.name}: {link}"


def test_every_page_is_listed_by_an_index_page():
    pages_below = runpy.run_path(str(DOCS / "conf.py"))["pages_below"]
    reached, look = set(), ["index"]
    while look:
        page = look.pop()
        reached.add(page)
        folder = (DOCS / page).parent
        below = [(folder / name).resolve() for name in pages_below(page, read(DOCS / f"{page}.md"))]
        names = [path.relative_to(DOCS).as_posix() for path in below]
        look += [name for name in names if name not in reached and "auto_examples" not in name]
    assert reached == {p.relative_to(DOCS).with_suffix("").as_posix() for p in PAGES}


# -- what may be brought --


def blocks_table():
    """The chapters of docs/bring in the order of its first page, each with its blocks."""
    pages_below = runpy.run_path(str(DOCS / "conf.py"))["pages_below"]
    rows = ["| your own | |", "|---|---|"]
    for name in pages_below("bring/index", read(BRING / "index.md")):
        title, *blocks = re.findall(r"^##? (.+)$", without_fences(read(BRING / f"{name}.md")), re.M)
        found = [f"[{block}]({name}.md#{anchor(block)})" for block in blocks]
        rows.append(f"| [{title}]({name}.md) | {', '.join(found)} |")
    return "\n".join(rows)


def test_every_block_of_what_may_be_brought_is_listed():
    shown = re.search(r"<!-- blocks.*?-->\n(.*?)\n<!-- end", read(BRING / "index.md"), re.S)
    assert shown.group(1) == blocks_table(), "run python tests/house.py --blocks"
    assert blocks_table().count("md#") >= 25


@pytest.mark.parametrize("page", sorted(BRING.glob("*.md")), ids=lambda p: p.stem)
def test_every_block_of_what_may_be_brought_is_code_that_runs(page):
    for block in re.split(r"^## ", read(page), flags=re.M)[1:]:
        assert "\n>>> " in block, block.splitlines()[0]


# -- pages --


@every_page
def test_pages_have_one_title(page):
    text = without_fences(read(page))
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", text, flags=re.M)) == 1


@every_page
def test_code_fences_are_closed(page):
    assert len(re.findall(r"^```", read(page), flags=re.M)) % 2 == 0


def test_the_changelog_knows_this_version():
    text = read(ROOT / "CHANGELOG.md")
    version = re.sub(r"\.dev\d+$", "", alseg.__version__)
    assert text.startswith("# Changelog")
    assert version in text
    if ".dev" in alseg.__version__:
        assert "## [Unreleased]" in text


def test_the_pages_name_every_strategy_and_aggregation():
    from alseg.experiment.by_name import strategy_names
    from alseg.query.aggregation import AGGREGATIONS

    text = read(DOCS / "user" / "strategies.md")
    for name in strategy_names():
        assert f"`{name}_sampling`" in text or f"`{name}(score)`" in text, name
    for name in AGGREGATIONS:
        assert f'`"{name}"`' in text, name


def test_the_pages_name_every_encoder_and_pooling():
    from alseg.network import ENCODERS
    from alseg.network.cam import POOLINGS

    text = read(DOCS / "user" / "segmenter.md")
    for name in (*ENCODERS, *POOLINGS):
        assert f'`"{name}"`' in text, name


# -- examples --


@every_example
def test_examples_have_title_claim_and_how_to_read_the_figure(script):
    docstring = re.match(r'"""\n(.+?)\n(=+)\n\n(.+?)"""', read(script), flags=re.S)
    assert docstring, "title, underline, text"
    title, underline, text = docstring.groups()
    assert len(underline) >= len(title)
    assert "**How to read the figure" in text


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


@pytest.mark.slow
@every_example
def test_examples_run(script, monkeypatch):
    import matplotlib

    monkeypatch.setattr("matplotlib.pyplot.show", lambda *args, **kwargs: None)
    matplotlib.use("Agg", force=True)
    from matplotlib import pyplot

    try:
        runpy.run_path(str(script), run_name="__main__")
        assert pyplot.get_fignums()
    finally:
        pyplot.close("all")
