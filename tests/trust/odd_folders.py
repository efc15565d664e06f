"""Folders as people have them and as somebody might make them: images, masks, names, manifests."""

import os
import socket
import sys
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (16, 20)
LABELS = ("a", "b")


def picture(i, size=SIZE):
    """Image and mask i: a bright square on noise, its place and colour by i."""
    rng = np.random.default_rng(i)
    image = rng.integers(0, 120, (*size, 3)).astype(np.uint8)
    mask = np.zeros(size, np.uint8)
    top, left = i % 5 + 1, i % 7 + 1
    mask[top : top + 8, left : left + 8] = 1
    image[mask == 1] += np.array([120, 60, 0] if i % 2 else [0, 60, 120], np.uint8)
    return image, mask


def make(root, n=6, masks=0, names=None, mask_value=255):
    """`root/images/<class>/*.png` of two classes, with masks for the first `masks` of them.

    Where all have one there is one more image, `an_open.png`, that has none.
    """
    root = Path(root)
    if masks >= n:
        put(root / "images" / LABELS[1], "an_open.png", picture(n)[0])
    names = [f"im{i}" for i in range(n)] if names is None else names
    for i, name in enumerate(names):
        image, mask = picture(i)
        label = LABELS[i % 2]
        put(root / "images" / label, f"{name}.png", image)
        if i < masks:
            put(root / "masks" / label, f"{name}.png", mask * np.uint8(mask_value))
    return root


def put(folder, name, array):
    """Save an array under a name, which may hold any byte but the two that no name may."""
    folder = os.fsencode(folder)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, os.fsencode(name)), "wb") as file:
        Image.fromarray(array).save(file, format="PNG")


def with_split(root, n_test=2):
    """A manifest beside images and masks that `make` made: the last `n_test` of each class test."""
    root = Path(root)
    rows = ["image,mask,label,split"]
    for label in LABELS:
        files = sorted((root / "images" / label).iterdir())
        for k, file in enumerate(files):
            mask = root / "masks" / label / file.name
            part = "test" if k >= len(files) - n_test else "train"
            there = mask.relative_to(root) if mask.exists() else ""
            rows.append(f"{file.relative_to(root)},{there},{label},{part}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root


NAMES = {
    "spaces": "two  words ",
    "hash": "a#b",
    "question": "a?b",
    "percent": "a%20b%s%d{0}",
    "star": "a*[b]",
    "dash": "-n",
    "dashes": "--out",
    "quote": 'it\'s "q"',
    "html": "<b onload=alert(1)>&amp;",
    "newline": "one\ntwo",
    "return": "one\rtwo",
    "tab": "one\ttwo",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "control": "a\x01b\x7f",
    "c1": "a\x9bb",
    "bidi": "a\u202egnp",
    "zero_width": "a\u200bb\ufeff",
    "nfd": unicodedata.normalize("NFD", "Präparat é"),
    "nfc": unicodedata.normalize("NFC", "Präparat é"),
    "emoji": "\U0001f9a0\u200d\U0001f468",
    "latin1": b"Pr\xe4parat",
    "bytes": b"\xff\xfe\xc3",
    "dots": "a.b.c..",
    "dollar": "$HOME`id`$(id)",
    "backslash": "a\\b\\..\\c",
    "comma": "a,b;c",
    "formula": "=1+1",
    "formula_at": "@SUM(A1)",
    "semicolon": ";rm -rf x;",
    "colon": "C:a",
    "device": "con",
    "tilde": "~root",
    "number": "007",
    "none": "None",
    "nan": "nan",
    "long": "x" * 240,
    "surrogate": "a\udc80b",
}


def unusual(root):
    """Things that lie in folders and are no image files, in `root`; as far as they can be."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / "folder.png").mkdir()
    os.mkfifo(root / "pipe.png")
    (root / "broken.png").symlink_to(root / "nowhere")
    (root / "itself.png").symlink_to(root / "itself.png")
    (root / "loop").symlink_to(root)
    (root / "null.png").symlink_to("/dev/null")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "terminal.png").symlink_to("/dev/tty")
    if sys.platform == "linux":
        (root / "memory.png").symlink_to("/proc/self/mem")
    before = os.getcwd()
    os.chdir(root)  # the address of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.png")
    finally:
        os.chdir(before)
    (root / ".hidden.png").write_bytes(b"x")
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "._im0.png").write_bytes(b"Mac OS X resource")
    return root


def manifests():
    """Manifests of six images that `make` made, by what is odd about them: bytes of the file."""
    rows = [
        f"images/{LABELS[i % 2]}/im{i}.png,masks/{LABELS[i % 2]}/im{i}.png,{LABELS[i % 2]},"
        f"{'test' if i >= 4 else 'train'}"
        for i in range(6)
    ]
    head = "image,mask,label,split"
    rows[0] = "images/a/im0.png,,a,train"
    plain = "\n".join([head, *rows]) + "\n"

    def changed(i, row):
        return "\n".join([head, *rows[:i], row, *rows[i + 1 :]]) + "\n"

    found = {
        "plain": plain,
        "bom": "\ufeff" + plain,
        "crlf": plain.replace("\n", "\r\n"),
        "cr": plain.replace("\n", "\r"),
        "no_end": plain.rstrip("\n"),
        "blank_lines": plain.replace("\n", "\n\n"),
        "semicolons": plain.replace(",", ";"),
        "tabs": plain.replace(",", "\t"),
        "quoted": plain.replace("images/a/im0.png", '"images/a/im0.png"'),
        "spaces": plain.replace(",", " , "),
        "one_more": changed(2, rows[2] + ",x"),
        "all_one_more": "\n".join([head, *(row + ",x" for row in rows)]) + "\n",
        "one_less": changed(2, rows[2].rpartition(",")[0]),
        "two_less": changed(2, rows[2].split(",")[0]),
        "header_twice": "\n".join(["image,mask,label,label", *rows]) + "\n",
        "header_only": head + "\n",
        "no_header": "\n".join(rows) + "\n",
        "empty": "",
        "newlines": "\n\n\n",
        "commas": ",,,\n,,,\n",
        "nul": plain.replace("im3", "im\0"),
        "open_quote": changed(2, '"' + rows[2]),
        "latin1": changed(2, rows[2].replace("im2", "\xe4")).encode("latin-1"),
        "utf16": plain.encode("utf-16"),
        "binary": bytes(range(256)) * 4,
        "twice": changed(2, rows[0]),
        "twice_written_differently": changed(2, rows[0].replace("images/", "./images//", 1)),
        "parent": changed(2, rows[2].replace("images/a", "../x/images/a", 1)),
        "climbing": changed(2, rows[2].replace("images/a", "images/../images/a", 1)),
        "absolute": changed(2, "/etc/passwd,,a,train"),
        "device": changed(2, "/dev/zero,,a,train"),
        "folder": changed(2, "images,,a,train"),
        "root_folder": changed(2, "/,,a,train"),
        "user": changed(2, "~nobody/x.png,,a,train"),
        "unknown_user": changed(2, "~no_such_user_here/x.png,,a,train"),
        "home": changed(2, "~/x.png,,a,train"),
        "url": changed(2, "http://127.0.0.1:9/x.png,,a,train"),
        "file_url": changed(2, "file:///etc/passwd,,a,train"),
        "backslashes": plain.replace("/", "\\"),
        "missing": changed(2, rows[2].replace("im2", "im99", 1)),
        "missing_mask": changed(2, rows[2].replace("masks/a/im2", "masks/a/im99", 1)),
        "mask_is_image": changed(2, "images/a/im2.png,images/a/im2.png,a,train"),
        "no_label": changed(2, rows[2].replace(",a,", ",,", 1)),
        "nan_label": changed(2, rows[2].replace(",a,", ",nan,", 1)),
        "one_class": plain.replace(",b,", ",a,"),
        "long": changed(2, "x" * 5000 + ",,a,train"),
        "wide": "\n".join(
            [head + "".join(f",c{i}" for i in range(3000)), *(row + "," * 3000 for row in rows)]
        )
        + "\n",
        "huge_field": changed(2, f'"{"x" * 300_000}",,a,train'),
        "control": changed(2, "images/\x1b[2Jx.png,,a,train"),
        "split_of_code": plain.replace("train", "__import__('os')"),
        "other_case": plain.replace("image,mask", "Image,Mask"),
        "all_split": plain.replace("train", "all"),
        "no_split": "\n".join(line.rpartition(",")[0] for line in [head, *rows]) + "\n",
        "group_in_both": "\n".join([head + ",group", *(row + ",p1" for row in rows)]) + "\n",
        "fold": "\n".join([head + ",fold", *(row + ",99999999999999999999" for row in rows)])
        + "\n",
        "only_images": "image\n" + "\n".join(row.split(",")[0] for row in rows) + "\n",
    }
    return {
        name: text if isinstance(text, bytes) else text.encode() for name, text in found.items()
    }
