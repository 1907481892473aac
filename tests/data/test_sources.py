import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import platformdirs
import pytest

from data.damage import shared
from sidle.data import catalogue, sources
from sidle.data.catalogue import KNOWN, DataSet, Download
from sidle.errors import ArgumentError, DataError, DataNotFoundError, SidleError

IDX = KNOWN["mnist"].files[0]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("SIDLE_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "sidle" / "data"


def fill(folder, names, content=b"x"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(content)
    return folder


def test_resolves_paths_then_listed_folders_then_the_cache(cache, tmp_path, monkeypatch):
    fill(cache / "mnist", IDX)
    assert sources.resolve("mnist") == cache / "mnist"
    first, second = tmp_path / "first", tmp_path / "second"
    fill(second / "mnist", IDX)
    monkeypatch.setenv("SIDLE_DATA", os.pathsep.join([str(first), "", str(second)]))
    assert sources.resolve("mnist") == second / "mnist"
    fill(first / "mnist", [f"{name}.gz" for name in IDX])
    assert sources.resolve("mnist") == first / "mnist"
    here = fill(tmp_path / "mnist", [])  # any path that exists, relative to the working directory
    assert sources.resolve("mnist").resolve() == here
    assert sources.resolve(here) == here


def test_an_incomplete_folder_is_passed_over_and_named(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SIDLE_DATA", str(tmp_path / "listed"))
    fill(tmp_path / "listed" / "mnist", IDX[:3])
    with pytest.raises(DataNotFoundError) as missing:
        sources.resolve("mnist")
    message = str(missing.value)
    assert f"{tmp_path / 'listed' / 'mnist'} lacks t10k-labels-idx1-ubyte." in message
    assert (
        f"Put {' + '.join(IDX)} (.gz may be added, but not to .npz) into {cache / 'mnist'}"
        in message
    )
    assert "cannot be fetched, as no publisher's checksum is known" in message
    fill(cache / "mnist", IDX)
    assert sources.resolve("mnist") == cache / "mnist"


def test_the_error_gives_the_command_that_fetches(cache):
    with pytest.raises(DataNotFoundError, match=r"Or run: sidle data fetch fashion_mnist$"):
        sources.resolve("fashion_mnist")


def test_any_alternative_completes_a_set(cache):
    for files in KNOWN["cifar10"].files:
        fill(cache / "cifar10", files)
        assert sources.resolve("cifar10") == cache / "cifar10"
        for name in files:
            (cache / "cifar10" / name).unlink()
    fill(cache / "cifar10", ["cifar10.npz.gz"])
    with pytest.raises(DataNotFoundError):
        sources.resolve("cifar10")


def test_unknown_names_are_found_in_the_folders_or_refused(cache):
    fill(cache / "own" / "deeper", ["a.npz"])
    assert sources.resolve("own") == cache / "own"
    assert sources.resolve("own/deeper/a.npz") == cache / "own" / "deeper" / "a.npz"
    for name in ("nowhere", "/no/such/file.npz", "nul\0byte"):
        with pytest.raises(DataNotFoundError, match="there is no such path"):
            sources.resolve(name)
    with pytest.raises(SidleError):
        sources.resolve("x" * 5000)


def test_embedded_sets_have_no_path_and_say_what_makes_them(cache):
    with pytest.raises(DataNotFoundError, match=r"sidle.data.images.digits returns it"):
        sources.resolve("digits")


def test_embedded_sets_name_functions_that_exist():
    for data_set in KNOWN.values():
        if data_set.embedded:
            module, _, function = data_set.publisher.rpartition(".")
            program = f"import {module}; assert callable({module}.{function})"
            subprocess.run([sys.executable, "-c", program], check=True)


def test_listing_has_a_row_for_each_set(cache):
    fill(cache / "fsdd", ["fsdd.npz"])
    rows = {row.name: row for row in sources.listing()}
    assert list(rows) == list(KNOWN)
    assert (rows["digits"].status, rows["digits"].path) == ("embedded", None)
    assert (rows["fsdd"].status, rows["fsdd"].path) == ("found", cache / "fsdd")
    assert (rows["cifar10"].status, rows["cifar10"].path) == ("fetchable", None)
    assert (rows["timit"].status, rows["timit"].path) == ("missing", None)
    assert all(row.kind and row.description and row.licence for row in rows.values())
    assert sources.where("fsdd") == rows["fsdd"]
    with pytest.raises(ArgumentError, match=r"'no_set' is known. One of: digits, "):
        sources.where("no_set")


@pytest.mark.parametrize("name", [name for name, row in KNOWN.items() if not row.embedded])
def test_every_set_of_the_shared_data_is_found(name, monkeypatch):
    if name == "timit":
        pytest.skip("the whole of TIMIT is not free")
    folder = shared(name)
    monkeypatch.setenv("SIDLE_DATA", str(folder.parent))
    assert sources.where(name).path == folder


def test_downloads_carry_the_publishers_checksums():
    fetchable = {name for name, data_set in KNOWN.items() if data_set.downloads}
    assert fetchable == {"fashion_mnist", "cifar10"}
    for name in fetchable:
        for download in KNOWN[name].downloads:
            algorithm, digits = download.checksum.split(":")
            assert len(digits) == 2 * hashlib.new(algorithm).digest_size
            assert download.stated_at.startswith("https://")


def test_two_of_the_checksums_fit_files_that_are_here():
    """The label files of the shared copy are the publisher's own; its image files are rebuilt."""
    folder = shared("fashion_mnist")
    for download in KNOWN["fashion_mnist"].downloads:
        name = download.url.rpartition("/")[2]
        if "labels" in name:
            content = (folder / name).read_bytes()
            assert download.checksum == f"md5:{hashlib.md5(content).hexdigest()}"


FILES = {"a.bin": b"first file " * 9000, "b.bin": b"second"}


def tarred(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"../../inside/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder, the address under which a server on this machine offers it, the requests made."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = fill(tmp_path / "server", [])
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            requests.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}", requests
        running.shutdown()
        thread.join()


def offer(server, monkeypatch, files, *, checksum=None, unpacks_to=()):
    """Make ``files`` the downloads of a known set 'offered'."""
    folder, address, _ = server
    downloads = []
    for name, content in files.items():
        fill(folder, [name], content)
        stated = checksum or f"md5:{hashlib.md5(content).hexdigest()}"
        downloads.append(Download(f"{address}/{name}", stated, "https://publisher", unpacks_to))
    offered = DataSet(
        "offered",
        "images",
        "a test",
        "none",
        (unpacks_to or tuple(files),),
        downloads=tuple(downloads),
    )
    monkeypatch.setitem(catalogue.KNOWN, "offered", offered)


def test_fetch_puts_verified_files_into_the_cache(cache, server, monkeypatch, capfd):
    offer(server, monkeypatch, FILES)
    assert sources.fetch("offered") == cache / "offered"
    found = {path.name: path.read_bytes() for path in (cache / "offered").iterdir()}
    assert found == FILES
    assert sources.resolve("offered") == cache / "offered"
    n_requests = len(server[2])
    sources.fetch("offered", progress=False)
    assert len(server[2]) == n_requests  # nothing is asked for twice
    (cache / "offered" / "a.bin").write_bytes(b"damaged since")
    sources.fetch("offered", progress=False)
    assert (cache / "offered" / "a.bin").read_bytes() == FILES["a.bin"]
    output = capfd.readouterr()
    assert output.out == output.err == ""


def test_fetch_refuses_another_checksum_and_leaves_nothing(cache, server, monkeypatch):
    offer(server, monkeypatch, FILES, checksum="md5:" + "0" * 32)
    with pytest.raises(DataError, match=r"has not the checksum md5:0+ that https://publisher"):
        sources.fetch("offered")
    assert list((cache / "offered").iterdir()) == []


def test_fetch_names_the_address_that_failed(cache, server, monkeypatch):
    offer(server, monkeypatch, FILES)
    (server[0] / "b.bin").unlink()
    with pytest.raises(DataNotFoundError, match=rf"{server[1]}/b.bin: could not be.*404.*Check"):
        sources.fetch("offered")
    assert [path.name for path in (cache / "offered").iterdir()] == ["a.bin"]


def test_fetch_without_a_network(cache, monkeypatch):
    closed = Download("http://127.0.0.1:9/a.bin", "md5:" + "0" * 32, "https://publisher")
    offered = DataSet("offered", "images", "", "", (("a.bin",),), downloads=(closed,))
    monkeypatch.setitem(catalogue.KNOWN, "offered", offered)
    with pytest.raises(DataNotFoundError, match=r"127.0.0.1:9/a.bin: could not be downloaded"):
        sources.fetch("offered")
    assert list((cache / "offered").iterdir()) == []


def test_fetch_unpacks_only_what_is_named(cache, server, monkeypatch):
    packed = {"set.tar.gz": tarred({**FILES, "evil.bin": b"stays inside"})}
    offer(server, monkeypatch, packed, unpacks_to=tuple(FILES))
    folder = sources.fetch("offered")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    n_requests = len(server[2])
    sources.fetch("offered")
    assert len(server[2]) == n_requests
    assert not list(cache.parent.rglob("evil.bin"))


def test_fetch_refuses_an_archive_that_lacks_a_file(cache, server, monkeypatch):
    offer(server, monkeypatch, {"set.tar.gz": tarred(FILES)}, unpacks_to=("a.bin", "c.bin"))
    with pytest.raises(DataError, match=r"lacks 'c.bin'"):
        sources.fetch("offered")
    with pytest.raises(DataNotFoundError):
        sources.resolve("offered")


def test_fetch_refuses_sets_without_a_publishers_checksum(cache):
    with pytest.raises(DataNotFoundError, match="no publisher's checksum is known; see http"):
        sources.fetch("mnist")
    with pytest.raises(DataNotFoundError, match="is embedded"):
        sources.fetch("digits")
    with pytest.raises(ArgumentError, match="no data set 'no_set' is known"):
        sources.fetch("no_set")


def test_the_bar_counts_kibibytes(monkeypatch):
    opened = []

    class Shown:
        def __init__(self, description, total):
            opened.append([description, total, 0, False])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            opened[-1][3] = True

        def advance(self, n):
            opened[-1][2] += n

    monkeypatch.setattr(sources.displays, "bar", Shown)
    bar = sources._Bar("a.bin")
    bar.total = 100 * 1024 + 1
    bar.update(64 * 1024)
    bar.update(64 * 1024)
    bar.close()
    assert opened == [["a.bin (KiB)", 101, 128, True]]


def test_importing_sources_stays_light():
    program = (
        "import sys; from sidle.data import sources; sources.listing();"
        "heavy = {'torch', 'scipy', 'sklearn', 'PIL', 'soundfile', 'pooch', 'requests'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)
