"""Which sources count in a round, by the entries of the ledger."""

from pathlib import Path

from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.retractions import standing
from dpo_core.campaign.store import Store


def test_the_last_word_on_a_source_decides(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    store.retract("anna", None, undo=False, by="me")
    store.retract("anna", 2, undo=True, by="me")
    store.retract("bert", 1, undo=False, by="me")
    for seen in (store, Store(tmp_path, threads=1)):
        assert [sorted(seen.retractions(n)) for n in (1, 2, 3)] == [["anna", "bert"], [], ["anna"]]
    store.retract("anna", None, undo=True, by="me")
    assert store.retractions(3) == frozenset() and store.retractions(1) == {"bert"}
    assert [entry.step for entry in store.ledger.read()] == ["retract"] * 4
    assert store.was_retracted("anna") and not store.was_retracted("carl")


def test_what_stands_names_rounds_and_who(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    store.retract("anna", None, undo=False, by="me")
    store.retract("bert", 1, undo=False, by="me")
    store.ledger.append(Entry(1, "preferences", "f", facts={"retracted": ["anna", "bert"]}))
    store.retract("anna", 2, undo=True, by="you")
    found = standing(store.ledger.read(), rounds=3)
    assert [(one.source, one.rounds, one.used, one.by) for one in found] == [
        ("anna", (1, 3), (1,), "me"),
        ("bert", (1,), (1,), "me"),
    ]
    store.retract("anna", None, undo=True, by="you")
    store.retract("bert", None, undo=True, by="you")
    assert [one.source for one in standing(store.ledger.read(), rounds=3)] == []
