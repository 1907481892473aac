"""Games written in VGDL, a fast engine that plays them, level generators and curricula.

Importing it makes the built-in games known to Gymnasium: ``gymnasium.make("sidle/Zelda-v0")``.
"""

from sidle.ppcg import registration

registration.register()
