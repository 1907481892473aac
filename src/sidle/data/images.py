"""Labelled images from public formats, from packed files and from scikit-learn.

All functions share `Images`: pixels of shape (N, H, W, C), uint8, 0 to 255, C = 1 (grey) or 3
(red, green, blue). `load` recognises by its files what a folder holds:

    IDX             train-images-idx3-ubyte[.gz] and three more (MNIST, Fashion-MNIST)
    CIFAR-10        data_batch_1.bin[.gz] to data_batch_5.bin[.gz], test_batch.bin[.gz]
    packed          one .npz file (see `pack`); of several, the largest
    folder tree     train/CLASS/*.png|jpg and test/CLASS/*.png|jpg

The packed form, for each split in train and test: ``{split}_images`` uint8 (N, H, W) or
(N, H, W, C), or in its place ``{split}_jpeg`` uint8 with ``{split}_offsets`` int64 (N + 1),
encoded images (JPEG or PNG) end to end; ``{split}_labels`` integers (N,); and ``class_names``
text (K,).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidle import storage
from sidle.data import archives, pictures, sources
from sidle.errors import ArgumentError, DataError, DataNotFoundError, ShapeError

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_N_DIGITS_TEST = 450
_PACKED_NAMES = (
    "class_names",
    *(f"{split}_{what}" for split in ("train", "test") for what in ("images", "jpeg", "offsets")),
    "train_labels",
    "test_labels",
)
_CIFAR10_PIXELS = 3 * 32 * 32
_MAX_NUMBERED = 2**20  # labels beyond are damage, not classes


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size, each of one class.

    Attributes:
        pixels: shape (N, H, W, C), uint8, C is 1 (grey) or 3 (RGB).
        labels: shape (N,), int64, in [0, len(class_names)).
        class_names: what label k means.

    Raises:
        ShapeError: arrays of other shapes or types.
        ArgumentError: a label without a name.
    """

    pixels: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        pixels, labels = self.pixels, self.labels
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ShapeError(
                "Images: pixels must be uint8 of shape (N, H, W, C) with C = 1 or 3, "
                f"got {pixels.dtype} {pixels.shape}."
            )
        if labels.dtype != np.int64 or labels.shape != pixels.shape[:1]:
            raise ShapeError(
                f"Images: labels must be int64 of shape ({len(pixels)},), one for each image, "
                f"got {labels.dtype} {labels.shape}."
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.class_names):
            raise ArgumentError(
                f"Images: labels must be at least 0 and below {len(self.class_names)}, the "
                f"number of class names, got {labels.min()} to {labels.max()}."
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def digest(self) -> str:
        """Return the SHA-256 of pixels, labels and class names, 64 hexadecimal digits."""
        return storage.digest(self.pixels, self.labels, *self.class_names)


def load(name_or_path: str | Path, *, size: tuple[int, int] | None = None) -> tuple[Images, Images]:
    """Return the training and the test images of a known set, a folder or a packed file.

    Args:
        name_or_path: ``"digits"``, or whatever `sources.resolve` takes.
        size: (height, width) to resize to; only for folder trees, whose images must have one
            size where it is None.

    Raises:
        ArgumentError: ``size`` for anything but a folder tree.
        DataNotFoundError: nothing is there, or no layout that the module lists.
        DataError: a file is malformed.
        StorageError: the operating system refused.
    """
    if name_or_path == "digits":
        return digits()
    path = sources.resolve(name_or_path)
    with storage.refusals_of_disk(path):
        if size is not None and not (path / "train").is_dir():
            raise ArgumentError(
                f"load: size is for folders train/CLASS and test/CLASS; {path} holds images of "
                "one size already. Leave it out."
            )
        if not path.is_dir():
            return read_packed(path)
        if _plain_or_gzip(path, "train-images-idx3-ubyte").is_file():
            return _load_idx(path)
        for folder in (path, path / "cifar-10-batches-bin"):
            if _plain_or_gzip(folder, "data_batch_1.bin").is_file():
                return _load_cifar10(folder)
        if packed := list(path.glob("*.npz")):
            return read_packed(max(packed, key=lambda file: (file.stat().st_size, file.name)))
        if (path / "train").is_dir() and (path / "test").is_dir():
            return _load_tree(path, size)
    raise DataNotFoundError(
        f"{path}: holds no images in a layout that can be recognised. Expected IDX files, "
        "CIFAR-10 binary batches, a packed .npz, or folders train/CLASS and test/CLASS with PNG "
        "or JPEG files."
    )


def digits() -> tuple[Images, Images]:
    """Return the embedded default: scikit-learn's 8x8 handwritten digits, real data.

    The values 0 to 16 of the source are scaled to round(255 v / 16), so that all images of this
    module share one range. The split is by position, as the source gives no order of its own:
    the first 1,347 images train, the last 450 test; all ten classes are in both.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    pixels = np.rint(source.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = source.target.astype(np.int64)
    names = tuple(str(name) for name in source.target_names)
    first, last = slice(None, -_N_DIGITS_TEST), slice(-_N_DIGITS_TEST, None)
    return (
        Images(pixels[first], labels[first], names),
        Images(pixels[last], labels[last], names),
    )


def read_idx(path: str | Path) -> np.ndarray[Any, Any]:
    """Read an array of bytes in the IDX format, plain or gzip.

    The header is 0, 0, 8 (unsigned byte), the number of dimensions, then each dimension as a
    big-endian 32-bit integer (http://yann.lecun.com/exdb/mnist/).

    Returns:
        uint8, of the shape that the header names, with one to four dimensions.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: another magic number; the file holds fewer or more bytes than the header
            says, or could not hold so many.
        StorageError: the operating system refused.
    """
    with archives.content(path) as content:
        magic = content.read(4)
        if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
            raise DataError(
                path,
                f"expected an IDX file of unsigned bytes (00 00 08 and 01 to 04), found "
                f"{magic.hex(' ') or 'nothing'}.",
                "Copy the file again from where it came.",
            )
        header = content.read(4 * magic[3])
        shape = tuple(np.frombuffer(header[: len(header) // 4 * 4], ">u4").tolist())
        n_bytes = math.prod(shape)
        found = f"at most {content.most_bytes}"
        if len(shape) == magic[3] and n_bytes <= content.most_bytes:
            array = np.empty(n_bytes, np.uint8)
            n_read = content.fill(array)
            if n_read == n_bytes and not content.read(1):
                return array.reshape(shape)
            found = f"{n_read}" if n_read < n_bytes else "more"
        raise DataError(
            path,
            f"the header promises {n_bytes} bytes of shape {shape}, but the file holds {found}.",
            "Copy the file again from where it came.",
        )


def read_cifar10_binary(path: str | Path) -> Images:
    """Read one batch of CIFAR-10's binary version, plain or gzip.

    Its rows are one byte for the label, 0 to 9, and 3,072 bytes of pixels: the red, the green
    and the blue channel, each 32x32 row by row (https://www.cs.toronto.edu/~kriz/cifar.html).

    Raises:
        DataNotFoundError: there is no such file.
        DataError: not a whole number of rows, or a label above 9.
        StorageError: the operating system refused.
    """
    row = 1 + _CIFAR10_PIXELS
    with archives.content(path) as content:
        blocks = []
        while block := content.read(row * 1024):
            blocks.append(np.frombuffer(block, np.uint8))
    data = np.concatenate(blocks) if blocks else np.empty(0, np.uint8)
    if data.size == 0 or data.size % row:
        raise DataError(
            path,
            f"expected rows of {row} bytes, found {data.size} bytes.",
            "Copy the file again from where it came.",
        )
    rows = data.reshape(-1, row)
    pixels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    with archives.refused_values(path):
        labels = rows[:, 0].astype(np.int64)
        return Images(np.ascontiguousarray(pixels), labels, CIFAR10_CLASSES)


def read_folder(path: str | Path, *, size: tuple[int, int] | None = None) -> Images:
    """Read a folder with one sub-folder of PNG or JPEG files for each class.

    Classes and files are taken in the order of their names; other files are passed over. The
    images are RGB if any of them has colour, else grey; transparency is dropped.

    Args:
        path: the folder.
        size: (height, width) to resize to, bilinear; where None, all must have one size.

    Raises:
        ArgumentError: ``size`` is not two positive integers.
        DataNotFoundError: there is no such folder.
        DataError: no classes, a class without images, an image that is damaged, of another
            size, or larger than `pictures.MAX_PIXELS`.
        StorageError: the operating system refused.
    """
    path = Path(path)
    if size is not None and not (len(size) == 2 and min(size) >= 1):
        raise ArgumentError(f"read_folder: size must be two positive integers, got {size}.")
    with storage.refusals_of_disk(path):
        if not path.is_dir():
            raise DataNotFoundError(f"{path}: there is no such folder. Check the path.")
        classes = sorted(entry for entry in path.iterdir() if entry.is_dir())
        files = [pictures.find(folder) for folder in classes]
    remedy = "Put the images of each class into a folder of its own."
    if not classes:
        raise DataError(path, "expected a folder for each class, found none.", remedy)
    for folder, inside in zip(classes, files, strict=True):
        if not inside:
            raise DataError(folder, "expected PNG or JPEG files, found none.", remedy)
    decoded = pictures.decode_files([file for inside in files for file in inside], size)
    labels = np.repeat(np.arange(len(classes)), [len(inside) for inside in files])
    return Images(decoded, labels.astype(np.int64), tuple(folder.name for folder in classes))


def read_packed(path: str | Path) -> tuple[Images, Images]:
    """Read training and test images from a packed file (see the module).

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it is damaged, lacks an array, or holds one that does not fit.
        StorageError: the operating system refused.
    """
    arrays = archives.read_npz(path, _PACKED_NAMES)
    labels = [
        archives.column(path, arrays, f"{split}_labels", "iu").astype(np.int64)
        for split in ("train", "test")
    ]
    if "class_names" in arrays:
        names = tuple(archives.column(path, arrays, "class_names", "U").tolist())
    else:
        names = _numbered(labels)
    train, test = (
        _packed_split(path, arrays, split, split_labels, names)
        for split, split_labels in zip(("train", "test"), labels, strict=True)
    )
    return train, test


def pack(train: Images, test: Images, path: str | Path) -> None:
    """Write both splits to the packed file ``path``, whole or not at all.

    Raises:
        ArgumentError: the two have other class names.
        StorageError: the disk refused; ``path`` keeps its old content.
    """
    if train.class_names != test.class_names:
        raise ArgumentError(
            "pack: train and test must have the same class names, got "
            f"{train.class_names} and {test.class_names}."
        )
    arrays = {"class_names": np.array(train.class_names, dtype=np.str_)}
    for split, images in (("train", train), ("test", test)):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images.pixels, images.labels
    archives.write_npz(path, arrays)


def _load_idx(folder: Path) -> tuple[Images, Images]:
    arrays = {}
    for split in ("train", "t10k"):
        for content, ndim in (("images-idx3", 3), ("labels-idx1", 1)):
            path = _plain_or_gzip(folder, f"{split}-{content}-ubyte")
            array = arrays[split, ndim] = read_idx(path)
            if array.ndim != ndim:
                raise DataError(
                    path, f"expected {ndim} dimensions, found {array.ndim}.", "Rename the files."
                )
    labels = [arrays[split, 1].astype(np.int64) for split in ("train", "t10k")]
    # IDX files carry no names of classes; these are told by the name of the set.
    names = FASHION_MNIST_CLASSES if folder.name == "fashion_mnist" else _numbered(labels)
    with archives.refused_values(folder):
        train, test = (
            Images(arrays[split, 3][..., None], split_labels, names)
            for split, split_labels in zip(("train", "t10k"), labels, strict=True)
        )
    return train, test


def _load_cifar10(folder: Path) -> tuple[Images, Images]:
    batches = [
        read_cifar10_binary(_plain_or_gzip(folder, f"{name}.bin"))
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    ]
    *batches, test = batches
    pixels = np.concatenate([batch.pixels for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    return Images(pixels, labels, CIFAR10_CLASSES), test


def _load_tree(path: Path, size: tuple[int, int] | None) -> tuple[Images, Images]:
    train, test = read_folder(path / "train", size=size), read_folder(path / "test", size=size)
    if train.class_names != test.class_names or train.pixels.shape[1:] != test.pixels.shape[1:]:
        raise DataError(
            path,
            "train and test must have the same classes and images of one shape, found "
            f"{train.class_names} {train.pixels.shape[1:]} and "
            f"{test.class_names} {test.pixels.shape[1:]}.",
            "Make the folders alike, or give size=(height, width).",
        )
    return train, test


def _packed_split(
    path: str | Path,
    arrays: Mapping[str, Any],
    split: str,
    labels: np.ndarray[Any, Any],
    names: tuple[str, ...],
) -> Images:
    if f"{split}_jpeg" in arrays:
        encoded = archives.column(path, arrays, f"{split}_jpeg", "u")
        offsets = archives.column(path, arrays, f"{split}_offsets", "iu").astype(np.int64)
        pixels = pictures.decode_packed(path, encoded, offsets)
    else:
        ndim = np.ndim(arrays.get(f"{split}_images", np.empty((0, 0, 0, 0))))
        pixels = archives.column(path, arrays, f"{split}_images", "u", 3 if ndim == 3 else 4)
        pixels = pixels[..., None] if ndim == 3 else pixels
    with archives.refused_values(path):
        return Images(pixels, labels, names)


def _numbered(labels: Sequence[np.ndarray[Any, Any]]) -> tuple[str, ...]:
    """Return "0", "1", ... up to the largest of ``labels``, at most as many as it has names for."""
    largest = max((int(part.max()) for part in labels if part.size), default=-1)
    return tuple(str(label) for label in range(min(largest + 1, _MAX_NUMBERED)))


def _plain_or_gzip(folder: Path, name: str) -> Path:
    """Return the path of the file ``name``, with ``.gz`` where only that is there."""
    plain, compressed = folder / name, folder / f"{name}.gz"
    return compressed if compressed.is_file() and not plain.is_file() else plain
