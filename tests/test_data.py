"""Stage 1, data: sources in order, the content check, hostile and broken files.

The "internet" of these tests is a small server on this machine; its CIFAR-10 is made of random
images, and `cifar10.DIGESTS` holds their digests instead of the real ones.
"""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from diffusion_core import denormalize, load_cars, load_images, normalize
from diffusion_core.sources import cifar10

FILES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]
SPLITS = {"train": FILES, "test": ["test_batch"]}
CAR, SHIP = 1, 8


# --- a small CIFAR-10 ---------------------------------------------------------------------------


class _OldPickler(pickle._Pickler):
    """Write bytes as Python 2 wrote its strings, as the official files do."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_python_2_string(self, text):
        self.write(pickle.BINSTRING + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_python_2_string


def official_spelling(batch):
    """Pickle like the official files: Python 2 strings, and NumPy's module by its old name."""
    buffer = io.BytesIO()
    _OldPickler(buffer, protocol=2).dump(batch)
    content = buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in content
    return content


def repacked_spelling(batch):
    """Pickle as today's Python and NumPy do."""
    content = pickle.dumps(batch, protocol=4)
    assert b"numpy._core.multiarray" in content
    return content


def make_batch(number, cars=3, ships=2):
    random = np.random.default_rng(number)
    rows = random.integers(0, 256, (cars + ships, 3072), dtype=np.uint8)
    return {b"data": rows, b"labels": [CAR] * cars + [SHIP] * ships}


BATCHES = {name: make_batch(number) for number, name in enumerate([*FILES, "test_batch"])}


def pictures(label, split):
    """The images of a label as (n, 32, 32, 3), worked out by hand from colour planes."""
    found = []
    for batch in (BATCHES[name] for name in SPLITS[split]):
        for row, its_label in zip(batch[b"data"], batch[b"labels"], strict=True):
            if its_label == label:
                found.append(np.dstack(list(row.reshape(3, 32, 32))))
    return np.array(found)


def as_set(images):
    return sorted(image.tobytes() for image in images)


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home in which the content check expects our small CIFAR-10.

    There is no CIFAR10_DIR, no cache of ours or of Keras, and nothing to download.
    """
    digests = {s: [cifar10.digest(pictures(label, s)) for label in range(10)] for s in SPLITS}
    monkeypatch.setattr(cifar10, "DIGESTS", digests)
    monkeypatch.setattr(cifar10, "DOWNLOADS", ())
    monkeypatch.setattr(cifar10, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(cifar10, "PATIENCE_SECONDS", 0.5)
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    for name, folder in (("HOME", "home"), ("XDG_CACHE_HOME", "cache"), ("KERAS_HOME", "keras")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_folder(folder, spelling=official_spelling):
    folder.mkdir(parents=True)
    for name, batch in BATCHES.items():
        (folder / name).write_bytes(spelling(batch))
    return folder


@pytest.fixture
def folder(home):
    return write_folder(home / "cifar-10-batches-py")


@pytest.fixture
def keras_folder(home):
    return write_folder(home / "keras" / "datasets" / "cifar-10-batches-py")


def png_bytes(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def tar_gz(members, links=()):
    """An archive of `members`; before them, links of both kinds to a file beside it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in links:
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member = tarfile.TarInfo(f"c/{name}")
                member.type, member.linkname = kind, "secret"
                archive.addfile(member)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


OFFICIAL = {"cifar-10-batches-py/readme.html": b"<html>"}
OFFICIAL |= {f"cifar-10-batches-py/{n}": official_spelling(b) for n, b in BATCHES.items()}
PNG = {"cifar10/labels.txt": b"automobile\nship\n"} | {
    f"cifar10/{split}/{cifar10.LABELS[label]}/{number}.png": png_bytes(Image.fromarray(image))
    for split in SPLITS
    for label in (CAR, SHIP)
    for number, image in enumerate(pictures(label, split)[::-1])
}


# --- a small internet ---------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.routes[self.path](self)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """Answers on 127.0.0.1; `routes` maps a path to a function that gets the request handler."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes, self.asked, self.end = {}, [], threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path, answer):
        self.routes[path] = answer
        return f"http://127.0.0.1:{self.server_port}{path}"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.end.set()
    server.shutdown()
    server.server_close()


def reply(content=b"", status=200, **headers):
    def answer(request):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), str(value))
        request.end_headers()
        request.wfile.write(content)

    return answer


def whole(content):
    return reply(content, Content_Length=len(content))


def redirect(target):
    return reply(status=302, Location=target)


def without_end(content, pause):
    """Send something again and again until the test is over."""

    def answer(request):
        reply()(request)
        with suppress(OSError):
            while not request.server.end.wait(pause):
                request.wfile.write(content)

    return answer


# --- folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [official_spelling, repacked_spelling])
def test_a_folder_is_read_in_either_spelling_of_its_pickles(home, spelling):
    folder = write_folder(home / "folder", spelling)
    images = load_cars(source=folder)
    assert images.dtype == np.uint8
    assert images.shape == (15, 32, 32, 3)
    assert as_set(images) == as_set(pictures(CAR, "train"))
    assert as_set(load_cars("test", folder)) == as_set(pictures(CAR, "test"))


@pytest.mark.parametrize("label", ["ship", 8, np.int64(8)])
def test_another_label_is_asked_for_by_name_or_number(folder, label):
    assert as_set(load_images(label, source=folder)) == as_set(pictures(SHIP, "train"))


def test_the_argument_names_the_folder_and_the_environment_variable_where_it_is_missing(
    folder, monkeypatch
):
    monkeypatch.setenv("CIFAR10_DIR", str(folder))
    assert len(load_cars()) == 15
    monkeypatch.setenv("CIFAR10_DIR", "/nowhere")
    assert len(load_cars(source=folder)) == 15


def test_the_order_of_images_does_not_depend_on_the_order_in_the_source(folder):
    before = load_cars(source=folder)
    for name, batch in zip(FILES, [BATCHES[name] for name in FILES[::-1]], strict=True):
        turned = {b"data": batch[b"data"][::-1].copy(), b"labels": batch[b"labels"][::-1]}
        (folder / name).write_bytes(official_spelling(turned))
    np.testing.assert_array_equal(load_cars(source=folder), before)


def test_the_digest_follows_its_definition_in_any_order():
    images = pictures(CAR, "train")
    each = sorted(hashlib.sha256(image.tobytes()).digest() for image in images)
    assert cifar10.digest(images) == hashlib.sha256(b"".join(each)).hexdigest()
    assert cifar10.digest(images[::-1]) == cifar10.digest(images)


def flipped_bit():
    batch = make_batch(0)
    batch[b"data"][1, 1234] ^= 1
    return batch


@pytest.mark.parametrize(("batch", "count"), [(flipped_bit(), 15), (make_batch(0, cars=2), 14)])
def test_one_flipped_bit_and_a_missing_image_are_rejected(folder, batch, count):
    (folder / FILES[0]).write_bytes(official_spelling(batch))
    with pytest.raises(ValueError, match=rf"check failed on {count} images\. Delete that copy"):
        load_cars(source=folder)


@pytest.mark.parametrize("name", ["nowhere", "cifar-10-python.tar.gz"])
def test_what_is_no_folder_of_batches_is_named(home, name):
    (home / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=f"{name} has no file data_batch_1; expected a fol"):
        load_cars(source=home / name)


# A pickle that would make a file, if anything ran it.
OS_SYSTEM = b"cos\nsystem\n(S'touch it-ran'\ntR."
# Calls a harmless name with arguments that it cannot take.
WRONG_CALL = b"cnumpy\ndtype\n(I1\nI2\nI3\nI4\nI5\nI6\ntR."
# An array of a thousand terabytes, in thirty bytes.
PICKLE_BOMB = b"cnumpy\nndarray\n(((I1125899906842624\ntltR."

BROKEN = {
    "missing": (None, "data_batch_4"),
    "empty": (b"", "."),
    "half": (official_spelling(BATCHES[FILES[3]])[:5000], "."),
    "no pickle": (b"<html>the server is being repaired</html>", "."),
    "no batch": (pickle.dumps([1, 2, 3], protocol=4), "no data and labels"),
    "no labels": (official_spelling({b"data": np.zeros((2, 3072), np.uint8)}), "no data and"),
    "too few labels": (official_spelling({**BATCHES[FILES[3]], b"labels": [CAR]}), "."),
    "other size": (
        official_spelling({b"data": np.zeros((2, 100), np.uint8), b"labels": [1, 1]}),
        ".",
    ),
    "wrong call": (WRONG_CALL, "."),
    "unhashable key": (b"}]I1\ns.", "."),
    "os.system": (OS_SYSTEM, r"the file asks for os\.system, which is not allowed"),
    "eval": (b"cbuiltins\neval\n.", "not allowed"),
    "numpy.load": (b"cnumpy\nload\n.", "not allowed"),
    "scalar": (b"cnumpy._core.multiarray\nscalar\n.", "not allowed"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_or_hostile_batch_file_is_refused_in_one_sentence_and_not_run(folder, kind):
    content, reason = BROKEN[kind]
    (folder / FILES[3]).unlink()
    if content is not None:
        (folder / FILES[3]).write_bytes(content)
    with pytest.raises(ValueError, match=f"cannot be read as CIFAR-10: .*{reason}"):
        load_cars(source=folder)
    assert not (folder.parent / "it-ran").exists()


def test_the_hostile_pickle_of_these_tests_would_run_elsewhere(home):
    pickle.loads(OS_SYSTEM)
    assert (home / "it-ran").exists()


def test_an_unknown_label_or_split_is_refused():
    for label in ("car", "Automobile", 10, -1, 1.0, True, None):
        with pytest.raises(ValueError, match="a number from 0 to 9 or one of airplane, auto"):
            load_images(label)
    for split in ("validation", "", None, 0):
        with pytest.raises(ValueError, match='expected "train" or "test"'):
            load_cars(split)


def test_the_real_cars_pass_the_content_check_but_not_with_one_flipped_bit(real_folder, tmp_path):
    for split, count in (("train", 5000), ("test", 1000)):
        images = load_cars(split, real_folder)
        assert images.shape == (count, 32, 32, 3)
        assert images.dtype == np.uint8
    content = bytearray((real_folder / "test_batch").read_bytes())
    content[content.index(images[0].transpose(2, 0, 1).tobytes()) + 1000] ^= 1
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match="content check failed on 1000 images"):
        load_cars("test", tmp_path)


# --- the stand-in -------------------------------------------------------------------------------


def test_the_stand_in_holds_about_a_thousand_cars_in_two_splits(monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "stand-in")
    train, test = load_cars(), load_cars("test", "stand-in")
    assert train.dtype == test.dtype == np.uint8
    assert train.shape[1:] == test.shape[1:] == (32, 32, 3)
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


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize("place", ["", "cifar-10-batches-py-target"])
def test_the_cache_of_keras_is_used_before_any_download(home, server, monkeypatch, place):
    write_folder(home / "keras" / "datasets" / place / "cifar-10-batches-py")
    monkeypatch.setattr(cifar10, "DOWNLOADS", (server.url("/cifar.tgz", reply(status=404)),))
    assert len(load_cars()) == 15
    assert server.asked == []


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "other array": lambda content: b"\x93NUMPY" + content[6:60],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_replaced_by_the_next_source(home, keras_folder, damage):
    good = load_cars()
    file = home / "cache" / "simple-diffusion" / "cifar10-automobile-train.npy"
    content = file.read_bytes()
    file.write_bytes(DAMAGES[damage](content))
    np.testing.assert_array_equal(load_cars(), good)
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_a_warning_only(home, keras_folder):
    (home / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="The images were not cached"):
        assert len(load_cars()) == 15


# --- downloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [OFFICIAL, PNG])
def test_an_archive_in_either_layout_is_downloaded_once_for_every_label_and_both_splits(
    folder, server, monkeypatch, capsys, members
):
    server.url("/cifar.tgz", whole(tar_gz(members)))
    monkeypatch.setattr(cifar10, "DOWNLOADS", (server.url("/old", redirect("/cifar.tgz")),))
    # Whatever the source, images and their order are the same; the second time, from the cache.
    for _ in range(2):
        np.testing.assert_array_equal(load_cars(), load_cars(source=folder))
    assert as_set(load_cars("test")) == as_set(pictures(CAR, "test"))
    assert as_set(load_images("ship", "test")) == as_set(pictures(SHIP, "test"))
    assert server.asked == ["/old", "/cifar.tgz"]
    assert f"CIFAR-10 from 127.0.0.1:{server.server_port}" in capsys.readouterr().err


def archive_bomb():
    """The head of a member of three gigabytes, which must not be unpacked to see what follows."""
    member = tarfile.TarInfo("c/zeros")
    member.size = 3 * 2**30
    return gzip.compress(member.tobuf() + bytes(2**20))


GOOD = tar_gz(OFFICIAL)
HALF = GOOD[: len(GOOD) // 2]
OTHER_PICTURES = tar_gz({f"c/{name}": official_spelling(make_batch(99)) for name in BATCHES})
# Hundreds of megabytes of pixels in half a megabyte of file.
HUGE_PNG = tar_gz({"c/train/automobile/1.png": png_bytes(Image.new("1", (9000, 9000)))})

BAD_ANSWERS = {
    "404": (reply(status=404), "HTTP Error 404"),
    "half": (reply(HALF, Content_Length=len(GOOD)), "the download stopped at"),
    "half in chunks": (
        reply(f"{len(GOOD):x}\r\n".encode() + HALF, Transfer_Encoding="chunked"),
        "IncompleteRead",
    ),
    "half an archive": (whole(HALF), "."),
    "web page": (whole(b"<html>moved</html>"), "could not be opened"),
    "nothing": (whole(b""), "."),
    "other pictures": (whole(OTHER_PICTURES), "content check failed"),
    "empty archive": (whole(tar_gz({})), "content check failed on 0 images"),
    "os.system": (whole(tar_gz({"c/data_batch_1": OS_SYSTEM})), "the file asks for os.system"),
    "wrong call": (whole(tar_gz({"c/data_batch_1": WRONG_CALL})), "."),
    "no picture": (whole(tar_gz({"c/train/automobile/1.png": b"x"})), "cannot identify"),
    "huge picture": (whole(HUGE_PNG), "not 32 by 32"),
    "not http": (lambda request: request.wfile.write(b"220 this is another service\r\n"), "."),
    "stalled": (lambda request: request.server.end.wait(5), "timed out"),
    "trickle": (without_end(b"x", 0.05), "bytes came in"),
    "no end": (without_end(bytes(1 << 16), 0), "the download is larger than 1048576 bytes"),
    "redirect to itself": (redirect("/bad"), "infinite loop"),
    "redirect to a file": (redirect("file:///etc/passwd"), "not allowed"),
    "redirect to nothing": (redirect("/gone"), "HTTP Error 404"),
    "length is no number": (reply(GOOD, Content_Length="many"), "invalid literal"),
    "length too small": (reply(GOOD, Content_Length=5000), "."),
    "length too large": (reply(GOOD, Content_Length="1" * 10), "the download stopped at"),
    "links": (whole(tar_gz({}, links=BATCHES)), "content check failed on 0 images"),
    "pickle bomb": (whole(tar_gz({"c/data_batch_1": PICKLE_BOMB})), "."),
    "archive bomb": (whole(archive_bomb()), "unpacks to more than 536870912"),
}


@pytest.mark.parametrize("kind", BAD_ANSWERS)
def test_a_bad_download_gives_way_to_the_next_source_and_is_listed_where_none_works(
    home, server, monkeypatch, kind
):
    answer, reason = BAD_ANSWERS[kind]
    server.url("/gone", reply(status=404))
    bad, good = server.url("/bad", answer), server.url("/good", whole(GOOD))
    if kind == "no end":
        monkeypatch.setattr(cifar10, "MOST_BYTES", 2**20)
    monkeypatch.setattr(cifar10, "DOWNLOADS", (bad,))
    with pytest.raises(ConnectionError) as caught:
        load_cars()
    lines = str(caught.value).splitlines()
    assert lines[0] == "CIFAR-10 could not be loaded. Tried:"
    assert [line.startswith("- ") for line in lines] == [False, True, True, True, True, False]
    assert "cache" in lines[1]
    assert "keras" in lines[2]
    assert lines[4].startswith(f"- {bad}: ")
    assert reason in lines[4]
    assert "Set CIFAR10_DIR" in lines[5]
    assert 'or to "stand-in" to go on' in lines[5]
    assert files_below(home) == []
    server.asked.clear()
    monkeypatch.setattr(cifar10, "DOWNLOADS", (bad, good))
    assert len(load_cars()) == 15
    assert (server.asked[0], server.asked[-1]) == ("/bad", "/good")
    assert files_below(home) == [
        f"cache/simple-diffusion/cifar10-{label}-{split}.npy"
        for label in cifar10.LABELS
        for split in ("test", "train")
    ]


def test_a_server_that_is_not_there_is_listed(home, server, monkeypatch):
    server.shutdown()
    server.server_close()
    monkeypatch.setattr(cifar10, "DOWNLOADS", (server.url("/", reply()),))
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:\d+/: .*refused"):
        load_cars()


def test_links_and_members_that_point_outside_change_and_write_nothing(home, server, monkeypatch):
    (home / "secret").write_bytes(official_spelling(make_batch(99)))
    work = home / "work" / "deeper"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    evil = {"../evil": b"evil", "../../evil": b"evil", str(home / "evil"): b"evil"}
    archive = tar_gz({**evil, **OFFICIAL}, links=BATCHES)
    monkeypatch.setattr(cifar10, "DOWNLOADS", (server.url("/cifar.tgz", whole(archive)),))
    assert as_set(load_cars()) == as_set(pictures(CAR, "train"))
    assert list(home.rglob("*evil*")) == []


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


def test_pixels_are_uint8_outside_and_finite_floats_inside():
    for dtype in "fdl?":
        with pytest.raises(TypeError, match=r"normalize got \w+; expected uint8 pixels"):
            normalize(np.zeros((2, 4), dtype))
    for dtype in "Bl?":
        with pytest.raises(TypeError, match=r"denormalize got \w+; expected floats"):
            denormalize(np.zeros((2, 4), dtype))
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            denormalize(np.array([0.0, value]))
