"""What the synthetic voice can say: phones with formants, bandwidths and noise levels.

Vowels are the averages of 33 men, [PB] table II. Consonants are the values for syllables before
front vowels, [K] table III; bandwidths of vowels are the defaults of [K] table I. Names are those
of TIMIT, save that silence is "sil". Durations are round numbers of ours.
References: [PB] Peterson and Barney 1952, J. Acoust. Soc. Am. 24, 175-184; [K] Klatt 1980,
J. Acoust. Soc. Am. 67, 971-995.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["vowel", "approximant", "nasal", "fricative", "plosive", "silence"]


@dataclass(frozen=True)
class Phone:
    """One speech sound of an adult man.

    Attributes:
        name: as in TIMIT.
        kind: how it is articulated.
        voiced: whether the vocal folds vibrate.
        formants: F1, F2, F3 in Hz.
        bandwidths: B1, B2, B3 in Hz.
        seconds: average duration.
        noise: levels of the turbulence, in dB as in [K]: through the resonances F2, F3, F4, F5,
            F6 and unfiltered; ``SILENT`` is off.
    """

    name: str
    kind: Kind
    voiced: bool
    formants: tuple[float, float, float]
    bandwidths: tuple[float, float, float]
    seconds: float
    noise: tuple[float, ...] = ()


SILENT = -999.0  # dB
_OFF = SILENT
_VOWEL_BANDWIDTHS = (50.0, 70.0, 110.0)
_NEUTRAL = (450.0, 1450.0, 2450.0)  # defaults of [K] table I


def _vowel(name: str, f1: float, f2: float, f3: float) -> Phone:
    return Phone(name, "vowel", True, (f1, f2, f3), _VOWEL_BANDWIDTHS, 0.13)


PHONES = (
    Phone("sil", "silence", False, _NEUTRAL, _VOWEL_BANDWIDTHS, 0.12),
    _vowel("iy", 270, 2290, 3010),
    _vowel("ih", 390, 1990, 2550),
    _vowel("eh", 530, 1840, 2480),
    _vowel("ae", 660, 1720, 2410),
    _vowel("aa", 730, 1090, 2440),
    _vowel("ao", 570, 840, 2410),
    _vowel("uh", 440, 1020, 2240),
    _vowel("uw", 300, 870, 2240),
    _vowel("ah", 640, 1190, 2390),
    _vowel("er", 490, 1350, 1690),
    Phone("w", "approximant", True, (290, 610, 2150), (50, 80, 60), 0.07),
    Phone("y", "approximant", True, (260, 2070, 3020), (40, 250, 500), 0.07),
    Phone("r", "approximant", True, (310, 1060, 1380), (70, 100, 120), 0.07),
    Phone("l", "approximant", True, (310, 1050, 2880), (50, 100, 280), 0.07),
    Phone("m", "nasal", True, (480, 1270, 2130), (40, 200, 200), 0.08),
    Phone("n", "nasal", True, (480, 1340, 2470), (40, 300, 300), 0.08),
    Phone(
        "f", "fricative", False, (340, 1100, 2080), (200, 120, 150), 0.11,
        (_OFF, _OFF, _OFF, _OFF, _OFF, 57),
    ),
    Phone(
        "v", "fricative", True, (220, 1100, 2080), (60, 90, 120), 0.09,
        (_OFF, _OFF, _OFF, _OFF, _OFF, 57),
    ),
    Phone(
        "th", "fricative", False, (320, 1290, 2540), (200, 90, 200), 0.11,
        (_OFF, _OFF, _OFF, _OFF, 28, 48),
    ),
    Phone(
        "dh", "fricative", True, (270, 1290, 2540), (60, 80, 170), 0.08,
        (_OFF, _OFF, _OFF, _OFF, 28, 48),
    ),
    Phone(
        "s", "fricative", False, (320, 1390, 2530), (200, 80, 200), 0.12,
        (_OFF, _OFF, _OFF, _OFF, 52, _OFF),
    ),
    Phone(
        "z", "fricative", True, (240, 1390, 2530), (70, 60, 180), 0.10,
        (_OFF, _OFF, _OFF, _OFF, 52, _OFF),
    ),
    Phone(
        "sh", "fricative", False, (300, 1840, 2750), (200, 100, 300), 0.12,
        (_OFF, 57, 48, 48, 46, _OFF),
    ),
    Phone(
        "p", "plosive", False, (400, 1100, 2150), (300, 150, 220), 0.11,
        (_OFF, _OFF, _OFF, _OFF, _OFF, 63),
    ),
    Phone(
        "b", "plosive", True, (200, 1100, 2150), (60, 110, 130), 0.09,
        (_OFF, _OFF, _OFF, _OFF, _OFF, 63),
    ),
    Phone(
        "t", "plosive", False, (400, 1600, 2600), (300, 120, 250), 0.11,
        (_OFF, 30, 45, 57, 63, _OFF),
    ),
    Phone(
        "d", "plosive", True, (200, 1600, 2600), (60, 100, 170), 0.09,
        (_OFF, 47, 60, 62, 60, _OFF),
    ),
    Phone(
        "k", "plosive", False, (300, 1990, 2850), (250, 160, 330), 0.11,
        (_OFF, 53, 43, 45, 45, _OFF),
    ),
    Phone(
        "g", "plosive", True, (200, 1990, 2850), (60, 150, 280), 0.09,
        (_OFF, 53, 43, 45, 45, _OFF),
    ),
)  # fmt: skip
"""All phones; their order numbers them."""

PHONE_NAMES = tuple(phone.name for phone in PHONES)
SILENCE = 0
VOWELS = tuple(k for k, phone in enumerate(PHONES) if phone.kind == "vowel")
CONSONANTS = tuple(k for k, phone in enumerate(PHONES) if phone.kind not in ("vowel", "silence"))
