"""Compiled code of `sidle.data`; each module lies under the face that has its name."""
