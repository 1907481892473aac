import gzip
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.damage import damaged, refuses_or_reads, shared
from sidle.data import images, pictures
from sidle.data.images import Images
from sidle.errors import ArgumentError, DataError, DataNotFoundError, ShapeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


def generator():
    return np.random.default_rng(0)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.tobytes()


def some(n=6, height=5, width=4, channels=3, classes=("cat", "dog")):
    pixels = generator().integers(0, 256, (n, height, width, channels), np.uint8)
    return Images(pixels, np.arange(n) % len(classes), tuple(classes))


def same(left, right):
    return left.digest() == right.digest()


def encoded(array, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def packed(folder, name="set.npz", drop=(), **changes):
    arrays = {
        "train_images": some().pixels,
        "train_labels": some().labels,
        "test_images": some(4).pixels,
        "test_labels": some(4).labels,
        "class_names": np.array(["cat", "dog"]),
        **changes,
    }
    np.savez(folder / name, **{key: value for key, value in arrays.items() if key not in drop})
    return folder / name


def in_jpeg_form(pictures):
    content = np.frombuffer(b"".join(pictures), np.uint8)
    return content, np.cumsum([0, *(len(picture) for picture in pictures)])


# Images


@pytest.mark.parametrize(
    ("pixels", "labels", "error"),
    [
        (np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64), ShapeError),
        (np.zeros((2, 3, 3, 2), np.uint8), np.zeros(2, np.int64), ShapeError),
        (np.zeros((2, 3, 3, 1), np.float32), np.zeros(2, np.int64), ShapeError),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(3, np.int64), ShapeError),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int32), ShapeError),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, 2]), ArgumentError),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, -1]), ArgumentError),
    ],
)
def test_images_that_do_not_fit_are_refused(pixels, labels, error):
    with pytest.raises(error, match=r"^Images: "):
        Images(pixels, labels, ("a", "b"))


def test_digest_depends_on_everything():
    base = some()
    other = [
        Images(base.pixels ^ 1, base.labels, base.class_names),
        Images(base.pixels, 1 - base.labels, base.class_names),
        Images(base.pixels, base.labels, ("dog", "cat")),
        Images(base.pixels.reshape(6, 4, 5, 3), base.labels, base.class_names),
    ]
    digests = {images.digest() for images in [base, *other]}
    assert len(digests) == 5
    assert same(base, some())
    assert len(base) == 6


# IDX


@pytest.mark.parametrize("shape", [(7,), (3, 2), (2, 3, 4), (2, 2, 2, 2), (0, 28, 28)])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_reads_idx(tmp_path, shape, compress):
    array = generator().integers(0, 256, shape, np.uint8)
    path = tmp_path / "a-ubyte"
    path.write_bytes(compress(idx(array)))
    read = images.read_idx(path)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.uint8


GREY = idx(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found nothing"),
        (b"\0\0\x08", "found 00 00 08"),
        (b"\x89PNG and so on", "found 89 50 4e 47"),
        (b"\0\0\x0d" + GREY[3:], "found 00 00 0d 03"),  # 32-bit floats
        (b"\0\0\x08\x05" + GREY[4:], "found 00 00 08 05"),
        (GREY[:10], r"of shape \(5,\), but the file holds at most 10"),
        (GREY[:-1], "promises 60 bytes of shape .5, 4, 3., but the file holds 59"),
        (GREY + b"x", "but the file holds more"),
        (GREY[:4] + b"\xff" * 12 + GREY[16:], "but the file holds at most 76"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_malformed_idx_is_refused(tmp_path, content, message, compress):
    path = tmp_path / "a-ubyte"
    path.write_bytes(compress(content))
    if compress is gzip.compress:
        message = message.replace("at most 76", "at most").replace("at most 10", "")
    with pytest.raises(DataError, match=message) as refused:
        images.read_idx(path)
    assert str(path) in str(refused.value)


def test_a_lying_idx_header_takes_no_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    # 60 MB within the bound of any file, but more than deflate can put into one so small.
    path.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 60_000_000)))
    tracemalloc.start()
    with pytest.raises(DataError, match="promises 60000000 bytes"):
        images.read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_cut_gzip_is_refused(tmp_path):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(GREY)[:-9])
    with pytest.raises(DataError, match="damaged or cut off"):
        images.read_idx(path)


def idx_folder(folder, changes=None):
    folder.mkdir(exist_ok=True)
    rng = generator()
    arrays = {
        "train-images-idx3": rng.integers(0, 256, (5, 4, 3), np.uint8),
        "train-labels-idx1": np.array([0, 1, 2, 1, 0], np.uint8),
        "t10k-images-idx3": rng.integers(0, 256, (2, 4, 3), np.uint8),
        "t10k-labels-idx1": np.array([2, 1], np.uint8),
    } | (changes or {})
    for name, array in arrays.items():
        compress, suffix = (gzip.compress, ".gz") if "images" in name else (bytes, "")
        (folder / f"{name}-ubyte{suffix}").write_bytes(compress(idx(array)))
    return folder


def test_load_recognises_idx(tmp_path):
    train, test = images.load(idx_folder(tmp_path / "own"))
    assert (train.pixels.shape, test.pixels.shape) == ((5, 4, 3, 1), (2, 4, 3, 1))
    assert train.labels.tolist() == [0, 1, 2, 1, 0]
    assert train.class_names == test.class_names == ("0", "1", "2")
    train, _ = images.load(idx_folder(tmp_path / "fashion_mnist"))
    assert train.class_names[9] == "Ankle boot"


def test_idx_files_that_do_not_fit_are_refused(tmp_path):
    swapped = idx_folder(tmp_path / "a", {"train-labels-idx1": np.zeros((5, 4, 3), np.uint8)})
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: expected 1 dimensions, found 3"):
        images.load(swapped)
    fewer = idx_folder(tmp_path / "b", {"t10k-labels-idx1": np.zeros(3, np.uint8)})
    with pytest.raises(DataError, match=r"b: Images: labels must be int64 of shape \(2,\)"):
        images.load(fewer)
    (tmp_path / "b" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataNotFoundError, match=r"t10k-labels-idx1-ubyte: there is no such file"):
        images.load(fewer)


# CIFAR-10


def cifar_rows(n=3):
    rng = generator()
    labels, pixels = rng.integers(0, 10, n, np.uint8), rng.integers(0, 256, (n, 3072), np.uint8)
    return labels, pixels, np.hstack([labels[:, None], pixels]).tobytes()


def test_reads_cifar10_binary(tmp_path):
    labels, pixels, content = cifar_rows(3000)
    path = tmp_path / "data_batch_1.bin"
    for compress in (bytes, gzip.compress):
        path.write_bytes(compress(content))
        batch = images.read_cifar10_binary(path)
        np.testing.assert_array_equal(batch.labels, labels)
        # Row by row: red, green and blue are each a picture of their own.
        for channel in range(3):
            expected = pixels[7, 1024 * channel : 1024 * (channel + 1)].reshape(32, 32)
            np.testing.assert_array_equal(batch.pixels[7, :, :, channel], expected)


@pytest.mark.parametrize("where", [".", "cifar-10-batches-bin"])
def test_load_recognises_cifar10(tmp_path, where):
    inside = tmp_path / where
    inside.mkdir(exist_ok=True)
    labels, _, content = cifar_rows(2)
    last = b"\x03" + bytes(3072)
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "test_batch"):
        (inside / f"{name}.bin").write_bytes(content)
    with pytest.raises(DataNotFoundError, match=r"data_batch_5.bin: there is no such file"):
        images.load(tmp_path)
    (inside / "data_batch_5.bin").write_bytes(last)
    train, test = images.load(tmp_path)
    assert train.labels.tolist() == [*(labels.tolist() * 4), 3]
    assert (train.pixels[8] == 0).all()
    assert test.labels.tolist() == labels.tolist()
    assert train.class_names[3] == "cat"
    for path in list(inside.iterdir()):
        path.with_suffix(".bin.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert same(images.load(tmp_path)[0], train)


def test_malformed_cifar10_is_refused(tmp_path):
    path = tmp_path / "b.bin"
    for content, message in (
        (b"", "found 0 bytes"),
        (cifar_rows()[2][:-1], "expected rows of 3073 bytes, found 9218"),
        (b"\x0a" + cifar_rows()[2][1:], "below 10"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            images.read_cifar10_binary(path)


# Packed files


@pytest.mark.parametrize("channels", [1, 3])
def test_pack_and_load_give_the_same_images(tmp_path, channels):
    train, test = some(channels=channels), some(4, channels=channels)
    path = tmp_path / "deeper" / "set.npz"
    images.pack(train, test, path)
    read = images.load(path)
    assert same(train, read[0])
    assert same(test, read[1])
    assert [file.name for file in path.parent.iterdir()] == ["set.npz"]
    assert same(images.load(path.parent)[0], train)
    with pytest.raises(ArgumentError, match="same class names"):
        images.pack(train, some(classes=("a", "b", "c")), path)


def test_of_several_packed_files_the_largest_is_read(tmp_path):
    images.pack(some(2), some(2), tmp_path / "z_small.npz")
    images.pack(some(60), some(2), tmp_path / "a_large.npz")
    assert len(images.load(tmp_path)[0]) == 60


def test_packed_grey_images_may_lack_channels_and_names(tmp_path):
    path = packed(tmp_path, train_images=some(channels=1).pixels[..., 0], drop=["class_names"])
    train, test = images.load(path)
    assert train.pixels.shape == (6, 5, 4, 1)
    assert train.class_names == test.class_names == ("0", "1")


def test_reads_encoded_pictures(tmp_path):
    train = some()
    content, offsets = in_jpeg_form([encoded(array) for array in train.pixels])
    path = packed(tmp_path, train_jpeg=content, train_offsets=offsets, drop=["train_images"])
    assert same(images.load(path)[0], train)  # PNG loses nothing
    smooth = np.broadcast_to(np.arange(0, 160, 5, np.uint8)[:, None], (32, 32))
    content, offsets = in_jpeg_form([encoded(smooth, "JPEG")] * 6)
    path = packed(tmp_path, train_jpeg=content, train_offsets=offsets)
    read = images.load(path)[0].pixels
    assert read.shape == (6, 32, 32, 1)
    assert np.abs(read[0, :, :, 0].astype(int) - smooth).max() < 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": ["train_labels"]}, "expected an array 'train_labels'"),
        ({"drop": ["test_images"]}, "expected an array 'test_images'"),
        ({"train_labels": np.arange(6) % 3}, "below 2"),
        ({"train_labels": np.arange(5)}, r"int64 of shape \(6,\)"),
        ({"train_labels": np.arange(6.0)}, "'train_labels' must be integer"),
        ({"train_images": np.zeros((6, 4))}, "'train_images' must be integer with 4"),
        ({"train_images": np.zeros((6, 4, 4, 3), np.uint16)}, "must be uint8"),
        ({"train_images": np.zeros((6, 4, 4, 2), np.uint8)}, "C = 1 or 3"),
        ({"class_names": np.array([1, 2])}, "'class_names' must be text"),
        ({"train_labels": np.array([{}] * 6)}, "objects would have to be unpickled"),
    ],
)
def test_malformed_packed_files_are_refused(tmp_path, changes, message):
    path = packed(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as refused:
        images.load(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "offsets", [[0, 50, 40, 60], [0, 10, 20, 10**9], [5, 10, 20, 30], [-1, 0, 1, 2], []]
)
def test_offsets_that_do_not_fit_are_refused(tmp_path, offsets):
    content, good = in_jpeg_form([encoded(array) for array in some(3).pixels])
    assert good[-1] > 60
    path = packed(
        tmp_path,
        train_jpeg=content,
        train_offsets=np.array(offsets, np.int64),
        train_labels=[0] * 3,
    )
    with pytest.raises(DataError, match=r"offsets must"):
        images.load(path)


def png_header(width, height):
    """A PNG that promises a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def test_bombs_among_encoded_pictures_are_refused(tmp_path):
    flat = encoded(np.zeros((4000, 4000), np.uint8), compress_level=9)
    assert len(flat) < 20_000
    for bombs, message in (
        ([png_header(5000, 5000)], "5000x5000 pixels"),
        ([png_header(60_000, 60_000)], "damaged"),  # Pillow's own guard
        ([flat] * 6, "over 100 times the size of their files"),
    ):
        content, offsets = in_jpeg_form(bombs)
        labels = np.zeros(len(bombs), np.int64)
        path = packed(tmp_path, train_jpeg=content, train_offsets=offsets, train_labels=labels)
        with pytest.raises(DataError, match=message):
            images.load(path)


# Folder trees


def tree(folder, arrays, kind="PNG"):
    """Write ``arrays``, split/class/name to pixels, as picture files."""
    for name, array in arrays.items():
        path = folder / f"{name}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(array, kind))
    return folder


def test_reads_a_folder_tree(tmp_path):
    pixels = some(5, channels=3).pixels
    names = ["train/dog/b", "train/dog/a", "train/cat/c", "test/cat/x", "test/dog/y"]
    tree(tmp_path, dict(zip(names, pixels, strict=True)))
    (tmp_path / "train" / "cat" / "notes.txt").write_text("passed over")
    train, test = images.load(tmp_path)
    assert train.class_names == ("cat", "dog")
    assert train.labels.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(train.pixels, pixels[[2, 1, 0]])
    np.testing.assert_array_equal(test.pixels, pixels[[3, 4]])


def test_grey_and_colour_mix_to_colour(tmp_path):
    grey, colour = some(channels=1).pixels[0, :, :, 0], some().pixels[0]
    tree(tmp_path, {"a/1": grey, "a/2": colour, "a/3": colour[..., :1].repeat(4, 2)})
    read = images.read_folder(tmp_path)
    assert read.pixels.shape == (3, 5, 4, 3)
    np.testing.assert_array_equal(read.pixels[0], grey[..., None].repeat(3, 2))
    np.testing.assert_array_equal(read.pixels[2], colour[..., :1].repeat(3, 2))  # alpha dropped
    tree(tmp_path / "grey", {"a/1": grey})
    assert images.read_folder(tmp_path / "grey").pixels.shape == (1, 5, 4, 1)


def test_sizes_must_agree_unless_one_is_given(tmp_path):
    flat = {name: np.full(shape, 77, np.uint8) for name, shape in (("1", (8, 6)), ("2", (4, 4)))}
    tree(tmp_path, {f"{split}/a/{n}": flat[n] for split in ("train", "test") for n in flat})
    with pytest.raises(DataError, match=r"a/2.png: expected 8x6 pixels .* found 4x4. Give size"):
        images.load(tmp_path)
    train, _ = images.load(tmp_path, size=(3, 5))
    assert train.pixels.shape == (2, 3, 5, 1)
    assert (train.pixels == 77).all()
    for size in ((0, 3), (3,)):
        with pytest.raises(ArgumentError, match="two positive integers"):
            images.load(tmp_path, size=size)


def test_malformed_trees_are_refused(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such folder"):
        images.read_folder(tmp_path / "absent")
    with pytest.raises(DataError, match="a folder for each class, found none"):
        images.read_folder(tmp_path)
    (tmp_path / "train" / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match="empty: expected PNG or JPEG files, found none"):
        images.read_folder(tmp_path / "train")
    (tmp_path / "train" / "empty" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a.png: the content is damaged"):
        images.read_folder(tmp_path / "train")
    (tmp_path / "train" / "empty" / "a.png").write_bytes(encoded(np.zeros((2, 2), np.uint16)))
    with pytest.raises(DataError, match="mode I;16 is not read"):
        images.read_folder(tmp_path / "train")
    tree(tmp_path, {"test/other/a": np.zeros((2, 2), np.uint8)})
    tree(tmp_path, {"train/empty/a": np.zeros((2, 2), np.uint8)})
    with pytest.raises(DataError, match="must have the same classes"):
        images.load(tmp_path)


def test_load_says_what_it_can_recognise(tmp_path):
    with pytest.raises(DataNotFoundError, match="holds no images in a layout"):
        images.load(tmp_path)
    (tmp_path / "a.txt").write_text("no images")
    with pytest.raises(DataError, match="damaged"):
        images.load(tmp_path / "a.txt")
    images.pack(some(), some(), tmp_path / "a.npz")
    with pytest.raises(ArgumentError, match="Leave it out"):
        images.load(tmp_path, size=(3, 3))


# The embedded and the shared sets


def test_digits_are_the_embedded_default():
    train, test = images.load("digits")
    assert (train.pixels.shape, test.pixels.shape) == ((1347, 8, 8, 1), (450, 8, 8, 1))
    assert set(np.unique(train.pixels)) == {round(255 * v / 16) for v in range(17)}
    assert train.class_names == tuple("0123456789")
    for split in (train, test):
        counts = np.bincount(split.labels)
        assert counts.min() / counts.max() > 0.8
    assert train.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_shared_mnist_has_its_published_statistics():
    train, test = images.load(shared("mnist"))
    assert (train.pixels.shape, test.pixels.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    values, counts = np.arange(256), np.bincount(train.pixels.reshape(-1), minlength=256)
    mean = (values * counts).sum() / counts.sum()
    deviation = np.sqrt(((values - mean) ** 2 * counts).sum() / counts.sum())
    assert (round(mean, 3), round(deviation, 3)) == (33.318, 78.567)


def test_the_two_forms_of_shared_cifar10_agree():
    path = shared("cifar10", "cifar10_u8_small.npz")
    small, _ = images.load(path)
    assert small.pixels.shape == (4000, 32, 32, 3)
    arrays = np.load(shared("cifar10", "cifar10_jpeg.npz"))
    rows = np.load(path)["train_index"][:50]
    content, offsets = arrays["train_jpeg"], arrays["train_offsets"]
    pieces = [content[offsets[row] : offsets[row + 1]] for row in rows]
    ends = np.cumsum([0, *(len(piece) for piece in pieces)])
    decoded = pictures.decode_packed("jpeg", np.concatenate(pieces), ends)
    # Decoders may differ by rounding.
    assert np.abs(decoded.astype(int) - small.pixels[:50]).max() <= 2


# Damage

JPEG = encoded(np.broadcast_to(np.arange(16, dtype=np.uint8) * 9, (16, 16)), "JPEG")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_idx_and_cifar10(folder, data):
    path = folder / "f"
    refuses_or_reads(images.read_idx, path, data.draw(damaged(GREY)))
    refuses_or_reads(images.read_idx, path, gzip.compress(data.draw(damaged(GREY))))
    refuses_or_reads(images.read_idx, path, data.draw(damaged(gzip.compress(GREY))))
    refuses_or_reads(images.read_cifar10_binary, path, data.draw(damaged(cifar_rows(2)[2])))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_pictures(folder, data):
    for content, suffix in ((JPEG, "jpg"), (encoded(some().pixels[0]), "png")):
        (folder / "tree" / "class").mkdir(parents=True, exist_ok=True)
        for old in (folder / "tree" / "class").iterdir():
            old.unlink()
        broken = data.draw(damaged(content))
        refuses_or_reads(
            lambda path: images.read_folder(path.parents[1]),
            folder / "tree" / "class" / f"a.{suffix}",
            broken,
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_packed_files(folder, data):
    content, offsets = in_jpeg_form([JPEG] * 2)
    spoilt = np.frombuffer(data.draw(damaged(offsets.tobytes())), np.uint8)
    offsets = spoilt[: len(spoilt) // 8 * 8].view(np.int64)
    path = packed(
        folder,
        train_jpeg=np.frombuffer(data.draw(damaged(content.tobytes())), np.uint8),
        train_offsets=offsets,
        train_labels=np.arange(2),
    )
    refuses_or_reads(images.read_packed, path, path.read_bytes())
    refuses_or_reads(images.read_packed, path, data.draw(damaged(path.read_bytes())))
