"""Stage 1, data: sources in order, the content check, hostile and broken files.

The "internet" of these tests is a small server on this machine; its CIFAR-10 is made of random
images, a few in each batch, and the package is told their digests instead of the real ones.
"""

import hashlib
import io
import os
import pickle
import pickletools
import socket
import tarfile
import threading
import tracemalloc
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import numpy as np
import pytest
from PIL import Image

from diffusion_core import denormalize, load_cars, load_images, normalize
from diffusion_core.sources import cifar10

FILES = cifar10.BATCH_FILES["train"]
CAR, SHIP = 1, 8


# --- a small CIFAR-10 ---------------------------------------------------------------------------


def make_batch(number):
    rows = np.random.default_rng(number).integers(0, 256, (5, 3072), dtype=np.uint8)
    return {b"labels": [CAR, SHIP, CAR, SHIP, CAR], b"data": rows, b"filenames": [b"car.png"]}


BATCHES = {name: make_batch(number) for number, name in enumerate([*FILES, "test_batch"])}


def repacked(batch):
    """Pickle as today's Python and NumPy do."""
    return pickle.dumps(batch, protocol=4)


def official(batch):
    """Pickle like the official files: strings of Python 2, and NumPy's module by its old name."""
    content = bytearray(pickle.dumps(batch, protocol=3))
    for instruction, _, place in pickletools.genops(bytes(content)):
        if instruction.name in ("BINBYTES", "SHORT_BINBYTES"):
            content[place : place + 1] = b"T" if instruction.name == "BINBYTES" else b"U"
    return bytes(content).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def archive_of(batches):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in zip(batches, map(official, batches.values()), strict=True):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive_of(BATCHES)


def pictures(label, split="train"):
    """The images of a label as (n, 32, 32, 3), worked out by hand from colour planes."""
    rows = [
        row
        for batch in (BATCHES[name] for name in cifar10.BATCH_FILES[split])
        for row, its_label in zip(batch[b"data"], batch[b"labels"], strict=True)
        if its_label == label
    ]
    return np.array([np.dstack(list(row.reshape(3, 32, 32))) for row in rows])


def as_set(images):
    return sorted(image.tobytes() for image in images)


def write(place, spelling=official, batches=BATCHES):
    """Write the archive or a folder, by the name of the place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.name.endswith(("gz", "archive")):
        place.write_bytes(ARCHIVE)
    else:
        place.mkdir()
        for name, batch in batches.items():
            (place / name).write_bytes(spelling(batch))
    return place


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home, in which our small CIFAR-10 is the real one, and nothing to download."""
    digests = {s: [cifar10.digest(pictures(n, s)) for n in range(10)] for s in ("train", "test")}
    monkeypatch.setattr(cifar10, "DIGESTS", digests)
    monkeypatch.setattr(cifar10, "BATCH_SIZE", 5)
    monkeypatch.setattr(cifar10, "ARCHIVE_SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    monkeypatch.setattr(cifar10, "DOWNLOADS", ())
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    for name, folder in (("XDG_CACHE_HOME", "cache"), ("KERAS_HOME", "keras")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(home):
    return write(home / "cifar-10-batches-py")


# --- folders and archives -----------------------------------------------------------------------


def test_images_and_their_order_depend_on_no_spelling_and_no_order(folder, home):
    turned = {  # every batch, and every picture in it, stands elsewhere
        name: {key: values[::-1] for key, values in BATCHES[other].items()}
        for name, other in zip([*FILES, "test_batch"], [*FILES[::-1], "test_batch"], strict=True)
    }
    other = write(home / "other", repacked, turned)
    images = load_cars(source=folder)
    assert images.dtype == np.uint8
    assert images.shape == (15, 32, 32, 3)
    assert as_set(images) == as_set(pictures(CAR))
    np.testing.assert_array_equal(load_cars(source=other), images)
    for label in ("ship", SHIP, np.int64(SHIP)):
        assert as_set(load_images(label, "test", other)) == as_set(pictures(SHIP, "test"))


def test_the_argument_names_the_source_and_the_environment_where_it_is_missing(folder, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(folder))
    assert len(load_cars()) == 15
    monkeypatch.setenv("CIFAR10_DIR", "/nowhere")
    assert len(load_cars(source=folder)) == 15


def test_the_digest_follows_its_definition_in_any_order():
    images = pictures(CAR)
    each = sorted(hashlib.sha256(image.tobytes()).digest() for image in images)
    assert cifar10.digest(images) == hashlib.sha256(b"".join(each)).hexdigest()
    assert cifar10.digest(images[::-1]) == cifar10.digest(images)


@pytest.mark.parametrize("place", ["cifar-10-batches-py", "cifar-10-python.tar.gz", "cars.tgz"])
def test_the_official_archive_its_folder_and_the_folder_above_are_read(home, place):
    write(home / place)
    for source in {home / place, home / place if place == "cars.tgz" else home}:
        assert as_set(load_cars("test", source)) == as_set(pictures(CAR, "test"))


@pytest.mark.parametrize("content", [ARCHIVE + b"\0", archive_of(BATCHES | {"x": {}}), b""])
def test_an_archive_of_other_bytes_is_not_opened(home, content, monkeypatch):
    monkeypatch.setattr(tarfile, "open", None)
    (home / "cifar-10-python.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match="expected the official archive, and no other is"):
        load_cars(source=home)


def test_a_place_without_any_is_named(home):
    for name in ("nowhere", "x" * 300):
        with pytest.raises(FileNotFoundError, match=f"{name} has no file data_batch_1; expected a"):
            load_cars(source=home / name)


def changed(**parts):
    return official(make_batch(3) | {name.encode(): value for name, value in parts.items()})


ROWS = make_batch(3)[b"data"]
NO_BATCH = r"as CIFAR-10: a batch has \d+ bytes of pixels and \d+ labels; expected 15360 and 5, "
BROKEN = {
    "half": (changed()[:9000], "cannot be read as CIFAR-10"),
    "no pickle": (b"<html>moved</html>", "cannot be read as CIFAR-10"),
    "no batch": (repacked([1, 2, 3]), NO_BATCH),
    "too few labels": (changed(labels=[CAR] * 4), NO_BATCH),
    "a label beyond 9": (changed(labels=[CAR, SHIP, CAR, SHIP, 10]), NO_BATCH),
    "too few pictures": (changed(data=ROWS[:4]), NO_BATCH),
    "one flipped bit": (changed(data=ROWS ^ np.eye(5, 3072, dtype="B")), "failed on 15 images"),
    # What a machine that follows pickles would do: run, fill the memory, or crash.
    "os.system": (b"cos\nsystem\n(S'touch it-ran'\ntR.", NO_BATCH),
    "a large memo": (b"\x80\x02Nr\xff\xff\xff\x0f.", NO_BATCH),
    "undelivered": (b"cnumpy\nndarray\n(((I1125899906842624\ntltR.", NO_BATCH),
    "a deep key": (b"}(" + b"(" * 300_000 + b"t" * 300_000 + b"Nu.", NO_BATCH),
    "a long text": (b"S" + b"x" * 10**6 + b"\n", r"string quotes .*x…\.$"),
    "many instructions": (b"N0" * 60_000 + changed(), NO_BATCH),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_or_hostile_batch_file_is_refused_in_one_sentence_and_not_run(folder, kind):
    content, reason = BROKEN[kind]
    (folder / FILES[3]).write_bytes(content)
    with pytest.raises(ValueError, match=f"cifar-10-batches-py .*{reason}"):
        load_cars(source=folder)
    assert not Path("it-ran").exists()


@pytest.mark.parametrize("make", [lambda path: None, os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(folder, make):
    (folder / FILES[3]).unlink()
    make(folder / FILES[3])
    with pytest.raises(ValueError, match=r"read as CIFAR-10: .*data_batch_4('| is not a file)\."):
        load_cars(source=folder)


@pytest.fixture
def traced():
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_a_sparse_giant_is_not_read_whole(folder, traced):
    (folder / FILES[3]).write_bytes(b"")
    os.truncate(folder / FILES[3], 2**28)
    with pytest.raises(ValueError, match="cannot be read"):
        load_cars(source=folder)
    assert traced() < 2**27


def test_edited_batches_are_refused_or_read_and_never_fill_the_memory(home, traced):
    """A small version; ten thousand were tried once."""
    random, ends = np.random.default_rng(0), []
    for number in range(300):
        content = bytearray((official, repacked)[number % 2](BATCHES[FILES[3]]))
        for _ in range(random.integers(1, 5)):
            # Near both ends, where the instructions are; the middle is pixels.
            place = random.choice([random.integers(200), len(content) - random.integers(1, 200)])
            content[place : place + random.integers(6)] = random.bytes(random.integers(6))
        try:
            ends.append(len(cifar10._parse_batch(bytes(content))))
        except ValueError:
            ends.append(None)
    assert traced() < 2**24
    assert 20 < ends.count(None) < 280


def test_the_real_cars_pass_the_content_check(real_folder):
    assert load_cars("train", real_folder).shape == (5000, 32, 32, 3)
    assert load_cars("test", real_folder).shape == (1000, 32, 32, 3)


# --- the stand-in -------------------------------------------------------------------------------


def test_the_stand_in_holds_about_a_thousand_cars_in_two_splits(monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "stand-in")
    train, test = load_cars(), load_cars("test", "stand-in")
    assert 900 <= len(train) + len(test) <= 1100
    assert 0 < len(test) < len(train)
    assert not set(as_set(train)) & set(as_set(test))
    with pytest.raises(ValueError, match="holds automobiles only; 'ship' needs CIFAR-10"):
        load_images("ship")


def test_the_stand_in_is_cut_into_pictures_row_by_row(monkeypatch, tmp_path):
    tiles = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    sheet = np.vstack([np.hstack(tiles[8 * row : 8 * row + 8]) for row in range(2)])
    Image.fromarray(sheet).save(tmp_path / "sheet.png")
    monkeypatch.setattr(cifar10, "STAND_IN", tmp_path / "sheet.png")
    np.testing.assert_array_equal(load_cars("test", "stand-in"), tiles[:2])
    np.testing.assert_array_equal(load_cars("train", "stand-in"), tiles[2:])


# --- caches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", cifar10.PLACES)
def test_what_keras_keeps_is_used_before_any_download_and_kept_for_every_label(home, place):
    write(home / "keras" / "datasets" / place)
    assert len(load_cars()) == 15
    kept = {path.name for path in (home / "cache" / "simple-diffusion").iterdir()}
    splits = ("train", "test")
    assert kept == {f"cifar10-{name}-{split}.npy" for name in cifar10.LABELS for split in splits}


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b"(15, 32, 32, 3)", b"(15, 3, 32, 32)"),
    ],
)
def test_a_damaged_cache_is_replaced_by_the_next_source(home, damage):
    write(home / "keras" / "datasets" / "cifar-10-batches-py")
    good = load_cars()
    file = home / "cache" / "simple-diffusion" / "cifar10-automobile-train.npy"
    content = file.read_bytes()
    file.write_bytes(damage(content))
    np.testing.assert_array_equal(load_cars(), good)
    assert file.read_bytes() == content


def test_a_cache_may_hold_no_pickle(home):
    file = cifar10._cache_file(CAR, "train")
    file.parent.mkdir(parents=True)
    np.save(file, np.array([None]), allow_pickle=True)
    with pytest.raises(ConnectionError, match="Object arrays cannot be loaded when allow_pickle=F"):
        load_cars()


def test_a_cache_that_cannot_be_written_is_a_warning_only(home):
    write(home / "keras" / "datasets" / "cifar-10-batches-py")
    (home / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="The images were not cached"):
        assert len(load_cars()) == 15


def test_a_user_without_a_home_has_a_cache(home, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cifar10.cache_dir() == home / ".cache" / "simple-diffusion"


# --- downloads ----------------------------------------------------------------------------------


class Handler(StreamRequestHandler):
    """Send the answer of a path, and its second part again and again until the test is over."""

    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        self.server.asked.append(path)
        while self.rfile.readline().strip():
            pass
        once, piece = self.server.answers[path]
        with suppress(OSError):
            self.wfile.write(once)
            while piece is not None and not self.server.end.wait(0.01):
                self.wfile.write(piece)


@pytest.fixture
def server():
    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked, server.end = {}, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.end.set()
    server.shutdown()
    server.server_close()


def reply(body=b"", status="200 OK", length=None, location=""):
    length = len(body) if length is None else length
    lines = f"{status}\r\nConnection: close\r\nContent-Length: {length}\r\nLocation: {location}"
    return f"HTTP/1.1 {lines}\r\n\r\n".encode() + body, None


def test_a_download_is_made_once_for_every_label(home, folder, server, monkeypatch, capsys):
    server.answers = {
        "/gone": reply(status="404 Not Found"),
        "/old": reply(status="302 Found", location="/cifar.tgz"),
        "/cifar.tgz": reply(ARCHIVE),
    }
    monkeypatch.setattr(cifar10, "DOWNLOADS", (f"{server.url}/gone", f"{server.url}/old"))
    for _ in range(2):  # the second time from the cache
        np.testing.assert_array_equal(load_cars(), load_cars(source=folder))
    assert as_set(load_images("ship", "test")) == as_set(pictures(SHIP, "test"))
    assert server.asked == ["/gone", "/old", "/cifar.tgz"]
    assert server.url.replace("http://", "CIFAR-10 from ") in capsys.readouterr().err


OTHER = archive_of({name: make_batch(99) for name in BATCHES})
OPEN = b"HTTP/1.1 200 OK\r\n\r\n"  # a body without a length
BAD_ANSWERS = {
    "404": (reply(status="404 Not Found"), "404 Client Error"),
    "half": (reply(ARCHIVE[:9000], length=len(ARCHIVE)), "IncompleteRead"),
    "other bytes": (reply(OTHER), "does not match the known hash"),
    "not http": ((b"220 another service\r\n", None), "220 another"),
    "silence": ((b"", b""), "timed out"),
    "no end": ((OPEN, bytes(2**18)), "bytes came in"),
    "a slow body": ((OPEN, b"x"), "in 2 seconds, and no end"),
    "a slow header": ((b"HTTP/1.1 200 OK\r\n", b"x"), "in 2 seconds, and no end"),
    "no answer but 100": ((b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "in 2 seconds, and no end"),
    "a circle": (reply(status="302 Found", location="/bad"), "Exceeded 30 redirects"),
    "a file": (reply(status="302 Found", location="file:///etc/passwd"), "No connection adapters"),
}


@pytest.mark.parametrize("kind", [*BAD_ANSWERS, "nobody"])
def test_a_bad_download_is_listed_and_leaves_nothing(home, server, monkeypatch, kind):
    server.answers["/bad"], reason = BAD_ANSWERS.get(kind, (None, "Connection refused"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    url = (nobody if kind == "nobody" else server.url) + "/bad"
    monkeypatch.setattr(cifar10, "DOWNLOADS", (url,))
    monkeypatch.setattr(cifar10, "DOWNLOAD", cifar10.DOWNLOAD.replace("timeout=5", "timeout=0.5"))
    monkeypatch.setattr(cifar10, "PATIENCE_SECONDS", 2 if "no end" in reason else 60)
    monkeypatch.setattr(cifar10, "MOST_BYTES", 2**20)
    with pytest.raises(ConnectionError) as caught:
        load_cars()
    first, cache, keras, download, last = str(caught.value).splitlines()
    assert first == "CIFAR-10 could not be loaded. Tried:"
    assert cache.startswith(f"- {home}/cache/simple-diffusion/cifar10-automobile-train.npy: ")
    assert keras.startswith(f"- {home}/keras/datasets: ")
    assert download.startswith(f"- {url}: ")
    assert reason in download
    assert "in 60 seconds" not in download
    assert last.startswith("Unpack a copy of CIFAR-10 and set CIFAR10_DIR to its folder")
    assert '"stand-in"' in last
    assert list(home.iterdir()) == []


def test_the_mirrors_come_first_and_the_official_server_last():
    assert all(url.startswith("https://") for url in cifar10.DOWNLOADS)
    assert "cs.toronto.edu" in cifar10.DOWNLOADS[-1]
    assert len(cifar10.DOWNLOADS) == 3


# --- pixels -------------------------------------------------------------------------------------

EVERY_PIXEL = np.arange(256, dtype=np.uint8)


def test_normalize_maps_0_to_minus_one_and_255_to_one_and_denormalize_goes_back():
    values = normalize(EVERY_PIXEL)
    assert values.dtype == np.float32
    assert (values[0], values[-1]) == (-1, 1)
    np.testing.assert_allclose(values, EVERY_PIXEL / 127.5 - 1, rtol=0, atol=1e-7)
    back = denormalize(values)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, EVERY_PIXEL)


def test_denormalize_clips_what_lies_outside_and_rounds_the_rest():
    values = np.array([-3, -1, -0.99, 0.004, 0.999, 1, 1.7])
    np.testing.assert_array_equal(denormalize(values), [0, 0, 1, 128, 255, 255, 255])
