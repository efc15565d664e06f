"""The moving picture and the screenshots of `alseg annotate`: a robot uses the page on made images.

    python docs/figures/annotate.py  # from the root of the repository; some minutes on one core

Chromium and its driver are needed. Images are those of `alseg.datasets.make_glands`; everything
else is the page as a person gets it: a simulated expert draws, the model learns behind the pen, its
proposals are corrected.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from alseg.datasets import make_glands  # noqa: E402
from alseg.metrics import dice_per_image  # noqa: E402
from alseg.oracles import CorrectionOracle, StrokeOracle  # noqa: E402
from benchmarks.annotator import write_folder  # noqa: E402
from benchmarks.core.page_robot import Robot, browser, served, straightened  # noqa: E402

OUT = ROOT / "docs/_static"
SIZE, WINDOW, SHOWN = (240, 336), (1280, 840), (960, 630)
BEFORE_PROPOSALS, LATER = 6, 300  # images marked with strokes; seconds to wait for a model
LONGEST = 12  # seconds
GOOD = 0.7  # Dice of a proposal that is shown as an example


class Film:
    """Frames with their durations and a line of text below each."""

    def __init__(self, robot):
        self.robot, self.frames, self.times, self.text = robot, [], [], ""
        self.font = ImageFont.load_default(20)

    def shoot(self, seconds):
        """One more frame."""
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            self.robot.window.screenshot(Path(file.name))
            shot = Image.open(file.name).convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS)
        frame = Image.new("RGB", (SHOWN[0], SHOWN[1] + 40), "#111827")
        frame.paste(shot)
        ImageDraw.Draw(frame).text((16, SHOWN[1] + 8), self.text, "#f9fafb", self.font)
        self.frames.append(frame)
        self.times.append(round(1000 * seconds))

    def keep(self, name):
        """The page as it is, as a picture of its own."""
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            self.robot.window.screenshot(Path(file.name))
            shot = Image.open(file.name).convert("RGB")
        shot.save(OUT / f"annotate-{name}.webp", quality=85, method=6)

    def draw(self, image, strokes, step=0.04):
        """Strokes, with frames while the pen is down."""
        robot = self.robot
        corner, scale = robot.places(image)
        for stroke in strokes:
            robot.take(stroke.width, stroke.value)
            places = corner + straightened(stroke.points)[:, ::-1] * scale
            self._mouse("mousePressed", places[0])
            for k, at in enumerate(places):
                self._mouse("mouseMoved", at)
                if k % max(1, len(places) // 5) == 0:
                    self.shoot(step)
            self._mouse("mouseReleased", places[-1])
            self.shoot(2 * step)

    def _mouse(self, kind, at):
        self.robot.window.devtools(
            "Input.dispatchMouseEvent",
            type=kind,
            x=round(float(at[0])),
            y=round(float(at[1])),
            button="left",
            buttons=0 if kind == "mouseReleased" else 1,
            clickCount=1,
        )

    def write(self, path, quality=70):
        """An animated WebP."""
        file = io.BytesIO()
        faster = min(1, 1000 * LONGEST / sum(self.times))
        self.times = [round(faster * one) for one in self.times]
        self.frames[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=self.frames[1:],
            duration=self.times,
            loop=0,
            quality=quality,
            method=6,
        )
        path.write_bytes(file.getvalue())
        said = f"{len(self.frames)} frames, {sum(self.times) / 1000:.1f} s"
        print(f"{path.name}: {said}, {len(file.getvalue()) / 2**20:.2f} MiB")


def number_of(image):
    return int(Path(image["name"]).name.split(".")[0])


def strokes_first(film, oracle):
    """The first images, by strokes alone: one slowly, the others at a glance."""
    robot = film.robot
    film.text = "A folder of images and no masks: mark a few strokes, on both sides of borders"
    film.shoot(1.0)
    film.keep("first")
    image = robot.image()
    film.draw(image, oracle.draw(number_of(image)).strokes)
    film.keep("strokes")
    film.shoot(0.5)
    for _ in range(BEFORE_PROPOSALS - 1):
        robot.answer("marks", image)
        image = robot.image()
        robot.draw(image, oracle.draw(number_of(image)).strokes)
        film.text = "Enter: the marks count, the rest stays open, and the next image is there"
        film.shoot(0.3)
    robot.answer("marks", image)


def until_proposed(film, oracle, masks):
    """Go on until what the page proposes is worth correcting."""
    robot, ends = film.robot, time.monotonic() + LATER
    while time.monotonic() < ends and (image := robot.image()) is not None:
        proposal = robot.proposal(image)
        if proposal is not None and image.get("check") is None:
            dice = dice_per_image([proposal], [masks[number_of(image)]])[0]
            print(f"{image['name']}: proposed with a Dice of {dice:.2f}", flush=True)
            if dice > GOOD:
                return image
        time.sleep(6)
        robot.draw(image, oracle.draw(number_of(image)).strokes)
        robot.answer("marks", image)
    raise SystemExit("nothing good is proposed: is the model behind the pen missing?")


def correct(film, image, oracle):
    """A proposal, its largest errors corrected, and the answer."""
    robot = film.robot
    film.text = "A model learns behind the pen. What it proposes is outlined"
    film.shoot(1.3)
    film.keep("proposal")
    found = oracle.correct(number_of(image), robot.proposal(image))
    film.text = "Correct the largest errors ..."
    film.draw(image, found.strokes[:3])
    robot.draw(image, found.strokes[3:])
    film.shoot(0.6)
    film.keep("corrected")
    film.text = "... and say that all of it is right"
    robot.answer("all", image)
    film.shoot(1.0)


def by_points(film, masks):
    """Asked pixels, a key each."""
    robot = film.robot
    image = robot.image()
    if not robot.window.run("return !!document.querySelector('[data-way=points]')"):
        return
    robot.window.press("q")
    robot.window.wait("window.kept.points[arguments[0]]", image["id"])
    film.text = "Or say of single pixels what they are: a key each"
    film.shoot(0.6)
    for k, (row, column) in enumerate(robot.asked(image)[:8]):
        robot.window.press(str(int(masks[number_of(image)][row, column])))
        film.shoot(0.2)
        if k == 3:
            film.keep("points")
    robot.window.press("q")


def gallery(film):
    """All images."""
    window = film.robot.window
    window.press("g")
    window.run(
        "const over = document.getElementById('gallery-over'); over.value = 'mask';"
        "over.dispatchEvent(new Event('change'))"
    )
    window.wait(
        "[...document.querySelectorAll('#gallery-cells img')].length > 3 && "
        "[...document.querySelectorAll('#gallery-cells img')].every((one) => one.naturalWidth) && "
        "document.getElementById('toast').hidden"
    )
    time.sleep(3)  # until they are painted
    film.text = "All images: what is marked, proposed and still open"
    film.shoot(1.5)
    film.keep("gallery")


def main():
    pool = make_glands(24, image_size=SIZE, random_state=0)
    masks = [np.asarray(mask) for mask in pool.masks]
    pens = StrokeOracle(masks, 1, 2, width=7, length=60, random_state=0)
    corrector = CorrectionOracle(masks, tolerance=2, min_area=20, widths=(3, 7, 13, 21))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "slides"
        write_folder(root, pool)
        with (
            served(root, Path(place) / "state", "--quiet") as (address, _),
            browser(width=WINDOW[0], height=WINDOW[1]) as window,
        ):
            film = Film(Robot(window, address))
            strokes_first(film, pens)
            correct(film, until_proposed(film, pens, masks), corrector)
            by_points(film, masks)
            gallery(film)
    film.write(OUT / "annotate.webp")


if __name__ == "__main__":
    main()
