"""Layers with very many inputs and outputs that train in time hardly growing with their number.

from sidle.slide import WideSoftmax
loss = WideSoftmax(128, 1_000_000)(hidden, labels)
"""

from sidle.slide.embedding import SparseEmbedding
from sidle.slide.layers import WideSoftmax

__all__ = ["SparseEmbedding", "WideSoftmax"]
