"""Every word of the Toybox in one place: kinds, colours, finishes, sizes, places, relations.

The first word of each tuple is the canonical name; the others are what people also say.
"""

from __future__ import annotations

KINDS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "sphere", "marble"),
    "cube": ("cube", "box", "block"),
    "cone": ("cone", "traffic cone"),
    "donut": ("donut", "doughnut", "ring", "torus"),
    "mug": ("mug", "cup", "coffee mug"),
    "snowman": ("snowman",),
    "mushroom": ("mushroom", "toadstool"),
    "tree": ("tree", "fir tree", "pine"),
    "house": ("house", "cottage", "hut", "home"),
    "rocket": ("rocket", "spaceship", "rocket ship"),
    "car": ("car", "automobile", "toy car"),
    "chair": ("chair", "seat"),
    "table": ("table", "desk"),
    "duck": ("duck", "rubber duck", "duckling"),
    "cactus": ("cactus",),
    "cat": ("cat", "kitten", "kitty"),
    "fish": ("fish", "goldfish"),
    "flower": ("flower", "blossom", "daisy"),
    "boat": ("boat", "sailboat", "ship"),
    "plane": ("plane", "airplane", "aeroplane", "aircraft"),
    "robot": ("robot", "droid", "android"),
    "lamp": ("lamp", "table lamp", "desk lamp"),
    "castle": ("castle", "fortress"),
    "apple": ("apple",),
    "dog": ("dog", "puppy", "doggy"),
    "bird": ("bird", "sparrow"),
    "train": ("train", "locomotive", "steam engine"),
    "cake": ("cake", "birthday cake"),
    "bear": ("bear", "teddy bear", "teddy"),
    "bridge": ("bridge", "arch bridge"),
    "umbrella": ("umbrella", "parasol"),
    "candle": ("candle",),
    # Held out of every training picture and caption: see HELD_OUT.
    "teapot": ("teapot",),
    "guitar": ("guitar",),
    "hat": ("hat", "top hat"),
    "penguin": ("penguin",),
    # Younger than the shipped weights: they come last, so that the indices of the others stay.
    "turtle": ("turtle", "tortoise"),  # held out too
    "truck": ("truck", "lorry"),
    "bicycle": ("bicycle", "bike"),
    "bed": ("bed",),
    "rabbit": ("rabbit", "bunny", "hare"),
    "horse": ("horse", "pony"),
    "sofa": ("sofa", "couch"),
    "clock": ("clock", "alarm clock"),
    "elephant": ("elephant",),
}

HELD_OUT: tuple[str, ...] = ("teapot", "guitar", "hat", "penguin", "turtle")
"""Kinds that no starter model has ever seen: the subjects of personalisation tests."""

TRAINED: tuple[str, ...] = tuple(kind for kind in KINDS if kind not in HELD_OUT)
"""Kinds that may be trained on."""

FIRST_RELEASE: tuple[str, ...] = TRAINED[:24]
"""Kinds that the shipped base model was trained on (see its model card)."""

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "lemon yellow"),
    "green": ("green", "emerald"),
    "turquoise": ("turquoise", "teal", "cyan"),
    "blue": ("blue", "cobalt blue", "royal blue"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose pink"),
    "brown": ("brown", "chocolate brown"),
    "black": ("black", "jet black"),
    "grey": ("grey", "gray"),
    "white": ("white", "snow white"),
}

# Linear RGB albedo of each colour.
ALBEDO: dict[str, tuple[float, float, float]] = {
    "red": (0.72, 0.025, 0.03),
    "orange": (0.90, 0.24, 0.01),
    "yellow": (0.90, 0.68, 0.02),
    "green": (0.04, 0.42, 0.05),
    "turquoise": (0.02, 0.55, 0.52),
    "blue": (0.02, 0.08, 0.70),
    "purple": (0.27, 0.03, 0.50),
    "pink": (0.95, 0.28, 0.50),
    "brown": (0.19, 0.075, 0.025),
    "black": (0.012, 0.012, 0.014),
    "grey": (0.23, 0.23, 0.24),
    "white": (0.90, 0.90, 0.88),
}

FINISHES: dict[str, tuple[str, ...]] = {
    "matte": ("", "matte", "plain"),
    "metal": ("metallic", "shiny metal", "chrome"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted", "polka dot"),
}

SIZES: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("",),
    "large": ("large", "big", "huge"),
}

SIZE_SCALE: dict[str, float] = {"small": 0.74, "medium": 1.0, "large": 1.24}

PLACES: dict[str, tuple[str, ...]] = {
    "grass": ("on the grass", "on a lawn", "in a meadow", "on a green field", "in the garden"),
    "sand": ("on the sand", "on a beach", "on the beach", "in the desert", "at the seaside"),
    "snow": ("in the snow", "on the snow", "in winter", "on a snowy field"),
    "wood": ("on a wooden floor", "on wooden planks", "on the parquet", "on a wooden table top"),
    "tiles": ("on a tiled floor", "on checkered tiles", "on the kitchen floor", "on tiles"),
    "night": ("at night", "in the moonlight", "in the dark", "under the night sky"),
    "sunset": ("at sunset", "in the evening sun", "at dusk", "at sundown"),
    "studio": (
        "in a studio",
        "on a plain background",
        "on a white background",
        "in a photo studio",
    ),
    "fog": ("in the fog", "on a foggy day", "in the mist", "on a misty morning"),
}

COUNTS: dict[int, tuple[str, ...]] = {
    2: ("two", "2", "a pair of", "two identical"),
    3: ("three", "3", "a row of three", "three identical"),
}
"""How many toys that look the same."""

UNREAD: frozenset[str] = frozenset({"at the seaside"})
"""Ways to say something that the shipped weights have not been trained on yet, as numbers and
plurals are."""

RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "in front of": ("in front of", "before"),
    "behind": ("behind", "in the back of"),
    "on top of": ("on top of", "on", "standing on"),
}

INVERSE: dict[str, str] = {
    "left of": "right of",
    "right of": "left of",
    "in front of": "behind",
    "behind": "in front of",
    "on top of": "under",
}

FLAT_TOPS: tuple[str, ...] = ("cube", "table", "house", "cake")
"""Kinds on which another toy can stand."""

_PLURALS = {
    "fish": "fish",
    "goldfish": "goldfish",
    "aircraft": "aircraft",
    "snowman": "snowmen",
    "cactus": "cacti",
}


def plural_of(words: str) -> str:
    """The plural of what a kind is called, which its last word has.

    >>> plural_of("traffic cone"), plural_of("puppy"), plural_of("torus")
    ('traffic cones', 'puppies', 'toruses')
    """
    before, space, noun = words.rpartition(" ")
    if noun in _PLURALS:
        noun = _PLURALS[noun]
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        noun = f"{noun[:-1]}ies"
    elif noun.endswith(("s", "x", "sh", "ch")):
        noun += "es"
    else:
        noun += "s"
    return before + space + noun
