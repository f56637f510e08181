"""Stage 1, data: sources in order, the content check, hostile and broken files.

The "internet" of these tests is a small server on this machine; its CIFAR-10 is made of random
images, and `data.DIGESTS` holds their digests instead of the real ones.
"""

import gzip
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

from diffusion_core import data, denormalize, load_cars, load_images, normalize

FILES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]
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


def pictures(label, names):
    """The images of a label as (n, 32, 32, 3), worked out by hand from colour planes."""
    found = []
    for name in names:
        for row, its_label in zip(BATCHES[name][b"data"], BATCHES[name][b"labels"], strict=True):
            if its_label == label:
                red, green, blue = row.reshape(3, 32, 32)
                found.append(np.dstack([red, green, blue]))
    return np.array(found)


def as_set(images):
    return sorted(image.tobytes() for image in images)


@pytest.fixture
def small_cifar(monkeypatch):
    """Let the content check expect our small CIFAR-10."""
    digests = {}
    for split, names in (("train", FILES), ("test", ["test_batch"])):
        digests[split] = list(data.DIGESTS[split])
        for label in range(10):
            digests[split][label] = data.digest(pictures(label, names))
    monkeypatch.setattr(data, "DIGESTS", digests)


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty home: no CIFAR10_DIR, no cache of ours or of Keras, nothing to download."""
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(data, "DOWNLOADS", ())
    monkeypatch.setattr(data, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(data, "PATIENCE_SECONDS", 0.5)
    return tmp_path


def write_folder(folder, spelling=official_spelling):
    folder.mkdir(parents=True)
    for name, batch in BATCHES.items():
        (folder / name).write_bytes(spelling(batch))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "cifar-10-batches-py")


def tar_gz(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def official_members():
    members = {f"cifar-10-batches-py/{n}": official_spelling(b) for n, b in BATCHES.items()}
    return {"cifar-10-batches-py/readme.html": b"<html>", **members}


def png_members():
    members = {"cifar10/labels.txt": b"automobile\nship\n"}
    for split, names in (("train", FILES), ("test", ["test_batch"])):
        for label in (CAR, SHIP):
            for number, image in enumerate(pictures(label, names)[::-1]):
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, "PNG")
                name = data.LABELS[label]
                members[f"cifar10/{split}/{name}/{number}_{name}.png"] = buffer.getvalue()
    return members


# --- a small internet ---------------------------------------------------------------------------


class Server:
    """Answers on 127.0.0.1; `routes` maps a path to a function that gets the request handler."""

    def __init__(self):
        self.routes, self.asked, self.end = {}, [], threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                outer.routes[self.path](self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def url(self, path, answer):
        self.routes[path] = answer
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def close(self):
        self.end.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(timeout=5)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def whole(content):
    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def half(content):
    """Promise all bytes, send half of them, hang up."""

    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])

    return answer


def half_in_chunks(content):
    """Promise a chunk, send half of it, hang up."""

    def answer(request):
        request.protocol_version = "HTTP/1.1"
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(f"{len(content):x}\r\n".encode() + content[: len(content) // 2])
        request.close_connection = True

    return answer


def not_found(request):
    request.send_error(404)


def not_http(request):
    request.wfile.write(b"220 this is another service\r\n")


def stalled(server):
    """Accept the question and stay silent until the test is over."""
    return lambda request: server.end.wait(5)


def redirect(target):
    def answer(request):
        request.send_response(302)
        request.send_header("Location", target)
        request.end_headers()

    return answer


def trickle(server):
    """Send a byte now and then, so that no single wait is long."""

    def answer(request):
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            while not server.end.wait(0.05):
                request.wfile.write(b"x")

    return answer


def promise(length, content=b""):
    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", length)
        request.end_headers()
        request.wfile.write(content)

    return answer


# --- folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [official_spelling, repacked_spelling])
def test_a_folder_is_read_in_either_spelling_of_its_pickles(small_cifar, home, spelling):
    folder = write_folder(home / "folder", spelling)
    images = load_cars(source=folder)
    assert images.dtype == np.uint8
    assert images.shape == (15, 32, 32, 3)
    assert as_set(images) == as_set(pictures(CAR, FILES))


def test_the_test_split_is_read_from_its_own_file(small_cifar, folder):
    assert as_set(load_cars("test", folder)) == as_set(pictures(CAR, ["test_batch"]))


@pytest.mark.parametrize("label", ["ship", 8, np.int64(8)])
def test_another_label_is_asked_for_by_name_or_number(small_cifar, folder, label):
    assert as_set(load_images(label, source=folder)) == as_set(pictures(SHIP, FILES))


def test_the_environment_variable_names_the_folder(small_cifar, home, folder, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(folder))
    assert len(load_cars()) == 15


def test_the_argument_goes_before_the_environment_variable(small_cifar, folder, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "/nowhere")
    assert len(load_cars(source=folder)) == 15


def test_the_order_of_images_does_not_depend_on_the_order_in_the_source(
    small_cifar, folder, monkeypatch
):
    before = load_cars(source=folder)
    backwards = {name: BATCHES[other] for name, other in zip(FILES, FILES[::-1], strict=True)}
    for name, batch in backwards.items():
        turned = {b"data": batch[b"data"][::-1].copy(), b"labels": batch[b"labels"][::-1]}
        (folder / name).write_bytes(official_spelling(turned))
    np.testing.assert_array_equal(load_cars(source=folder), before)


def test_the_digest_does_not_depend_on_the_order():
    images = pictures(CAR, FILES)
    assert data.digest(images) == data.digest(images[::-1])


def test_the_digest_follows_its_definition():
    from hashlib import sha256

    images = pictures(CAR, FILES[:1])
    each = sorted(sha256(image.tobytes()).digest() for image in images)
    assert data.digest(images) == sha256(b"".join(each)).hexdigest()


def test_one_flipped_bit_is_rejected(small_cifar, folder):
    flipped = {b"data": BATCHES[FILES[2]][b"data"].copy(), b"labels": BATCHES[FILES[2]][b"labels"]}
    flipped[b"data"][1, 1234] ^= 1
    (folder / FILES[2]).write_bytes(official_spelling(flipped))
    with pytest.raises(ValueError, match=r"content check failed on 15 images\. Delete that copy"):
        load_cars(source=folder)


def test_a_missing_image_is_rejected(small_cifar, folder):
    (folder / FILES[0]).write_bytes(official_spelling(make_batch(0, cars=2)))
    with pytest.raises(ValueError, match="content check failed on 14 images"):
        load_cars(source=folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere has no file data_batch_1; expected a fol"):
        load_cars(source=tmp_path / "nowhere")


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    file = tmp_path / "cifar-10-python.tar.gz"
    file.write_bytes(b"")
    with pytest.raises(
        FileNotFoundError, match=r"tar\.gz has no file data_batch_1; expected a fol"
    ):
        load_cars(source=file)


def test_a_missing_batch_file_is_named(small_cifar, folder):
    (folder / FILES[3]).unlink()
    with pytest.raises(ValueError, match=r"cannot be read as CIFAR-10: .*data_batch_4"):
        load_cars(source=folder)


# Each calls a harmless name with arguments that it cannot take.
WRONG_CALL = b"cnumpy\ndtype\n(I1\nI2\nI3\nI4\nI5\nI6\ntR."

BROKEN = {
    "empty": b"",
    "half": official_spelling(BATCHES[FILES[0]])[:5000],
    "no pickle": b"<html>the server is being repaired</html>",
    "no batch": pickle.dumps([1, 2, 3], protocol=4),
    "no labels": official_spelling({b"data": np.zeros((2, 3072), np.uint8)}),
    "too few labels": official_spelling({**BATCHES[FILES[0]], b"labels": [CAR]}),
    "other size": official_spelling({b"data": np.zeros((2, 100), np.uint8), b"labels": [1, 1]}),
    "wrong call": WRONG_CALL,
    "unhashable key": b"}]I1\ns.",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_batch_file_is_refused_in_one_sentence(small_cifar, folder, kind):
    (folder / FILES[0]).write_bytes(BROKEN[kind])
    with pytest.raises(ValueError, match="cannot be read as CIFAR-10"):
        load_cars(source=folder)


def hostile_pickle(target):
    """A pickle that would make a file, if anything ran it."""
    return f"cos\nsystem\n(S'touch {target}'\ntR.".encode()


def test_a_pickle_that_asks_for_the_shell_is_refused_and_does_not_run(folder, tmp_path):
    target = tmp_path / "it-ran"
    (folder / FILES[0]).write_bytes(hostile_pickle(target))
    with pytest.raises(ValueError, match=r"the file asks for os\.system, which is not allowed"):
        load_cars(source=folder)
    assert not target.exists()


def test_the_hostile_pickle_of_these_tests_would_run_elsewhere(tmp_path):
    target = tmp_path / "it-ran"
    pickle.loads(hostile_pickle(target))
    assert target.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "numpy\nload", "numpy._core.multiarray\nscalar"]
)
def test_only_what_rebuilds_an_array_is_allowed(folder, name):
    (folder / FILES[0]).write_bytes(f"c{name}\n.".encode())
    with pytest.raises(ValueError, match="which is not allowed"):
        load_cars(source=folder)


@pytest.mark.parametrize("label", ["car", "Automobile", 10, -1, 1.0, True, None])
def test_an_unknown_label_is_refused(label):
    with pytest.raises(ValueError, match=r"expected a number from 0 to 9 or one of airplane, auto"):
        load_images(label)


@pytest.mark.parametrize("split", ["validation", "", None, 0])
def test_an_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match='expected "train" or "test"'):
        load_cars(split)


# --- the real CIFAR-10 --------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "count"), [("train", 5000), ("test", 1000)])
def test_the_real_cars_pass_the_content_check(real_folder, split, count):
    images = load_cars(split, real_folder)
    assert images.shape == (count, 32, 32, 3)
    assert images.dtype == np.uint8


def test_one_flipped_bit_in_the_real_cars_is_rejected(real_folder, tmp_path):
    for name in FILES[1:]:
        (tmp_path / name).symlink_to(real_folder / name)
    content = bytearray((real_folder / FILES[0]).read_bytes())
    with open(real_folder / FILES[0], "rb") as file:
        images, labels = data._read_batch(file)
    car = images[labels == CAR][0]
    place = content.find(car.transpose(2, 0, 1).tobytes())
    assert place > 0
    content[place + 1000] ^= 1
    (tmp_path / FILES[0]).write_bytes(content)
    with pytest.raises(ValueError, match="content check failed on 5000 images"):
        load_cars(source=tmp_path)


# --- the stand-in -------------------------------------------------------------------------------


def test_the_stand_in_holds_about_a_thousand_cars_in_two_splits():
    train, test = load_cars("train", "stand-in"), load_cars("test", "stand-in")
    assert train.dtype == test.dtype == np.uint8
    assert train.shape[1:] == test.shape[1:] == (32, 32, 3)
    assert 900 <= len(train) + len(test) <= 1100
    assert 0 < len(test) < len(train)
    assert not set(as_set(train)) & set(as_set(test))


def test_the_stand_in_is_cut_into_pictures_row_by_row(monkeypatch, tmp_path):
    tiles = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    sheet = np.vstack([np.hstack(tiles[8 * row : 8 * row + 8]) for row in range(2)])
    Image.fromarray(sheet).save(tmp_path / "sheet.png")
    monkeypatch.setattr(data, "STAND_IN", tmp_path / "sheet.png")
    np.testing.assert_array_equal(load_cars("test", "stand-in"), tiles[:2])
    np.testing.assert_array_equal(load_cars("train", "stand-in"), tiles[2:])


def test_the_environment_variable_can_ask_for_the_stand_in(home, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", "stand-in")
    np.testing.assert_array_equal(load_cars(), load_cars(source="stand-in"))


def test_the_stand_in_has_cars_only():
    with pytest.raises(ValueError, match="holds automobiles only; 'ship' needs CIFAR-10"):
        load_images("ship", source="stand-in")


def test_the_stand_in_is_never_chosen_silently(home):
    with pytest.raises(ConnectionError, match='or to "stand-in" to go on'):
        load_cars()


# --- downloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [official_members, png_members])
def test_an_archive_is_downloaded_in_either_layout(small_cifar, home, server, monkeypatch, members):
    url = server.url("/cifar.tgz", whole(tar_gz(members())))
    monkeypatch.setattr(data, "DOWNLOADS", (url,))
    assert as_set(load_cars()) == as_set(pictures(CAR, FILES))
    assert as_set(load_images("ship", "test")) == as_set(pictures(SHIP, ["test_batch"]))


def test_the_result_does_not_depend_on_the_source(small_cifar, home, server, folder, monkeypatch):
    url = server.url("/png.tgz", whole(tar_gz(png_members())))
    monkeypatch.setattr(data, "DOWNLOADS", (url,))
    np.testing.assert_array_equal(load_cars(), load_cars(source=folder))


def test_one_download_fills_the_cache_for_every_label_and_both_splits(
    small_cifar, home, server, monkeypatch
):
    url = server.url("/cifar.tgz", whole(tar_gz(official_members())))
    monkeypatch.setattr(data, "DOWNLOADS", (url,))
    first = load_cars()
    np.testing.assert_array_equal(load_cars(), first)
    assert len(load_cars("test")) == 3
    assert len(load_images("ship", "test")) == 2
    assert server.asked == ["/cifar.tgz"]
    assert files_below(home) == CACHED


def test_the_progress_line_names_the_host(small_cifar, home, server, monkeypatch, capsys):
    url = server.url("/cifar.tgz", whole(tar_gz(official_members())))
    monkeypatch.setattr(data, "DOWNLOADS", (url,))
    load_cars()
    assert f"CIFAR-10 from 127.0.0.1:{server.http.server_port}" in capsys.readouterr().err


def test_the_cache_of_keras_is_used_before_any_download(small_cifar, home, server, monkeypatch):
    write_folder(home / "keras" / "datasets" / "cifar-10-batches-py")
    monkeypatch.setattr(data, "DOWNLOADS", (server.url("/cifar.tgz", not_found),))
    assert len(load_cars()) == 15
    assert server.asked == []


def test_the_newer_folder_of_keras_is_found_too(small_cifar, home):
    write_folder(home / "keras" / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py")
    assert len(load_cars()) == 15


def test_the_cache_lies_on_google_drive_when_it_is_mounted(small_cifar, home, monkeypatch):
    from diffusion_core import files

    write_folder(home / "keras" / "datasets" / "cifar-10-batches-py")
    (home / "MyDrive").mkdir()
    monkeypatch.setattr(files, "DRIVE", home / "MyDrive")
    load_cars()
    assert (home / "MyDrive" / "simple-diffusion" / "cifar10-automobile-train.npy").is_file()


@pytest.mark.parametrize("damage", ["half", "empty", "one bit", "other array"])
def test_a_damaged_cache_is_replaced_by_the_next_source(small_cifar, home, damage):
    write_folder(home / "keras" / "datasets" / "cifar-10-batches-py")
    good = load_cars()
    file = home / "cache" / "simple-diffusion" / "cifar10-automobile-train.npy"
    content = file.read_bytes()
    if damage == "half":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "one bit":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        np.save(file, np.zeros(3))
    np.testing.assert_array_equal(load_cars(), good)
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_a_warning_only(small_cifar, home):
    write_folder(home / "keras" / "datasets" / "cifar-10-batches-py")
    (home / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="The images were not cached"):
        assert len(load_cars()) == 15


def wrong_pictures():
    """The right layout with other pictures in it."""
    members = {f"c/{name}": official_spelling(make_batch(99)) for name in BATCHES}
    return tar_gz(members)


# An array of a thousand terabytes, in thirty bytes.
PICKLE_BOMB = b"cnumpy\nndarray\n(((I1125899906842624\ntltR."


def huge_png():
    """Hundreds of megabytes of pixels in half a megabyte of file."""
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    return buffer.getvalue()


def archive_bomb():
    """The head of a member of three gigabytes, which must not be unpacked to see what follows."""
    member = tarfile.TarInfo("c/zeros")
    member.size = 3 * 2**30
    return gzip.compress(member.tobuf() + bytes(2**20))


def linked_batches(target):
    """Links where the batches should be, and nothing behind them in the archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in BATCHES:
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member = tarfile.TarInfo(f"c/{name}")
                member.type, member.linkname = kind, str(target)
                archive.addfile(member)
    return buffer.getvalue()


def bad_answers(server, target):
    good = tar_gz(official_members())
    hostile = tar_gz({"c/data_batch_1": hostile_pickle(target)})
    return {
        "404": (not_found, "HTTP Error 404"),
        "half": (half(good), "the download stopped at"),
        "half in chunks": (half_in_chunks(good), "."),
        "half an archive": (whole(good[: len(good) // 2]), "."),
        "web page": (whole(b"<html>moved</html>"), "could not be opened"),
        "nothing": (whole(b""), "."),
        "other pictures": (whole(wrong_pictures()), "content check failed"),
        "empty archive": (whole(tar_gz({})), "content check failed on 0 images"),
        "os.system": (whole(hostile), "the file asks for os.system"),
        "wrong call": (whole(tar_gz({"c/data_batch_1": WRONG_CALL})), "."),
        "no picture": (whole(tar_gz({"c/train/automobile/1.png": b"x"})), "cannot identify"),
        "huge picture": (whole(tar_gz({"c/train/automobile/1.png": huge_png()})), "not 32 by 32"),
        "not http": (not_http, "."),
        "stalled": (stalled(server), "timed out"),
        "trickle": (trickle(server), "bytes came in"),
        "redirect to itself": (redirect("/bad"), "infinite loop"),
        "redirect to a file": (redirect("file:///etc/passwd"), "not allowed"),
        "redirect to nothing": (redirect("/gone"), "HTTP Error 404"),
        "length is no number": (promise("many", good), "invalid literal"),
        "length too small": (promise("5000", good), "."),
        "length too large": (promise("10" * 10, good), "the download stopped at"),
        "links": (whole(linked_batches(target)), "content check failed on 0 images"),
        "pickle bomb": (whole(tar_gz({"c/data_batch_1": PICKLE_BOMB})), "."),
        "archive bomb": (whole(archive_bomb()), "unpacks to more than"),
    }


CACHED = [
    f"cache/simple-diffusion/cifar10-{label}-{split}.npy"
    for label in data.LABELS
    for split in ("test", "train")
]


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize("kind", bad_answers(None, ""))
def test_a_bad_download_gives_way_to_the_next_source(small_cifar, home, server, monkeypatch, kind):
    target = home / "it-ran"
    server.url("/gone", not_found)
    bad = server.url("/bad", bad_answers(server, target)[kind][0])
    good = server.url("/good", whole(tar_gz(official_members())))
    monkeypatch.setattr(data, "DOWNLOADS", (bad, good))
    monkeypatch.setattr("tempfile.tempdir", str(home))
    monkeypatch.chdir(home)
    assert len(load_cars()) == 15
    assert (server.asked[0], server.asked[-1]) == ("/bad", "/good")
    assert files_below(home) == CACHED


@pytest.mark.parametrize("kind", bad_answers(None, ""))
def test_when_nothing_works_the_error_lists_what_was_tried_and_what_to_do(
    small_cifar, home, server, monkeypatch, kind
):
    server.url("/gone", not_found)
    answer, reason = bad_answers(server, home / "it-ran")[kind]
    monkeypatch.setattr("tempfile.tempdir", str(home))
    monkeypatch.chdir(home)
    url = server.url("/bad", answer)
    monkeypatch.setattr(data, "DOWNLOADS", (url,))
    with pytest.raises(ConnectionError) as caught:
        load_cars()
    lines = str(caught.value).splitlines()
    assert lines[0] == "CIFAR-10 could not be loaded. Tried:"
    assert [line.startswith("- ") for line in lines] == [False, True, True, True, True, False]
    assert "cache" in lines[1]
    assert "keras" in lines[2]
    assert lines[4].startswith(f"- {url}: ")
    assert reason in lines[4]
    assert "Set CIFAR10_DIR" in lines[5]
    assert files_below(home) == []


def test_a_redirect_is_followed(small_cifar, home, server, monkeypatch):
    server.url("/moved", whole(tar_gz(official_members())))
    monkeypatch.setattr(data, "DOWNLOADS", (server.url("/old", redirect("/moved")),))
    assert len(load_cars()) == 15


def test_a_download_without_an_end_is_given_up(small_cifar, home, server, monkeypatch):
    def endless(request):
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            while not server.end.is_set():
                request.wfile.write(bytes(1 << 16))

    monkeypatch.setattr(data, "MOST_BYTES", 2**20)
    monkeypatch.setattr(data, "DOWNLOADS", (server.url("/zeros", endless),))
    with pytest.raises(ConnectionError, match="the download is larger than 1048576 bytes"):
        load_cars()


def test_links_before_the_batches_change_nothing(small_cifar, home, server, monkeypatch):
    """A link is no file; the true batches behind it in the archive are read."""
    secret = home / "secret"
    secret.write_bytes(official_spelling(make_batch(99)))
    # Both halves are whole archives; the first loses its end mark, two blocks of zeros and more.
    links = gzip.decompress(linked_batches(secret)).rstrip(b"\0")
    links += bytes(-len(links) % 512)
    archive = gzip.compress(links + gzip.decompress(tar_gz(official_members())))
    monkeypatch.setattr(data, "DOWNLOADS", (server.url("/cifar.tgz", whole(archive)),))
    assert as_set(load_cars()) == as_set(pictures(CAR, FILES))


def test_a_server_that_is_not_there_is_listed(home, server, monkeypatch):
    url = server.url("/", not_found)
    server.close()
    monkeypatch.setattr(data, "DOWNLOADS", (url,))
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:\d+/: .*refused"):
        load_cars()


def test_a_member_that_points_outside_writes_nothing(
    small_cifar, home, server, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    work = tmp_path / "work" / "deeper"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    members = {"../evil": b"evil", "../../evil": b"evil", str(home / "evil"): b"evil"}
    archive = tar_gz({**members, **official_members()})
    monkeypatch.setattr(data, "DOWNLOADS", (server.url("/cifar.tgz", whole(archive)),))
    assert len(load_cars()) == 15
    assert list(tmp_path.rglob("*evil*")) == []


def test_the_mirrors_come_first_and_the_official_server_last():
    assert all(url.startswith("https://") for url in data.DOWNLOADS)
    assert "cs.toronto.edu" in data.DOWNLOADS[-1]
    assert len(data.DOWNLOADS) == 3


# --- pixels -------------------------------------------------------------------------------------

EVERY_PIXEL = np.arange(256, dtype=np.uint8)


def test_normalize_maps_0_to_minus_one_and_255_to_one():
    values = normalize(EVERY_PIXEL)
    assert values.dtype == np.float32
    assert (values[0], values[-1]) == (-1, 1)
    np.testing.assert_allclose(values, EVERY_PIXEL / 127.5 - 1, rtol=0, atol=1e-7)


def test_denormalize_brings_every_pixel_back():
    back = denormalize(normalize(EVERY_PIXEL))
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, EVERY_PIXEL)


def test_denormalize_clips_what_lies_outside_and_rounds_the_rest():
    values = np.array([-3, -1, -0.99, 0.004, 0.999, 1, 1.7])
    np.testing.assert_array_equal(denormalize(values), [0, 0, 1, 128, 255, 255, 255])


def test_cars_survive_the_way_there_and_back(cars):
    np.testing.assert_array_equal(denormalize(normalize(cars[:50])), cars[:50])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
def test_normalize_takes_uint8_only(dtype):
    with pytest.raises(TypeError, match=r"normalize got \w+; expected uint8 pixels"):
        normalize(np.zeros((2, 4), dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_denormalize_takes_floats_only(dtype):
    with pytest.raises(TypeError, match=r"denormalize got \w+; expected floats"):
        denormalize(np.zeros((2, 4), dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_denormalize_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        denormalize(np.array([0.0, value]))
