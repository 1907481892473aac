"""Play in the browser, record what was played, and watch recordings and agents."""

from sidle.ppcg.play.episode import Episode
from sidle.ppcg.play.recording import Recording, read, replay

__all__ = ["Episode", "Recording", "read", "replay"]
