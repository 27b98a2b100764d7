"""An exported folder is what `datasets` and TRL, Axolotl and LLaMA-Factory read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core.errors import LabelsError
from dpo_core.records import Prompt, prompt_id
from dpo_core.tables import read_rows
from labeling.aggregation.agreement import Alpha, Kappa, RoundAgreement
from labeling.exchange.card import AnnotatorCounts, ExportOrigin
from labeling.exchange.exported_pair import ExportedPair
from labeling.exchange.exporting import ExportedPreference, export_pairs
from labeling.exchange.importing import ImportOptions, import_files

CHAT = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"})
ORIGIN = ExportOrigin(
    campaign="demo",
    rounds=[1, 2],
    judges={"rule:x": "rule"},
    people=AnnotatorCounts(2, {"blind": 30, "review": 1}),
    dropped={1: {"pairs": {"tie": 3}}, 2: {}},
    imported=[1],
    agreement={
        2: RoundAgreement(
            kappa={"rule:x": Kappa(0.5, n=30, agree=0.75)}, alpha=Alpha(0.25, n=8, people=2)
        )
    },
)


def pair(prompt: Prompt, number: int = 1, **changed: Any) -> ExportedPreference:
    told: dict[str, Any] = {
        "chosen": "yes",
        "rejected": "no",
        "p_chosen": 1.0,
        "agreement": 1.0,
        "sources": ("rule:x",),
        "round": number,
        "pair_id": f"{number:016x}",
    }
    return ExportedPreference(ExportedPair(prompt, **{**told, **changed}), cut=number - 1)


def plain(text: str) -> Prompt:
    return Prompt(prompt_id(text, None), text=text)


def chat() -> Prompt:
    return Prompt(prompt_id(None, CHAT), messages=CHAT)


PAIRS = [
    pair(chat()),
    pair(plain("Sky?"), 2, p_chosen=0.75, agreement=0.5, sources=("rule:x", "human:ada")),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_pairs(PAIRS, ORIGIN, tmp_path / "set", "conversational", "cc-by-4.0")
    return tmp_path / "set"


def front_matter(folder: Path) -> tuple[dict[str, Any], str]:
    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


def loaded(folder: Path, cache: Path) -> Any:
    import datasets

    return datasets.load_dataset(str(folder), cache_dir=str(cache))


def test_datasets_reads_one_train_split(folder: Path, tmp_path: Path) -> None:
    found = loaded(folder, tmp_path / "cache")
    assert list(found) == ["train"]
    first, second = found["train"]
    assert first["prompt"] == [dict(message) for message in CHAT]
    assert first["chosen"] == [{"role": "assistant", "content": "yes"}]
    assert (first["plain"], second["plain"]) == (False, True)
    assert second["prompt"] == [{"role": "user", "content": "Sky?"}]
    told = {name: second[name] for name in ("p_chosen", "agreement", "sources", "round")}
    assert told == {
        "p_chosen": 0.75,
        "agreement": 0.5,
        "sources": ["rule:x", "human:1"],
        "round": 2,
    }


def test_the_card_says_where_the_preferences_are_from(folder: Path) -> None:
    head, text = front_matter(folder)
    assert head["license"] == "cc-by-4.0"
    assert head["size_categories"] == ["n<1K"]
    [config] = head["configs"]
    [file] = config["data_files"]
    assert list(folder.glob(file["path"]))
    for said in (
        "| 1 | 1 | imported |",
        "| 2 | 1 | sampled |",
        "| rule:x | rule | 2 |",
        "| human:1 | human | 1 |",
        "On average 75.0% of a pair's sources agree",  # of 1 and 0.5
        "1 have a soft label",
        "- round 2: Cohen's κ of rule:x against people 0.50 (n = 30)",
        "- round 2: Krippendorff's α among 2 people 0.25 (n = 8)",
        "Labels by 2 people: 30 blind, without a judge's opinion; 1 reviewing a judge's suggestion",
        "| 1 | pairs | tie | 3 |",
        "1 answers were cut",
    ):
        assert said in text, said


def test_trl_trains_on_it(folder: Path, tmp_path: Path) -> None:
    """TRL's own preparation: the template once, then token ids."""
    from trl import is_conversational
    from trl.data_utils import maybe_apply_chat_template, maybe_extract_prompt

    row = loaded(folder, tmp_path / "cache")["train"][0]
    assert is_conversational(row)
    tokenizer = chat_tokenizer()
    texts = maybe_apply_chat_template(maybe_extract_prompt(row), tokenizer)
    assert texts["prompt"] == "<system>Be brief.<eos><user>Why?<eos><assistant>"
    assert (texts["chosen"], texts["rejected"]) == ("yes<eos>", "no<eos>")


def chat_tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<eos>": 0, "<unk>": 1, "yes": 2, "no": 3}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>")
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}<assistant>{% else %}"
        "<{{ m.role }}>{% endif %}{{ m.content }}<eos>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return tokenizer


def test_llamafactory_reads_one_message_for_each_answer(folder: Path) -> None:
    """Its converter takes a row as a ranking only where both answers are one message."""
    beside = folder / "llamafactory"
    info = json.loads((beside / "dataset_info.json").read_text())["demo"]
    assert info["ranking"] is True
    assert info["formatting"] == "sharegpt"
    columns, tags = info["columns"], info["tags"]
    for row in read_rows(beside / info["file_name"]):
        roles = [message[tags["role_tag"]] for message in row[columns["messages"]]]
        assert roles[-1] == tags["user_tag"]
        for side in ("chosen", "rejected"):
            answer = row[columns[side]]
            assert answer[tags["role_tag"]] == tags["assistant_tag"]
            assert answer[tags["content_tag"]] in ("yes", "no")


def test_the_axolotl_snippet_names_the_columns_there_are(folder: Path) -> None:
    _, text = front_matter(folder)
    snippet = yaml.safe_load(text.split("Axolotl:\n\n```yaml\n")[1].split("```")[0])
    [dataset] = snippet["datasets"]
    assert (snippet["rl"], dataset["type"]) == ("dpo", "chat_template.default")
    row = read_rows(folder / "data" / "train-00000-of-00001.parquet")[0]
    assert {dataset[f"field_{n}"] for n in ("messages", "chosen", "rejected")} <= set(row)


def test_the_standard_format_is_text(tmp_path: Path) -> None:
    export_pairs(PAIRS[1:], ORIGIN, tmp_path / "set", "standard", "unknown")
    [row] = loaded(tmp_path / "set", tmp_path / "cache")["train"]
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Sky?", "yes", "no")
    assert not (tmp_path / "set" / "llamafactory").exists()
    with pytest.raises(LabelsError, match="chat messages"):
        export_pairs(PAIRS, ORIGIN, tmp_path / "other", "standard", "unknown")
    assert not (tmp_path / "other").exists()


def test_what_is_exported_can_be_imported(folder: Path, tmp_path: Path) -> None:
    import_files([folder], tmp_path / "back", ImportOptions())
    rows = read_rows(tmp_path / "back" / "pairs.parquet")
    assert [row["prompt_id"] for row in rows] == [p.pair.prompt.prompt_id for p in PAIRS]
    assert [row["prompt"] for row in rows] == [None, "Sky?"]
    for row, exported in zip(rows, PAIRS, strict=True):
        told = ("chosen", "rejected", "p_chosen", "agreement")
        assert [row[n] for n in told] == [getattr(exported.pair, n) for n in told]
    assert [row["sources"] for row in rows] == [["rule:x"], ["rule:x", "human:1"]]


def test_nobody_is_named(folder: Path) -> None:
    tables = [str(read_rows(path)) for path in folder.rglob("*.parquet")]
    pages = [path.read_text() for path in (*folder.rglob("*.md"), *folder.rglob("*.json"))]
    assert len(tables) == len(pages) == 2
    assert not any(":ada" in text for text in (*tables, *pages))


def test_a_card_cannot_be_broken_by_what_it_names(tmp_path: Path) -> None:
    found = pair(plain("Q"), sources=("a | b\n---\n<script>",))
    export_pairs([found], ORIGIN, tmp_path / "set", "conversational", "other")
    head, text = front_matter(tmp_path / "set")
    assert head["license"] == "other"
    assert "| a \\| b --- &lt;script> | – | 1 |" in text


def test_no_preference_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="round 1, 2 of demo has no preferences"):
        export_pairs([], ORIGIN, tmp_path / "set", "conversational", "unknown")
    assert list(tmp_path.iterdir()) == []


def test_without_a_token_or_a_network_the_push_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from labeling.exchange.hub import push_folder\n"
        "from dpo_core.errors import RatchetError\n"
        "try: push_folder(Path(sys.argv[1]), 'me/set')\n"
        "except RatchetError as error: print(error.exit_code, error)"
    )

    def push(**environment: str) -> str:
        base = {"PATH": "/usr/bin", "PYTHONPATH": str(Path(__file__).parents[3])}
        home = {"HOME": str(folder.parent), "HF_HOME": str(folder.parent / "hf")}
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            env={**base, **home, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + done.stderr

    without = push()
    assert without.startswith("2 ") and "no token" in without
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_secretsecret"}
    unreachable = push(**nowhere)
    assert unreachable.startswith("1 ") and "cannot be reached" in unreachable
    assert "hf upload me/set" in unreachable
    assert "secret" not in unreachable
