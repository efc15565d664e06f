"""Counts how a tree of alseg is built: what its files, functions and arguments add up to.

    python tests/house.py                             # this tree
    python tests/house.py --tree ../before --tree .   # a column for each, as a table in Markdown
    python tests/house.py --lists                     # which files, functions and places they are
    python tests/house.py --floors                    # brings docs/design.md up to date
    python tests/house.py --blocks                    # and docs/bring/index.md

Source is read and not run, but for the time of `import alseg` (`--time`).
"""

import argparse
import ast
import subprocess
import sys
import tokenize
from collections import defaultdict
from pathlib import Path
from statistics import median

LONGEST = 700  # lines of a file
MOST_BRANCHES = 12  # of a function, as ruff's C901 counts
MOST_ARGUMENTS = 8
SAME_LINES = 6  # lines that may stand twice
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def sources(tree):
    """Path below the package, and text, of every module."""
    package = Path(tree) / "alseg"
    return {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def functions(module):
    """(qualified name, node) of every function and method, nested ones too."""

    def visit(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                name = f"{prefix}{child.name}"
                if isinstance(child, FUNCTIONS):
                    yield name, child
                yield from visit(child, f"{name}.")
            else:
                yield from visit(child, prefix)

    yield from visit(module, "")


def branches(node):
    """Cyclomatic complexity of a function, as ruff's C901 counts it."""
    return 1 + _of_body(node.body)


def _of_body(body):
    return sum(_of_statement(statement) for statement in body)


def _of_statement(node):
    if isinstance(node, (ast.If, ast.For, ast.AsyncFor, ast.While)):
        return 1 + _of_body(node.body) + _of_body(node.orelse)
    if isinstance(node, (ast.Try, ast.TryStar)):
        handled = sum(1 + _of_body(handler.body) for handler in node.handlers)
        parts = _of_body(node.body) + _of_body(node.orelse) + _of_body(node.finalbody)
        return handled + parts + bool(node.orelse)
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return _of_body(node.body)
    if isinstance(node, ast.Match):
        whatever = getattr(node.cases[-1].pattern, "pattern", 0) is None
        return sum(1 + _of_body(case.body) for case in node.cases) - whatever
    if isinstance(node, FUNCTIONS):
        return 1 + _of_body(node.body)
    if isinstance(node, ast.ClassDef):
        return _of_body(node.body)
    return 0


def arguments(node):
    """Arguments that have a name: without `self`, `cls`, `*args` and `**kwargs`."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [one for one in given if one.arg not in ("self", "cls")]


def lines_of_code(text):
    """(number, text) of the lines that hold code, without docstrings, comments and imports."""
    module = ast.parse(text)
    left_out = set()
    for node in ast.walk(module):
        alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if alone or isinstance(node, (ast.Import, ast.ImportFrom)):
            left_out.update(range(node.lineno, node.end_lineno + 1))
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line and number not in left_out and not line.startswith("#"):
            yield number, line


def repetitions(texts, least=SAME_LINES + 1):
    """Places where `least` lines of code, or more, stand as they stand elsewhere: both places."""
    code = {path: list(lines_of_code(text)) for path, text in texts.items()}
    where = defaultdict(list)
    for path, lines in code.items():
        for start in range(len(lines) - least + 1):
            block = [line for _, line in lines[start : start + least]]
            if sum(any(c.isalpha() for c in line) for line in block) > least // 2:
                where["\n".join(block)].append((path, start))
    found, before = [], set()
    for places in where.values():
        for one, other in zip(places, places[1:], strict=False):
            pair = (*one, *other)
            # one repetition of ten lines, not four of seven
            if (one[0], one[1] - 1, other[0], other[1] - 1) not in before:
                number = code[one[0]][one[1]][0], code[other[0]][other[1]][0]
                found.append(f"{one[0]}:{number[0]} = {other[0]}:{number[1]}")
            before.add(pair)
    return found


def skipped(tree):
    """Places where the formatter is told to leave a statement or a part of a file alone."""
    found = []
    for folder in ("alseg", "tests", "benchmarks", "examples", "docs"):
        for path in sorted((Path(tree) / folder).rglob("*.py")):
            with open(path, "rb") as file:
                for token in tokenize.tokenize(file.readline):
                    told = token.type == tokenize.COMMENT and "fmt: " in token.string
                    if told and ("skip" in token.string or "off" in token.string):
                        found.append(f"{path.relative_to(tree)}:{token.start[0]}")
    return found


def counts(tree):
    """name -> (number, the things that are counted) of a tree."""
    texts = sources(tree)
    known = [
        (path, name, node)
        for path, text in texts.items()
        for name, node in functions(ast.parse(text))
    ]
    root = [path for path in texts if "/" not in path and not path.startswith("_")]
    lengths = {path: len(text.splitlines()) for path, text in texts.items()}
    longest = max(lengths, key=lengths.get)
    many = {f"{path} {name}": len(arguments(node)) for path, name, node in known}
    inits = {what: n for what, n in many.items() if what.endswith(".__init__")}
    largest = max(inits, key=inits.get)
    hard = {f"{path} {name}": branches(node) for path, name, node in known}
    every = [one for _, _, node in known for one in arguments(node)]
    typed = sum(one.annotation is not None for one in every)
    repeated, skips = repetitions(texts), skipped(tree)

    def above(values, limit):
        return [f"{what}: {n}" for what, n in values.items() if n > limit]

    return {
        "modules at the root": (len(root), root),
        "largest file, lines": (lengths[longest], [longest]),
        f"files over {LONGEST} lines": (len(above(lengths, LONGEST)), above(lengths, LONGEST)),
        f"functions of more than {MOST_ARGUMENTS} arguments": (
            len(above(many, MOST_ARGUMENTS)),
            above(many, MOST_ARGUMENTS),
        ),
        "largest constructor, arguments": (inits[largest], [largest]),
        f"functions of complexity over {MOST_BRANCHES}": (
            len(above(hard, MOST_BRANCHES)),
            above(hard, MOST_BRANCHES),
        ),
        "parameters typed": (f"{100 * typed / len(every):.0f} %", [f"{typed} of {len(every)}"]),
        "`fmt: skip` and `fmt: off`": (len(skips), skips),
        f"repetitions over {SAME_LINES} lines": (len(repeated), repeated),
    }


def seconds_of(tree, statement, repeats=5):
    """Median processor time of a process that runs a statement, Python's own start included."""
    code = f"{statement}\nimport time\nprint(time.process_time())"
    command, found = [sys.executable, "-c", code], []
    for _ in range(repeats + 1):  # the first reads from disk
        run = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
        found.append(float(run.stdout))
    return f"{median(found[1:]):.2f} s"


def write_between(page, name, table):
    """Bring the table between two marks of a page up to date."""
    text = page.read_text(encoding="utf-8")
    start = text.index("\n", text.index(f"<!-- {name}")) + 1
    end = text.index(f"\n<!-- end of {name}")
    page.write_text(text[:start] + table + text[end:], encoding="utf-8")


def write_floors():
    """The floors and docstrings of this tree, as docs/design.md shows them."""
    from test_architecture import DESIGN, floors_table

    write_between(DESIGN, "floors", floors_table())


def write_blocks():
    """The blocks that docs/bring/index.md lists."""
    from test_docs import BRING, blocks_table

    write_between(BRING / "index.md", "blocks", blocks_table())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", action="append", help="a checkout; by default this one")
    parser.add_argument("--names", help="of the columns, with commas; by default the folders'")
    parser.add_argument("--lists", action="store_true", help="name what is counted")
    parser.add_argument("--floors", action="store_true", help="write them into docs/design.md")
    parser.add_argument("--blocks", action="store_true", help="list them in docs/bring/index.md")
    parser.add_argument("--time", action="store_true", help="measure imports too")
    args = parser.parse_args()
    if args.floors or args.blocks:
        (write_floors if args.floors else write_blocks)()
        return
    trees = [Path(tree).resolve() for tree in args.tree or [Path(__file__).parents[1]]]
    columns = [counts(tree) for tree in trees]
    rows = {name: [column[name][0] for column in columns] for name in columns[0]}
    if args.time:
        for statement in ("import alseg", "from alseg import *"):
            rows[f"`{statement}`"] = [seconds_of(tree, statement) for tree in trees]
    names = args.names.split(",") if args.names else [tree.name for tree in trees]
    print(f"| | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(trees)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(map(str, values))} |")
    if args.lists:
        for tree, column in zip(trees, columns, strict=True):
            for name, (_, things) in column.items():
                print(f"\n{tree.name}, {name}:", *things, sep="\n  ")


if __name__ == "__main__":
    main()
