"""Make the sample images in ``data/samples/`` from openly licensed emoji artwork.

An author's tool; learners never run it. It needs npm (which fetches the artwork) and
``pip install -e .[samples]``, and gives the same images every time::

    python tools/make_samples.py            # all sets
    python tools/make_samples.py beans      # one set

Every split is drawn by other artists: a model that only remembers how the training artists draw
fails on validation and test images, as it would on photographs from another camera.
"""

import argparse
import colorsys
import functools
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "samples"
ARTWORK = ROOT / "build" / "artwork"
SEED = 20261121
GLYPH_PIXELS = 256

# artist -> (npm package, version, sha256 of the package's archive); licences are in data/README.md
ARTISTS = {
    "noto": (
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    "noto-v1": (
        "@iconify-json/noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    ),
    "twemoji": (
        "@iconify-json/twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    ),
    "emojione": (
        "@iconify-json/emojione",
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
    ),
    "fluent-3d": (
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
}
SPLIT_ARTISTS = {
    "train": ("noto", "noto-v1", "twemoji"),
    "validation": ("emojione",),
    "test": ("fluent-3d",),
}

# set -> pixels, scene, images a class in each split, and the drawings of each class:
# an emoji and its name in the artwork. Drawings that an artist has not made are left out for that artist.
SETS = {
    "food10": {
        "pixels": 160,
        "scene": "table",
        "counts": {"train": 40, "validation": 15, "test": 20},
        "classes": {
            "chicken_curry": {"🍛": "curry-rice"},
            "chicken_wings": {"🍗": "poultry-leg"},
            "fried_rice": {"🍚": "cooked-rice"},
            "grilled_salmon": {"🐟": "fish"},
            "hamburger": {"🍔": "hamburger"},
            "ice_cream": {"🍨": "ice-cream", "🍦": "soft-ice-cream"},
            "pizza": {"🍕": "pizza"},
            "ramen": {"🍜": "steaming-bowl"},
            "steak": {"🥩": "cut-of-meat", "🍖": "meat-on-bone"},
            "sushi": {"🍣": "sushi"},
        },
    },
    "cats_vs_dogs": {
        "pixels": 160,
        "scene": "pets",
        "counts": {"train": 60, "validation": 25, "test": 100},
        "classes": {
            "cat": {"🐱": "cat-face", "🐈": "cat", "😺": "grinning-cat", "😽": "kissing-cat"},
            "dog": {"🐶": "dog-face", "🐕": "dog", "🐩": "poodle", "🦮": "guide-dog"},
        },
    },
    "cifar10": {
        "pixels": 32,
        "scene": "portrait",
        "counts": {"train": 40, "validation": 15, "test": 20},
        "classes": {
            "airplane": {"✈": "airplane", "🛩": "small-airplane"},
            "automobile": {"🚗": "automobile", "🚙": "sport-utility-vehicle", "🚘": "oncoming-automobile"},
            "bird": {"🐦": "bird", "🦆": "duck", "🕊": "dove", "🦅": "eagle"},
            "cat": {"🐱": "cat-face", "🐈": "cat"},
            "deer": {"🦌": "deer"},
            "dog": {"🐶": "dog-face", "🐕": "dog", "🐩": "poodle"},
            "frog": {"🐸": "frog"},
            "horse": {"🐴": "horse-face", "🐎": "horse"},
            "ship": {"🚢": "ship", "⛴": "ferry", "🛳": "passenger-ship"},
            "truck": {"🚚": "delivery-truck", "🚛": "articulated-lorry"},
        },
    },
    "fruits360": {
        "pixels": 100,
        "scene": "white",
        "counts": {"train": 12, "validation": 5, "test": 8},
        "classes": {
            "apple_green": {"🍏": "green-apple"},
            "apple_red": {"🍎": "red-apple"},
            "avocado": {"🥑": "avocado"},
            "banana": {"🍌": "banana"},
            "cherry": {"🍒": "cherries"},
            "chestnut": {"🌰": "chestnut"},
            "corn": {"🌽": "ear-of-corn"},
            "cucumber": {"🥒": "cucumber"},
            "eggplant": {"🍆": "eggplant"},
            "grape": {"🍇": "grapes"},
            "kiwi": {"🥝": "kiwi-fruit"},
            "lemon": {"🍋": "lemon"},
            "melon": {"🍈": "melon"},
            "orange": {"🍊": "tangerine"},
            "peach": {"🍑": "peach"},
            "pear": {"🍐": "pear"},
            "pineapple": {"🍍": "pineapple"},
            "strawberry": {"🍓": "strawberry"},
            "tomato": {"🍅": "tomato"},
            "watermelon": {"🍉": "watermelon"},
        },
    },
    "beans": {
        "pixels": 160,
        "scene": "leaf",
        "counts": {"train": 40, "validation": 15, "test": 25},
        "classes": {
            name: {"☘": "shamrock", "🍀": "four-leaf-clover"} for name in ("angular_leaf_spot", "bean_rust", "healthy")
        },
    },
}


def fetch_artwork(artist: str) -> Path:
    """Fetch one artist's npm package into ``build/artwork/`` and return its unpacked folder.

    Raises:
        ValueError: if the archive's SHA-256 is not the one written above.
    """
    package, version, expected = ARTISTS[artist]
    folder = ARTWORK / artist
    if folder.exists():
        return folder / "package"
    ARTWORK.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", "--silent", "--pack-destination", str(ARTWORK), f"{package}@{version}"]
    archive = ARTWORK / subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(f"{archive.name} has sha256 {found}, expected {expected}: the artwork has changed.")
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(unfinished, filter="data")
    unfinished.rename(folder)
    return folder / "package"


def read_glyphs(artist: str) -> dict[str, Image.Image]:
    """Return every drawing that ``SETS`` names and this artist has made: RGBA, 256 × 256 pixels, by name."""
    package = fetch_artwork(artist)
    wanted = {
        name: emoji for s in SETS.values() for drawings in s["classes"].values() for emoji, name in drawings.items()
    }
    glyphs = {}
    if artist == "fluent-3d":
        for name, emoji in wanted.items():
            codes = "-".join(f"{ord(c):04x}" for c in emoji)
            files = [package / "assets" / f"{codes}{end}.webp" for end in ("", "-fe0f")]
            for file in filter(Path.exists, files):
                glyphs[name] = Image.open(file).convert("RGBA").resize((GLYPH_PIXELS, GLYPH_PIXELS), Image.LANCZOS)
        return glyphs
    import resvg_py  # needed to draw the artwork only, not to compose it

    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    for name in wanted:
        parent = icons.get("aliases", {}).get(name, {}).get("parent", name)
        if parent in icons["icons"]:
            icon = icons["icons"][parent]
            width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
            svg = (
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="0 0 {width} {height}" width="{GLYPH_PIXELS}" height="{GLYPH_PIXELS}">{icon["body"]}</svg>'
            )
            glyphs[name] = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")
    return glyphs


def textured_background(rng: np.random.Generator, pixels: int, low=40, high=230) -> Image.Image:
    """A random colour with coarse and fine mottling, as cloth or stone has: RGB, ``pixels`` × ``pixels``."""
    field = np.zeros((pixels, pixels, 3))
    for cells, strength in ((3, 20), (7, 14), (15, 10), (31, 6)):
        grey = rng.normal(0, strength * rng.uniform(0.4, 1.2), size=(cells, cells, 1))
        grid = grey + rng.normal(0, 0.4 * strength, size=(cells, cells, 3))
        for channel in range(3):
            layer = Image.fromarray(grid[..., channel].astype(np.float32))
            field[..., channel] += np.asarray(layer.resize((pixels, pixels), Image.BICUBIC))
    return Image.fromarray((rng.uniform(low, high, size=3) + field).clip(0, 255).astype(np.uint8))


def in_other_colours(glyph: Image.Image, turn: int, strength: float, gamma: float | None = None) -> Image.Image:
    """The drawing with hues turned by ``turn`` of 256 steps, saturation times ``strength``, value to the ``gamma``."""
    hue, saturation, value = glyph.convert("RGB").convert("HSV").split()
    hue = hue.point(lambda h: (h + turn) % 256)
    saturation = saturation.point(lambda s: min(255, int(s * strength)))
    if gamma is not None:
        value = value.point(lambda v: int(255 * (v / 255) ** gamma))
    painted = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    painted.putalpha(glyph.getchannel("A"))
    return painted


def tinted(glyph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The drawing with its hues turned by up to 90 degrees and paler or stronger colours.

    All artists paint the same things in the same colours; without this, colour alone would tell the classes apart.
    """
    turn, strength = int(rng.uniform(-90, 90) / 360 * 256), rng.uniform(0.5, 1.1)
    return in_other_colours(glyph, turn, strength)


def recoloured(glyph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As ``tinted``, but any hue, down to nearly grey, and brighter or darker, so that shape alone tells."""
    turn, strength, gamma = int(rng.uniform(0, 256)), rng.uniform(0.3, 1.1), np.exp(rng.uniform(-0.7, 0.7))
    return in_other_colours(glyph, turn, strength, gamma)


def two_coloured(glyph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The drawing in two random colours, one for its dark and one for its light parts, with random contrast.

    One artist paints cats bright and dogs pale, another the other way round; so neither may tell.
    """
    grey, alpha = np.asarray(glyph.convert("L"), dtype=float), np.asarray(glyph.getchannel("A"))
    low, high = np.percentile(grey[alpha > 128], [2, 98])
    light_share = ((grey - low) / max(high - low, 1)).clip(0, 1)[..., None] ** np.exp(rng.uniform(-1, 1))
    dark = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.45)))
    light = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.75, 1.0)))
    painted = Image.fromarray((255 * (dark + light_share * (light - dark))).astype(np.uint8))
    painted.putalpha(glyph.getchannel("A"))
    return painted


def paste_glyph(canvas: Image.Image, glyph: Image.Image, rng, size: float, turn: float, centre=(0.5, 0.5)):
    """Paste one drawing, ``size`` of the canvas wide, mirrored half of the time, turned by up to ``turn`` degrees."""
    if rng.random() < 0.5:
        glyph = glyph.transpose(Image.FLIP_LEFT_RIGHT)
    glyph = glyph.rotate(rng.uniform(-turn, turn), resample=Image.BICUBIC, expand=True)
    side = max(8, int(size * canvas.width))
    glyph = glyph.resize((side, side), Image.LANCZOS)
    corner = tuple(int(c * canvas.width - side / 2) for c in centre)
    canvas.paste(glyph, corner, glyph)


def table_scene(glyph, rng, pixels, _label, colours=tinted):
    """One to three copies on a mottled background, as things lie on a table."""
    canvas, glyph = textured_background(rng, pixels), colours(glyph, rng)
    copies = int(rng.choice([1, 1, 2, 3]))
    for _ in range(copies):
        size = rng.uniform(0.7, 1.0) if copies == 1 else rng.uniform(0.45, 0.65)
        paste_glyph(canvas, glyph, rng, size, 30, centre=rng.uniform(0.3, 0.7, size=2))
    return canvas


def portrait_scene(glyph, rng, pixels, _label):
    """One copy that fills most of a small image, drawn at four times the size and reduced."""
    canvas, glyph = textured_background(rng, 4 * pixels), recoloured(glyph, rng)
    paste_glyph(canvas, glyph, rng, rng.uniform(0.6, 1.0), 25, centre=rng.uniform(0.4, 0.6, size=2))
    return canvas.resize((pixels, pixels), Image.LANCZOS)


def white_scene(glyph, rng, pixels, _label):
    """One copy at any angle on white, as the Fruits-360 photographs show their fruit."""
    canvas = Image.new("RGB", (pixels, pixels), "white")
    paste_glyph(canvas, glyph, rng, rng.uniform(0.8, 1.05), 180)
    return canvas


def leaf_scene(glyph, rng, pixels, label):
    """A close view of a leaf, with the lesions of its disease drawn on it."""
    leaf = glyph.copy()
    lesions = Image.new("RGBA", leaf.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(lesions)
    inside = np.argwhere(np.asarray(leaf)[..., 3] > 200)[:, ::-1]

    def tint(base):
        return (*np.clip(np.array(base) + rng.normal(0, 12, 3), 0, 255).astype(int).tolist(), 255)

    if label == "bean_rust":  # many small round pustules with a yellow halo
        for x, y in rng.choice(inside, size=rng.integers(25, 55)).tolist():
            radius = rng.uniform(2.0, 4.5)
            for r, colour in ((radius * 1.8, tint((214, 190, 70))), (radius, tint((140, 62, 22)))):
                draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)
    elif label == "angular_leaf_spot":  # few larger patches with straight edges, as the veins bound them
        for x, y in rng.choice(inside, size=rng.integers(7, 15)).tolist():
            angles = np.sort(rng.uniform(0, 2 * np.pi, size=rng.integers(4, 6)))
            radii = rng.uniform(8, 19, size=len(angles))
            corners = [(x + r * np.cos(a), y + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]
            draw.polygon(corners, fill=tint((110, 88, 62)), outline=tint((70, 52, 38)))
    lesions = lesions.filter(ImageFilter.GaussianBlur(0.6))
    leaf.paste(lesions, (0, 0), lesions)
    leaf.putalpha(glyph.getchannel("A"))
    canvas = textured_background(rng, pixels, low=50, high=150)
    paste_glyph(canvas, leaf, rng, rng.uniform(1.0, 1.4), 180, centre=rng.uniform(0.45, 0.55, size=2))
    return canvas


SCENES = {
    "table": table_scene,
    "pets": functools.partial(table_scene, colours=two_coloured),
    "portrait": portrait_scene,
    "white": white_scene,
    "leaf": leaf_scene,
}


def make_set(name: str, glyphs: dict[str, dict[str, Image.Image]], root: Path) -> int:
    """Draw one set below ``root`` and return its size in bytes."""
    spec = SETS[name]
    for split, artists in SPLIT_ARTISTS.items():
        for label, drawings in spec["classes"].items():
            folder = root / name / split / label
            folder.mkdir(parents=True)
            choices = [(a, d) for a in artists for d in drawings.values() if d in glyphs[a]]
            for i in range(spec["counts"][split]):
                artist, drawing = choices[i % len(choices)]
                rng = np.random.default_rng([SEED, zlib.crc32(f"{name}/{split}/{label}/{i}".encode())])
                image = SCENES[spec["scene"]](glyphs[artist][drawing], rng, spec["pixels"], label)
                quality = 92 if spec["pixels"] < 64 else 84
                image.convert("RGB").save(folder / f"{i:03d}_{artist}.jpg", quality=quality, optimize=True)
    return sum(f.stat().st_size for f in (root / name).rglob("*.jpg"))


def main() -> None:
    """Draw the sets named on the command line, all by default, and replace those in ``data/samples/``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"sets to draw: {', '.join(SETS)} (default: all)")
    names = parser.parse_args().sets or list(SETS)
    if unknown := set(names) - set(SETS):
        sys.exit(f"Unknown set {', '.join(sorted(unknown))}: choose from {', '.join(SETS)}.")
    glyphs = {artist: read_glyphs(artist) for artist in ARTISTS}
    unfinished = ROOT / "build" / "samples"
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in names:
        size = make_set(name, glyphs, unfinished)
        shutil.rmtree(SAMPLES / name, ignore_errors=True)
        SAMPLES.mkdir(parents=True, exist_ok=True)
        (unfinished / name).rename(SAMPLES / name)
        print(f"{name}: {sum(1 for _ in (SAMPLES / name).rglob('*.jpg'))} images, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"The samples were not drawn: {error}")
