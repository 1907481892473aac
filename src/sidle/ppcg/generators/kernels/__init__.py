"""Compiled level generators: one stream of random bits in, one grid of characters out."""
