"""Pictures of tiles, drawn by our own code."""

from sidle.ppcg.pictures.catalogue import (
    FACINGS,
    PICTURES,
    Look,
    ground_of,
    looks,
    oversights,
    pixels,
)

__all__ = ["FACINGS", "PICTURES", "Look", "ground_of", "looks", "oversights", "pixels"]
