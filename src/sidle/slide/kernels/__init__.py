"""Compiled code of `sidle.slide`; each module lies under the face that uses it."""
