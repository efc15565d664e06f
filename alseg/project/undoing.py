"""What was done last, taken back."""

from alseg.project.state import clean
from alseg.project.state_file import ProjectError


def undo(project):
    """Take back the last change of the state: an `add`, a question, or that nobody can tell.

    Masks that an `add --replace` had replaced come back. It may be given again, to the first
    command.

    Parameters
    ----------
    project : Project

    Returns
    -------
    undone : dict
        ``command`` ("add", "query" or "skip") and ``ids``.

    Raises
    ------
    ProjectError
        If there is nothing to take back.
    """
    history = project.state.get("history", [])
    if not history:
        raise ProjectError(f"{project.folder} has nothing to undo.")
    last = history[-1]
    rounds, masks = project.state["rounds"], project.state["masks"]
    if last["command"] == "query":
        (gone,) = [r for r in rounds if r["round"] == last["round"]] or [{"ids": []}]
        project.state["rounds"] = [r for r in rounds if r["round"] != last["round"]]
        ids = gone["ids"]
        _drop_checks(project, ids)
    elif last["command"] == "skip":
        ids = [last["id"]]
        skipped = project.state.get("skipped", ())
        project.state["skipped"] = [name for name in skipped if name not in ids]
    else:
        ids = list(last["before"])
        project.revise(ids)
        for name, before in last["before"].items():
            if before is None:
                masks.pop(name, None)
            else:
                masks[name] = before
        _reopen_checks(project, [name for name in ids if name not in masks])
    project.state["history"] = history[:-1]
    project.write()
    clean(project)
    return {"command": last["command"], "ids": ids}


def _drop_checks(project, names):
    """Forget that these images were asked as checks, unless they were answered."""
    checks = project.state.get("checks", {})
    for name in names:
        if name not in project.state["masks"]:
            checks.pop(name, None)


def _reopen_checks(project, names):
    """Take back that these checks were answered: they have no mask any more."""
    checks = project.state.get("checks", {})
    for name in names:
        if name in checks:
            kept = {key: value for key, value in checks[name].items() if key == "points"}
            checks[name] = kept
