"""What must not leave is found in every kind of file, and what may leave is let through."""

import io
import json
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml

from hf_ambiser.hub import leaks
from hf_ambiser.hub.leaks import Leak, LeakError, check_leaks, find_leaks


PACKAGE = Path(leaks.__file__).parents[1]
TOKEN = "hf_" + "aB3" * 11
SECRET = "correct-horse-battery"
# Account, token, secret and a path, as they may stand in any text; and the word that names the kind.
PRIVATE = {
    "the path": ("see /home/annika/runs/ipr for it", "the local path '/home/annika/runs/ipr'"),
    "the account": ("trained by annika in 2024", "the name of the local account, 'annika'"),
    "a token": (f"use {TOKEN} to load", "a token or secret"),
    "a secret": (f"password {SECRET}.", "a token or secret"),
}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine of somebody called annika, with a secret in its environment."""
    monkeypatch.setattr(leaks, "_account", lambda: "annika")
    monkeypatch.setattr(leaks, "_hub_token", lambda: "not-a-usual-token")
    monkeypatch.setattr(leaks, "_folders", lambda: ["/u/annika", "/ssd1/exp"])
    monkeypatch.setenv("MY_SERVICE_PASSWORD", SECRET)


def found(name: str, content, **options) -> list[tuple[str, str]]:
    return [(leak.field, leak.what) for leak in find_leaks(name, content, **options)]


def in_text(text: str, **options) -> list[str]:
    return [what for _, what in found("README.md", text.encode(), **options)]


# ---- files that hold a text at a field ---------------------------------------------------------------------------


def _safetensors(text):
    return safetensors.numpy.save({"w": np.zeros(3, np.float32)}, metadata={"format": "pt", "from": text})


def _tensor_name(text):
    return safetensors.numpy.save({text: np.zeros(3, np.float32)})


def _parquet(values, metadata=None, kind=None, column_metadata=None, name="a"):
    import pyarrow as pa
    import pyarrow.parquet as pq

    array = pa.array(values, kind)
    table = pa.table([array], pa.schema([pa.field(name, array.type, metadata=column_metadata)], metadata=metadata))
    pq.write_table(table, sink := io.BytesIO())
    return sink.getvalue()


def _png(kind=None, data=b"", after=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), chunk(b"IDAT", zlib.compress(b"\0\0"))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(kind, data) if kind else b"", chunk(b"IEND", b""), after])


def _wav(text):
    import soundfile

    with soundfile.SoundFile(sink := io.BytesIO(), "w", 16000, 1, format="WAV") as file:
        file.comment = text
        file.write(np.zeros(160))
    return sink.getvalue()


PLACES = {
    "json": ("c.json", "a.b[1].c", lambda t: json.dumps({"a": {"b": [0, {"c": t}]}}).encode()),
    "json, escaped": ("c.json", "a", lambda t: json.dumps({"a": t}).replace("/", "\\/").replace("n",
    "\\u006e").encode()),
    "json, a bare text": ("c.json", "the text", lambda t: json.dumps(t).encode()),
    "json, with a BOM": ("c.json", "a", lambda t: b"\xef\xbb\xbf" + json.dumps({"a": t}).encode()),
    "yaml": ("a.yaml", "a.b[0]", lambda t: yaml.safe_dump({"a": {"b": [t]}}).encode()),
    "yaml, the second document": ("a.yaml", "b", lambda t: f"a: 1\n---\nb: '{t}'\n".encode()),
    "yaml, a comment": ("a.yaml", "line 2", lambda t: f"a: 1\n# {t}\nb: 2\n".encode()),
    "markdown": ("README.md", "line 3", lambda t: f"# Title\n\nText, {t} and more.\n".encode()),
    "markdown's header": ("README.md", "line 2", lambda t: f"---\na: {t}\n---\n".encode()),
    "windows' lines": ("README.md", "line 2", lambda t: f"a\r\n{t}\r\n".encode()),
    "python": ("m.py", "line 2", lambda t: f"import x\nA = '{t}'\n".encode()),
    "csv": ("a.csv", "line 2", lambda t: f"a,b\n1,{t}\n".encode()),
    "txt": ("a.txt", "line 1", lambda t: t.encode()),
    "gitattributes": (".gitattributes", "line 1", lambda t: t.encode()),
    "safetensors": ("model.safetensors", "__metadata__.from", _safetensors),
    "parquet": ("d.parquet", "column a", lambda t: _parquet(["x", None, t])),
    "parquet, nested": ("d.parquet", "column a.b.list.element.c", lambda t: _parquet([{"b": [{"c": t}]}])),
    "parquet, a dictionary": ("d.parquet", "column a", lambda t: _parquet([t, t], kind=_dictionary())),
    "parquet, large": ("d.parquet", "column a", lambda t: _parquet([t], kind="large_string")),
    "parquet, bytes": ("d.parquet", "column a", lambda t: _parquet([b"\xff\x00", t.encode()])),
    "parquet, audio": ("d.parquet", "column a", lambda t: _parquet([_wav(t)])),
    "parquet's metadata": ("d.parquet", "metadata.from", lambda t: _parquet([1], {"from": t})),
    "a column's metadata": ("d.parquet", "metadata a.from", lambda t: _parquet([1], column_metadata={"from": t})),
    "png": ("f/a.png", "chunk tEXt", lambda t: _png(b"tEXt", b"Author\0" + t.encode())),
}  # fmt: skip


def _dictionary():
    import pyarrow as pa

    return pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", PRIVATE)
def test_every_kind_is_found_in_every_place(place, kind):
    name, field, make = PLACES[place]
    text, what = PRIVATE[kind]
    assert found(name, make(text)) == [(field, what)]
    assert found(name, make("nothing and/or private")) == []


@pytest.mark.parametrize("kind", PRIVATE)
def test_names_of_fields_files_and_columns_are_texts_too_and_no_secret_is_shown(kind, tmp_path):
    text, what = PRIVATE[kind]
    files = {
        "c.json": json.dumps({"a": {text: 1}}).encode(),
        "a.yaml": yaml.safe_dump({text: {"a": 1}}).encode(),
        "model.safetensors": _tensor_name(text),
        "d.parquet": _parquet([1], name=text),
        "meta.parquet": _parquet([1], {text: "x"}),
    }
    for name, content in files.items():
        assert what.split("'")[0] in str(found(name, content)), name
    files[f"{text.replace('/home', 'x/home')}.txt"] = files[f"/{text}/a.txt"] = b""
    with pytest.raises(LeakError) as error:
        check_leaks(files)
    assert [leak.what for leak in error.value.leaks if leak.field == "its name"][-1].startswith(
        "the local path" if text.startswith("see /") else what
    )
    assert TOKEN not in str(error.value) and SECRET not in str(error.value) and "\n" not in str(error.value)


def test_the_message_names_file_field_and_what_to_do(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"encoder": {"path": "/data/w2v"}}))
    with pytest.raises(LeakError) as error:
        check_leaks({"config.json": tmp_path / "c.json", "ok.md": b"fine", "m.bin": b""})
    assert error.value.leaks[0] == Leak("config.json", "encoder.path", "the local path '/data/w2v'")
    assert "config.json, encoder.path: the local path '/data/w2v'; m.bin, the file: a .bin file" in str(error.value)
    check_leaks({"ok.md": b"fine"})


def test_many_leaks_are_counted_and_not_all_listed():
    with pytest.raises(LeakError, match="and 15 more") as error:
        check_leaks({"a.csv": b"".join(b"/home/x/%d\n" % i for i in range(20))})
    assert len(error.value.leaks) == 20 and len(str(error.value)) < 1000


# ---- paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "/home/bob/x", "it is in /home/bob/x.", "`/home/bob/x`", '"/home/bob/x"', "'/Users/bob'", "(/tmp/run)",
        "a=/data/x",
        "<b>/mnt/x</b>", "out:/scratch/x", "host:/home/bob", "~/runs", "in ~bob/runs", "file:///home/bob",
        "file:/etc/x",
        "FILE://server/x", r"C:\Users\bob", r"C:\\Users\\bob", "D:/data/x", r"in d:\x\y", r"\\server\share",
        r"\\\\server\\share", r"\\?\C:\x", "/a/b", "see /raid0/bob/runs", "%2Fhome%2Fbob%2Fx", "file%3A%2F%2F%2Fhome",
        "../x",
        "[run](/home/bob/run)", "x >/tmp/log", "/u/annika", "in /ssd1/exp", "|/home/bob|", "$(ls /opt/x)",
        "--out=/work/x",
        r"\/home\/bob\/x", "{'a': '/home/bob'}", "from /etc/passwd", "/workspace/model.bin", "a;/home/bob",
        "@/home/bob",
    ],
)  # fmt: skip
def test_what_is_a_local_path(text):
    assert len(in_text(text)) == 1 and in_text(text)[0].startswith("the local path")


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/datasets/a/b/resolve/main/data/x.wav", "and/or", "WA / UA", "41.8 % / 25.0 %",
        "2024/01/02",
        "3/4", "clips/s, ~10/s, ~1/2, ms/s", "data/train.csv", "./data/x", "figures/a.png", "[a](figures/a.png)",
        "a:b",
        "[data](/datasets/anna/crema)", "$p(x)/q(x)$", r"$$a \\ \hline b \\ c$$", r"\frac{a}{b} \\[2pt]",
        "e.g. a/b/c/d",
        "hf://datasets/a/b", "http://localhost:8000/data/x", "s3://home/x", "<br/>", "</data>", "</div></p>",
        "~~gone~~",
        "x ~ N(0, 1)/2", "a->b", "C:", "Note: /", "https://a.org/home/x", "git@github.com:a/b.git", "n/a", "//",
        "key: a/b",
        "huggingface.co/home/x", "https://doi.org/10.1109/TASLP.2020.1", "8/home", "100%/x", "%2F", "kHz/16",
        "TCP/IP/x",
    ],
)  # fmt: skip
def test_what_is_no_local_path(text):
    assert in_text(text) == []
    assert found("a.json", json.dumps({"a": f"see {text}"}).encode()) == []


# ---- accounts and secrets ----------------------------------------------------------------------------------------


def test_an_account_is_found_as_a_word_only():
    for text in ("annika", "by annika.", "annika@host", "(annika)", "a/annika/b", "annika's", "über annika"):
        assert in_text(text) == ["the name of the local account, 'annika'"]
    for text in ("annikas", "johannika", "annika_x", "Annika Smith", "x-annika-y"):
        assert in_text(text) == []


def test_whoever_is_called_like_a_word_can_publish(monkeypatch):
    monkeypatch.setattr(leaks, "_account", lambda: "neutral")
    assert in_text("anger, neutral") == ["the name of the local account, 'neutral'"]
    assert in_text("anger, neutral", allow=("neutral",)) == []
    with pytest.raises(LeakError, match="--allow"):
        check_leaks({"a.md": b"neutral"})
    for account in ("root", "Ubuntu", "data", "", "ab"):
        monkeypatch.setattr(leaks, "_account", lambda account=account: account)
        assert in_text("root ubuntu Ubuntu data ab") == []


def test_the_account_that_publishes_is_public():
    assert in_text("by annika", repo_id="annika/model") == []
    assert in_text("load lab/annika", repo_id="lab/annika") == []
    assert in_text("load lab/annika, by annika", repo_id="lab/annika") == ["the name of the local account, 'annika'"]
    assert in_text("/home/annika/x", repo_id="annika/model") == ["the local path '/home/annika/x'"]


def test_what_is_allowed_hides_nothing_else():
    assert in_text("/data/clips/a.wav", allow=("/data/clips",)) == []
    assert in_text("/data/clips/a.wav and /home/bob/x", allow=("/data/clips",)) == ["the local path '/home/bob/x'"]
    assert in_text(f"{TOKEN} /home/bob", allow=("a", "/", "home", "hf_", "", "bob")) == ["a token or secret"]
    assert in_text("/home/bob", allow=("home", "bob", "")) == ["the local path '/home/bob'"]
    assert in_text(TOKEN, allow=(TOKEN,)) == [] and in_text(SECRET, allow=(SECRET,)) == []


@pytest.mark.parametrize(
    "text",
    [
        TOKEN, f"token={TOKEN}", f"x_{TOKEN}", "ghp_" + "a1" * 18, "github_pat_" + "a1" * 20, "AKIA" + "A1" * 8,
        "glpat-" + "x1" * 10, "sk-" + "a1" * 15, "xoxb-" + "1" * 12, "-----BEGIN PRIVATE KEY-----", "AIza" + "x" * 35,
        "https://bob:hunter2@host/x", "not-a-usual-token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.x",
        f"https://h/?t={TOKEN.replace('h', '%68')}",
    ],
)  # fmt: skip
def test_what_is_a_token(text):
    assert in_text(f"see {text} there") == ["a token or secret"]


@pytest.mark.parametrize(
    "text",
    ["hf_ambiser", "hf_hub_download", "sk-learn", "scikit-learn", "task-oriented-dialogue-systems", "a" * 40, "TOKEN",
     "x@y.org", "AKIA", "tokenizers", "https://a.org:8080/x@y", "Basic e-mail: a.b@c.de", "content-0123456789ab"],
)  # fmt: skip
def test_what_is_no_token(text):
    assert in_text(f"see {text} there") == []


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "MY_SECRET_THING", "DB_PASSWORD", "openai_api_key", "WANDB_API_KEY", "SSH_KEY"]
)
def test_the_value_of_any_variable_named_like_a_secret_is_one(monkeypatch, name):
    monkeypatch.setenv(name, "tr0ub4dor")
    assert in_text("it is tr0ub4dor.") == ["a token or secret"]
    monkeypatch.setenv(name, "false")  # as TOKENIZERS_PARALLELISM is: too short to be one
    assert in_text("it is false.") == []


# ---- kinds of files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["training_args.bin", "a.pt", "A.PTH", "x.json.pkl", "optimizer.npz", "w.ckpt", "m.h5"]
)
def test_kinds_that_can_hold_pickles_are_refused(name):
    assert "can hold a pickle" in str(found(name, b""))


@pytest.mark.parametrize("name", ["a.zip", "a.exe", "LICENSE", "a.wav", "a.ipynb", "a.jsonl", "a", "a.json.gz"])
def test_unknown_kinds_are_refused(name):
    assert "files of this kind are not published" in str(found(name, b"{}"))


def _torch_saved(legacy: bool) -> bytes:
    import torch

    torch.save({"a": torch.zeros(2)}, sink := io.BytesIO(), _use_new_zipfile_serialization=not legacy)
    return sink.getvalue()


@pytest.mark.parametrize("suffix", sorted({*leaks.SUFFIXES, ".gitattributes"} - {".safetensors"}))
def test_pickles_under_another_name_are_refused(suffix, tmp_path):
    value = {"a": [1, "x"], "b": Path("x"), "c": np.float64}
    contents = [pickle.dumps(value, protocol) for protocol in range(6)]
    contents += [b"cos\nsystem\n(S'ls'\ntR.", pickle.dumps([1, 2], 0), _torch_saved(True), _torch_saved(False)]
    name = suffix if suffix == ".gitattributes" else f"a{suffix}"
    for content in contents:
        assert found(name, content) == [("the file", "a pickle under another name")]
        (tmp_path / "file").write_bytes(content)
        assert found(name, tmp_path / "file") == [("the file", "a pickle under another name")]


def test_a_pickle_is_no_safetensors_file_and_a_length_that_looks_like_a_pickle_is_none():
    for content in (pickle.dumps([1]), pickle.dumps(["x" * 200], 0), _torch_saved(True), _torch_saved(False)):
        assert found("model.safetensors", content) == [("the file", "is no readable .safetensors file")]
    for pad in range(256):
        assert found("model.safetensors", _safetensors("x" * pad)) == []


def test_a_pickle_in_a_column_of_bytes_is_refused():
    assert found("d.parquet", _parquet([b"ok", pickle.dumps({"a": 1})])) == [("a[1]", "a pickle")]


@pytest.mark.parametrize(
    "text", ["N. Smith", "clip,x\na,b\n0.5,1\n", ".", "I am.", "", "cat\ndog\n0.5\n", "(a)", "]\n"]
)
def test_a_text_that_begins_like_a_pickle_is_a_text(text):
    assert found("a.csv", text.encode()) == []


def test_files_that_are_not_what_their_name_says_are_refused(tmp_path):
    good = _safetensors("x")
    length = int.from_bytes(good[:8], "little")

    def headed(header):
        return struct.pack("<Q", len(header)) + header

    for name, content, field in [
        ("a.json", b'{"a": 1', "line 1"), ("a.json", b"{\n'a': 1}", "line 2"), ("a.json", b"", "line 1"),
        ("a.json", b"\xff\xfe{}", "the file"), ("a.json", b"[" * 100_000, "the file"),
        ("a.yaml", b"a: 1\nb: [", "line 2"), ("a.yaml", b"a: !!python/object:os.system x", "line 1"),
        ("a.yaml", b"a: \x00", "the file"), ("a.yaml", b"a: 2024-13-45", "the file"),
        ("a.md", b"\x1f\x8b\x08gzip", "the file"), ("a.txt", "utf-16".encode("utf-16"), "the file"),
        ("a.csv", b"a\0b", "the file"), ("a.py", b"\x93NUMPY", "the file"),
        ("m.safetensors", b"", "the file"), ("m.safetensors", b"\xff" * 100, "the file"),
        ("m.safetensors", good[:20], "the file"),
        ("m.safetensors", headed(b"[]"), "the file"), ("m.safetensors", headed(b'{"a": 1}'), "the file"),
        ("m.safetensors", headed(b'{"a'), "line 1"), ("m.safetensors", good + b"x", "the file"),
        ("m.safetensors", good[: 8 + length], "the file"),
        ("d.parquet", b"PAR1 no PAR1", "the file"), ("d.parquet", b"", "the file"),
        ("d.parquet", _parquet(["a"])[:-9], "the file"),
        ("a.png", b"GIF89a", "the file"), ("a.png", _png()[:-15], "the file"),
        ("a.png", _png(after=b"PK\x03\x04"), "the file"),
    ]:  # fmt: skip
        (leak,) = find_leaks(name, content)
        assert (leak.file, leak.field) == (name, field), (name, content[:20])
        assert any(words in leak.what for words in ("is no readable", "holds more, or less", "goes on behind"))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"prVt"])
def test_chunks_of_a_picture_that_can_hide_a_text_are_refused(kind):
    (leak,) = find_leaks("a.png", _png(kind, b"Author\0\0" + zlib.compress(b"annika")))
    assert str(leak) == f"a.png, chunk {kind.decode()}: cannot be searched; save the picture without it"


def test_an_error_quotes_nothing_of_the_file():
    for name in ("a.json", "a.yaml", "m.safetensors", "d.parquet"):
        assert TOKEN not in str(find_leaks(name, f"*{TOKEN}: !{TOKEN} [".encode()))


def test_files_that_are_not_there_are_one_clear_leak(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "gone.json")
    for path in (tmp_path / "gone.json", tmp_path / "link.json", tmp_path):
        assert found("a.json", path) == [("the file", "cannot be read")]


def test_what_a_link_points_to_is_what_is_searched(tmp_path):
    (tmp_path / "real.json").write_text('{"a": "/home/bob"}')
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    assert found("a.json", tmp_path / "link.json") == [("a", "the local path '/home/bob'")]


def test_weights_are_not_read_into_memory(tmp_path):
    """A file of 8 TiB (sparse), of which the header alone is read."""
    end = 2**43
    header = json.dumps({"__metadata__": {"from": "/home/bob"}, "w": {"data_offsets": [0, end]}}).encode()
    with (tmp_path / "m").open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        stream.truncate(8 + len(header) + end)
    assert found("m.safetensors", tmp_path / "m") == [("__metadata__.from", "the local path '/home/bob'")]
    with (tmp_path / "m").open("r+b") as stream:
        stream.write(struct.pack("<Q", end))
    assert found("m.safetensors", tmp_path / "m") == [("the file", "is no readable .safetensors file")]


# ---- what is really published ------------------------------------------------------------------------------------


def test_the_code_that_travels_and_the_projects_pages_are_clean():
    root = PACKAGE.parent
    files = [
        *(PACKAGE / "models").glob("*.py"),
        *PACKAGE.rglob("*.md"),
        *root.glob("*.md"),
        *root.glob("model_cards/**/*.md"),
    ]
    assert len(files) > 12 and PACKAGE / "models/modeling_prototype.py" in files
    check_leaks({path.relative_to(root).as_posix(): path for path in files})


def test_a_figure_and_audio_as_they_are_made_here_are_clean(tmp_path):
    import matplotlib.pyplot as plt

    from hf_ambiser.data.audio import encode_flac

    plt.figure(figsize=(1, 1)).savefig(tmp_path / "a.png")
    plt.close("all")
    flac = encode_flac(np.random.default_rng(0).uniform(-1, 1, 16000))
    files = {"a.png": tmp_path / "a.png", "d.parquet": _parquet([{"bytes": flac, "path": "1.flac"}] * 3)}
    check_leaks(files)


def test_this_machines_own_account_folders_and_token_are_known(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("LOGNAME", "annika")
    monkeypatch.setenv("HF_TOKEN", "another-kind-of-token")
    monkeypatch.setenv("HOME", "/u/somebody")
    monkeypatch.chdir(tmp_path)
    assert in_text("by annika") == ["the name of the local account, 'annika'"]
    assert in_text("another-kind-of-token") == ["a token or secret"]
    assert in_text("at /u/somebody") == ["the local path '/u/somebody'"]
    assert in_text(f"at {tmp_path}")[0].startswith("the local path")
