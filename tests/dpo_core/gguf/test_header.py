"""What the header of a GGUF file says, and one sentence for whatever is no such file."""

import struct
from pathlib import Path

import gguf
import pytest

from dpo_core.errors import BadInput
from dpo_core.gguf.header import BLOCKS, names_gguf, read_header
from tests.tiny_gguf import END, HIDDEN, INNER, LAYERS, TURN, VOCABULARY, write_tiny_gguf


def test_header_says_what_was_written(tmp_path: Path) -> None:
    header = read_header(write_tiny_gguf(tmp_path / "tiny.gguf"))
    assert header.architecture == "llama" and header.has_chat_template
    assert header.of_model("block_count") == LAYERS and header.of_model("nothing") is None
    assert header.values["tokenizer.ggml.tokens"] == VOCABULARY
    assert header.ends == [END]
    # Queries and output are square, keys and values half as wide; three have the inner width.
    layer = 3 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER + 2 * HIDDEN
    assert header.parameters == VOCABULARY * HIDDEN + HIDDEN + LAYERS * layer


def test_a_turn_may_end_otherwise_than_a_text(tmp_path: Path) -> None:
    more = {"tokenizer__ggml__eot_token_id": TURN}
    assert read_header(write_tiny_gguf(tmp_path / "tiny.gguf", **more)).ends == [END, TURN]
    same = {"tokenizer__ggml__eot_token_id": END}
    assert read_header(write_tiny_gguf(tmp_path / "same.gguf", **same)).ends == [END]


def test_sizes_of_blocks_are_those_of_the_format() -> None:
    assert {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()} == BLOCKS


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_a_file_that_lacks_its_last_bytes_is_not_whole(tmp_path: Path, kind: str) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", kind=gguf.GGMLQuantizationType[kind])
    whole = path.read_bytes()
    read_header(path)
    tensors = gguf.GGUFReader(path).tensors
    end = max(int(each.data_offset) + int(each.n_bytes) for each in tensors)
    (tmp_path / "shorter.gguf").write_bytes(whole[: end - 1])
    with pytest.raises(BadInput, match=rf"is incomplete: it has {end - 1:,} of {end:,} bytes"):
        read_header(tmp_path / "shorter.gguf")


def test_no_length_of_a_cut_header_ends_in_a_traceback(tmp_path: Path) -> None:
    whole = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    begins = read_end(whole)
    for length in [*range(4, 200), *range(200, begins, 97)]:
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        with pytest.raises(BadInput, match="is incomplete"):
            read_header(tmp_path / "cut.gguf")


def read_end(whole: bytes) -> int:
    """Where the last tensor's entry begins, somewhat before the header's end."""
    return whole.rindex(b"ffn_down")


def bent(tmp_path: Path, at: int, format: str, value: int) -> Path:
    """The tiny file with one number of its header changed."""
    changed = bytearray(write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes())
    struct.pack_into(format, changed, at, value)
    (tmp_path / "bent.gguf").write_bytes(changed)
    return tmp_path / "bent.gguf"


@pytest.mark.parametrize("at", [8, 16], ids=["tensors", "keys"])
def test_counts_beyond_the_file_end_at_once(tmp_path: Path, at: int) -> None:
    with pytest.raises(BadInput, match="is incomplete"):
        read_header(bent(tmp_path, at, "<Q", 2**60))


def test_what_is_no_gguf_file_is_said_in_one_sentence(tmp_path: Path) -> None:
    page = tmp_path / "page.gguf"
    for text in ("", "GG", "<html>Not found</html>", "version https://git-lfs.github.com/spec/v1"):
        page.write_text(text)
        with pytest.raises(BadInput, match=r"page\.gguf is not a GGUF file"):
            read_header(page)
    with pytest.raises(BadInput, match="there is no file"):
        read_header(tmp_path / "nowhere.gguf")
    with pytest.raises(BadInput, match="of version 1; versions 2 and 3 can be read"):
        read_header(bent(tmp_path, 4, "<I", 1))
    with pytest.raises(BadInput, match="one of 3 parts"):
        read_header(write_tiny_gguf(tmp_path / "part.gguf", split__count=3))


def test_a_folder_and_a_hub_id_are_no_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    assert not names_gguf(tmp_path / "folder.gguf")
    assert not names_gguf("somebody/model-GGUF")
    assert names_gguf("model.gguf") and names_gguf(tmp_path / "MODEL.GGUF")
