"""sidle: learn what can be told apart, scale it, and check what was learned.

Rooms: `sidle.mi` (mutual information). Ground: `sidle.data`, `sidle.evaluation`,
`sidle.training`, `sidle.runs`, `sidle.checkpoint`. Each is imported by its own name; this
package imports none of them, so ``import sidle`` is instant.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("sidle")
