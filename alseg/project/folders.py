"""What lies in a folder of the user's."""

from alseg.images import IMAGE_SUFFIXES


def image_files_under(folder, leave_out=()):
    """Image files of a folder and its subfolders, and names of files that are none.

    Parameters
    ----------
    folder : Path
    leave_out : sequence of Path, default=()
        Folders of ours: what lies in them is neither.

    Returns
    -------
    files : list of Path
        Sorted; hidden ones are left out.
    skipped : list of str
        Below the folder.

    Raises
    ------
    FileNotFoundError
        If it is no folder, or holds no image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    ours = [out.resolve() for out in leave_out if out.resolve() != folder.resolve()]
    found, skipped = [], []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or any(out in path.resolve().parents for out in ours):
            continue
        (found if path.suffix.lower() in IMAGE_SUFFIXES else skipped).append(path)
    if not found:
        raise FileNotFoundError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return found, [path.relative_to(folder).as_posix() for path in skipped]
