"""Build ``data/samples/``, the photographs that the sample run uses, from four open collections.

python tools/make_samples.py GROCERIES PETS BEANS FRUITS

Each argument is the folder of one collection:

- GROCERIES: Grocery Store Dataset, its ``dataset/`` with ``train/``, ``val/`` and ``test/``
  (github.com/marcusklasson/GroceryStoreDataset);
- PETS: ``cats/`` and ``dogs/`` with photographs of the Oxford-IIIT Pet Dataset, which names each file by its breed
  (robots.ox.ac.uk/~vgg/data/pets);
- BEANS: ibean, ``train/``, ``validation/`` and ``test/`` (github.com/AI-Lab-Makerere/ibean);
- FRUITS: Fruits-360, ``train/`` and ``test/`` (github.com/fruits-360).

The same folders give the same files. Each set gets a ``credits.csv``. Pictures of one split are never near-copies of
those of another: their difference hashes differ in at least ``APART`` of 256 bits. Fruits-360 is the exception that
lesson 05 is about: its test frames are near-copies of its training frames.
"""

import csv
import itertools
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from helpers import config
from helpers.folder import APART, difference_hash, distances

FOODS = {  # class: folder of the groceries
    "apple": "Fruit/Apple",
    "juice": "Packages/Juice",
    "melon": "Fruit/Melon",
    "milk": "Packages/Milk",
    "pear": "Fruit/Pear",
    "pepper": "Vegetables/Pepper",
    "potato": "Vegetables/Potato",
    "satsuma": "Fruit/Satsumas",
    "tomato": "Vegetables/Tomato",
    "yoghurt": "Packages/Yoghurt",
}
FRUITS = {  # class of Fruits-360: the same kind among the groceries
    "Apple Granny Smith": "Fruit/Apple/Granny-Smith",
    "Apple Red Delicious": "Fruit/Apple/Red-Delicious",
    "Avocado": "Fruit/Avocado",
    "Banana": "Fruit/Banana",
    "Cantaloupe 1": "Fruit/Melon/Cantaloupe",
    "Eggplant": "Vegetables/Aubergine",
    "Ginger Root": "Vegetables/Ginger",
    "Kiwi": "Fruit/Kiwi",
    "Lemon": "Fruit/Lemon",
    "Limes": "Fruit/Lime",
    "Mango": "Fruit/Mango",
    "Nectarine": "Fruit/Nectarine",
    "Orange": "Fruit/Orange",
    "Papaya": "Fruit/Papaya",
    "Passion Fruit": "Fruit/Passion-Fruit",
    "Peach": "Fruit/Peach",
    "Pear Kaiser": "Fruit/Pear/Kaiser",
    "Pineapple": "Fruit/Pineapple",
    "Plum": "Fruit/Plum",
    "Pomegranate": "Fruit/Pomegranate",
}
VEGETABLES = {  # class: folder of the groceries, wherever it lies
    "carrot": "Carrots",
    "cucumber": "Cucumber",
    "garlic": "Garlic",
    "mushroom": "Brown-Cap-Mushroom",
    "onion": "Yellow-Onion",
    "zucchini": "Zucchini",
}
GROCERIES = ("Grocery Store Dataset", "MIT", "2019 Marcus Klasson")
PETS = ("Oxford-IIIT Pet Dataset", "CC BY-SA 4.0", "Parkhi, Vedaldi, Zisserman, Jawahar; the photographers")
BEANS = ("ibean", "MIT", "AI Lab, Makerere University")
FRUITS_360 = ("Fruits-360, release of 2020-05-18", "MIT", "2017-2020 Mihai Oltean, Horea Muresan")


def pictures(folder: Path) -> list[Path]:
    """All JPEGs below a folder, in order; exits with a sentence if there are none."""
    found = sorted(folder.rglob("*.jpg"))
    if not found:
        sys.exit(f"{folder} holds no JPEG: give the folders that the first lines of {Path(__file__).name} name.")
    return found


def choose(pool: list[Path], most: int, avoid: Iterable[Path] = ()) -> list[Path]:
    """Up to ``most`` pictures, each as far as can be from those before it and at least ``APART`` from all to avoid."""
    hashes = [difference_hash(Image.open(path)) for path in pool]
    taken = [difference_hash(Image.open(path)) for path in avoid]
    nearest = distances(hashes, taken).min(axis=1) if taken else np.full(len(pool), 256)
    chosen: list[int] = []
    while len(chosen) < most and nearest.max(initial=0) >= APART:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances(hashes, [hashes[chosen[-1]]])[:, 0])
    return [pool[i] for i in sorted(chosen)]


class Sample:
    """A set that is being written, and its credits."""

    def __init__(self, name: str, source: tuple[str, str, str], pixels: int, quality: int | None):
        self.folder, self.source, self.pixels, self.quality = config.SAMPLES / name, source, pixels, quality
        self.rows: list[tuple] = []
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, split: str, class_name: str, paths: Iterable[Path], root: Path) -> None:
        """Write pictures, square and small: a JPEG, or a PNG where there is no quality; ``""`` is no split."""
        for path in paths:
            place = path.relative_to(root)
            ending = "png" if self.quality is None else "jpg"
            target = self.folder / split / class_name / f"{place.parts[0]}_{path.stem}.{ending}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                sys.exit(f"{target} would be written twice: two source pictures have the same name.")
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
                small = ImageOps.fit(upright, (self.pixels, self.pixels), Image.Resampling.LANCZOS)
            small.save(target, **({} if self.quality is None else dict(quality=self.quality, optimize=True)))
            self.rows.append((target.relative_to(self.folder).as_posix(), place.as_posix()))

    def credit(self) -> None:
        """Write ``credits.csv``."""
        source, licence, holder = self.source
        changes = f"cropped to a square, reduced to {self.pixels} x {self.pixels} pixels, encoded again"
        with (self.folder / "credits.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("file", "source", "path in source", "licence", "copyright", "changes"))
            writer.writerows((name, source, place, licence, holder, changes) for name, place in sorted(self.rows))


def make_groceries(root: Path) -> None:
    """Lessons 01, 02 and, at 32 pixels, 04."""
    samples = [Sample("groceries", GROCERIES, 128, 57), Sample("groceries32", GROCERIES, 32, None)]
    for name, place in FOODS.items():
        test = choose(pictures(root / "test" / place), 50)
        validation = choose(pictures(root / "val" / place), 15, test)
        validation += choose(pictures(root / "train" / place), 15 - len(validation), test + validation)
        train = choose([p for p in pictures(root / "train" / place) if p not in validation], 56, test + validation)
        for sample in samples:
            for split, paths in (("train", train), ("validation", validation), ("test", test)):
                sample.add(split, name, paths, root)
    for sample in samples:
        sample.credit()


def make_pets(root: Path) -> None:
    """Lesson 03: 120 cats, 120 dogs, each breed in training and test."""
    sample = Sample("pets", PETS, 112, 80)
    for kind in ("cats", "dogs"):
        by_breed: dict[str, list[Path]] = {}
        for path in pictures(root / kind):
            by_breed.setdefault(path.stem.rpartition("_")[0], []).append(path)
        rounds = itertools.zip_longest(*by_breed.values())  # one picture of each breed, then a second, …
        spread = [path for each in rounds for path in each if path is not None]
        for i, path in enumerate(spread[:120]):
            sample.add("train" if i % 15 < 6 else "validation" if i % 15 < 8 else "test", kind, [path], root)
    sample.credit()


def make_fruits(fruits: Path, groceries: Path) -> None:
    """Lesson 05: the same kinds on white and in shops."""
    on_white, in_shops = Sample("fruits360", FRUITS_360, 100, 75), Sample("fruits_in_shops", GROCERIES, 100, 68)
    for name, place in FRUITS.items():
        frames = pictures(fruits / "train" / name)[:25]
        on_white.add("train", name, [frame for i, frame in enumerate(frames) if i % 5 < 4], fruits)
        on_white.add("validation", name, frames[4::5], fruits)
        on_white.add("test", name, pictures(fruits / "test" / name)[:10], fruits)
        test = choose(pictures(groceries / "test" / place), 15)
        in_shops.add("test", name, test, groceries)
        in_shops.add("train", name, choose(pictures(groceries / "train" / place), 10, test), groceries)
    on_white.credit()
    in_shops.credit()


def make_beans(root: Path) -> None:
    """Lesson 05: all test images, some of the others."""
    sample = Sample("beans", BEANS, 128, 75)
    for name in sorted(folder.name for folder in (root / "test").iterdir() if folder.is_dir()):
        test = pictures(root / "test" / name)
        validation = choose(pictures(root / "validation" / name), 15, test)
        sample.add("test", name, test, root)
        sample.add("validation", name, validation, root)
        sample.add("train", name, choose(pictures(root / "train" / name), 40, test + validation), root)
    sample.credit()


def make_vegetables(root: Path) -> None:
    """Lesson 06: not split, as a folder of one's own is."""
    sample, found = Sample("vegetables", GROCERIES, 128, 57), pictures(root)
    for name, place in VEGETABLES.items():
        sample.add("", name, choose([path for path in found if path.parent.name == place], 60), root)
    sample.credit()


def make_overview() -> None:
    """``data/overview.jpg``: one row per collection, for the README."""
    fruits = ("Banana", "Kiwi", "Mango", "Pineapple", "Pomegranate")
    rows = [
        [sorted(folder.iterdir())[7] for folder in sorted((config.SAMPLES / "groceries/test").iterdir())],
        [
            files[10 * i + 2]
            for i in range(5)
            for files in map(pictures, sorted((config.SAMPLES / "pets/test").iterdir()))
        ],
        [
            pictures(config.SAMPLES / name / "test" / kind)[2]
            for kind in fruits
            for name in ("fruits360", "fruits_in_shops")
        ],
        pictures(config.SAMPLES / "beans/test")[::13][:10],
    ]
    side, gap = 84, 4
    overview = Image.new("RGB", (10 * side + 9 * gap, len(rows) * side + (len(rows) - 1) * gap), "white")
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            with Image.open(path) as image:
                overview.paste(image.resize((side, side)), (x * (side + gap), y * (side + gap)))
    overview.save(config.SAMPLES.parent / "overview.jpg", quality=80, optimize=True)


def main(arguments: list[str]) -> None:
    """Make all sets."""
    if len(arguments) != 4:
        sys.exit(__doc__.split("\n\n")[1])
    groceries, pets, beans, fruits = map(Path, arguments)
    for folder in (groceries, pets, beans, fruits):  # before anything is replaced
        pictures(folder)
    make_groceries(groceries)
    make_pets(pets)
    make_fruits(fruits, groceries)
    make_beans(beans)
    make_vegetables(groceries)
    make_overview()


if __name__ == "__main__":
    main(sys.argv[1:])
