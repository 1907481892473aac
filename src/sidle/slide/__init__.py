"""Layers with very many inputs and outputs that train in time hardly growing with their number.

from sidle.slide import WideSoftmax
loss = WideSoftmax(128, 1_000_000)(hidden, labels)
"""

from sidle.slide.candidates import Hashing
from sidle.slide.classifier import ExtremeClassifier
from sidle.slide.costs import crossover
from sidle.slide.embedding import SparseEmbedding
from sidle.slide.layers import Report, WideSoftmax

__all__ = [
    "ExtremeClassifier", "Hashing", "Report", "SparseEmbedding", "WideSoftmax", "crossover",
]  # fmt: skip
