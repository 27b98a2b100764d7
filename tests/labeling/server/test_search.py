"""Search, filters, sorting, progress, metadata and similarity, through Argilla's own client.

What each query must find is computed here from the rows that were logged.
"""

from collections.abc import Callable
from typing import Any

import pytest
from search_rows import COUNT, ODD, ROWS, Logged, Row, cosine, rows

from labeling.server.users import call

TEXTS: dict[str, Callable[[Row], object]] = {
    "lighthouse": lambda row: row.word == "Lighthouse",
    "LIGHT": lambda row: row.word == "Lighthouse",
    "éclair": lambda row: row.word == "Éclair",
    "灯台": lambda row: row.word == "日本語の灯台",
    "100%": lambda row: row.word == "100% sure",  # no wildcards of SQL
    "snow_flake": lambda row: row.word == "snow_flake",
    "snow-flake": lambda row: False,
    "seen harbour": lambda row: row.word == "harbour",  # both
    '"harbour seen"': lambda row: False,  # as it stands
    '"it is about"': lambda row: True,
    "harbour | éclair": lambda row: row.word in ("harbour", "Éclair"),
    "seen -harbour": lambda row: row.word != "harbour",
    "user": lambda row: False,  # a role of the chat, not a text
    "'; drop table records; --": lambda row: False,
    '"': lambda row: True,  # nothing is asked yet
}


@pytest.mark.parametrize("text", TEXTS)
def test_text_search(logged: Logged, text: str) -> None:
    assert logged.ask(text) == rows(TEXTS[text])


def test_text_search_in_one_field(logged: Logged) -> None:
    body = {"query": {"text": {"q": '"number 7."', "field": "prompt"}}}
    assert logged.search(body) == ["row-07"]
    body["query"]["text"]["field"] = "answer"
    assert logged.search(body) == []


FILTERS: dict[str, tuple[list[tuple[str, str, Any]], Callable[[Row], object]]] = {
    "one value of a list": (
        [("metadata.source", "==", "people")],
        lambda row: "people" in row.sources,
    ),
    "any of several": (
        [("metadata.source", "in", ["people", "nobody"])],
        lambda row: "people" in row.sources,
    ),
    "integers as numbers": (
        [("metadata.number", ">=", 9), ("metadata.number", "<=", 11)],
        lambda row: 9 <= row.number <= 11,  # as texts, "11" would be below "9"
    ),
    "a float": ([("metadata.margin", "==", 1.5)], lambda row: row.margin == 1.5),
    "a whole float": ([("metadata.margin", "==", 2)], lambda row: row.margin == 2.0),
    "a name full of quotes": (
        [(f"metadata.{ODD}", "==", "odd 1")],
        lambda row: row.number % 2 == 1,
    ),
    "suggestion": ([("better.suggestion", "==", "A")], lambda row: row.suggestion == "A"),
    "suggestion's score": (
        [("better.score", ">=", 0.1)],
        lambda row: row.suggestion and row.number >= 10,
    ),
    "suggestion's agent": ([("better.agent", "==", "rule")], lambda row: row.suggestion),
    "suggestion's type": ([("better.type", "==", "human")], lambda row: False),
    "answer, drafts included, as Elasticsearch has it": (
        [("better.response", "==", "Tie")],
        lambda row: any(answer == "Tie" for _, answer in row.responses.values()),
    ),
    "rating": (
        [("strength.response", ">=", 3)],
        lambda row: row.number % 3 == 2 and ("submitted" in statuses(row)),
    ),
    "submitted by somebody": (
        [("response.status", "==", "submitted")],
        lambda row: "submitted" in statuses(row),
    ),
    "drafts": ([("response.status", "==", "draft")], lambda row: "draft" in statuses(row)),
    "nobody's yet": ([("response.status", "==", "pending")], lambda row: not row.responses),
    "nobody's yet, or discarded": (
        [("response.status", "in", ["pending", "discarded"])],
        lambda row: not row.responses or "discarded" in statuses(row),
    ),
    "completed": ([("status", "==", "completed")], lambda row: row.number == 1),
    "an unknown status": ([("status", "in", ["pending", "no such"])], lambda row: row.number != 1),
    "id": ([("id", "==", "row-03")], lambda row: row.number == 3),
}


def statuses(row: Row) -> set[str]:
    return {status for status, _ in row.responses.values()}


@pytest.mark.parametrize("case", FILTERS)
def test_filters(logged: Logged, case: str) -> None:
    import argilla as rg

    conditions, wanted = FILTERS[case]
    assert logged.ask(filter=rg.Filter(conditions)) == rows(wanted)


def terms(scope: dict[str, Any], *values: str) -> dict[str, Any]:
    return {"filters": {"and": [{"type": "terms", "scope": scope, "values": list(values)}]}}


def between(scope: dict[str, Any], **ends: Any) -> dict[str, Any]:
    return {"filters": {"and": [{"type": "range", "scope": scope, **ends}]}}


def test_a_persons_queue_holds_what_has_no_response_of_that_person(logged: Logged) -> None:
    status = {"entity": "response", "property": "status"}
    for person in ("one", "two"):
        for wanted in ("submitted", "draft", "discarded"):
            mine = rows(lambda row, p=person, w=wanted: row.responses.get(p, ("", ""))[0] == w)
            assert set(logged.search(terms(status, wanted), person)) == mine
        pending = rows(lambda row, p=person: p not in row.responses)
        assert set(logged.search(terms(status, "pending"), person)) == pending
    answer = {"entity": "response", "question": "better"}
    assert logged.search(terms(answer, "A"), "two") == ["row-04"]


def test_dates(logged: Logged) -> None:
    moment = {"entity": "record", "property": "inserted_at"}
    everything = rows(lambda row: True)
    [first] = [r for r in logged.dataset.records if r.id == "row-00"]
    at = first.inserted_at
    assert at is not None
    day = at.date().isoformat()
    assert set(logged.search(between(moment, ge=day, le=day))) == everything  # to the day's end
    assert logged.search(between(moment, le=at.date().replace(year=2020).isoformat())) == []
    assert set(logged.search(between(moment, ge=f"{at.isoformat()}+00:00"))) == everything
    assert logged.search(between(moment, ge=(at.timestamp() + 86_400) * 1000)) == []
    with pytest.raises(Exception, match="is not a date"):
        logged.search(between(moment, ge="yesterday"))


def ordered(key: Callable[[Row], Any], *, descending: bool = False) -> list[str]:
    """Rows without a value last, equal ones in the order they were logged in."""
    with_value = [row for row in ROWS if key(row) is not None]
    with_value.sort(key=key, reverse=descending)
    return [row.id for row in [*with_value, *(row for row in ROWS if key(row) is None)]]


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ({"entity": "metadata", "metadata_property": "number"}, lambda row: row.number),
        ({"entity": "metadata", "metadata_property": "margin"}, lambda row: row.margin),
        (
            {"entity": "suggestion", "question": "better", "property": "score"},
            lambda row: row.number / 100 if row.suggestion else None,
        ),
        ({"entity": "record", "property": "external_id"}, lambda row: row.id),
        (
            {"entity": "response", "question": "strength"},
            lambda row: row.number % 3 + 1 if "submitted" in statuses(row) else None,
        ),
    ],
    ids=["integer", "float with gaps", "score", "external id", "rating"],
)
def test_sorting(
    logged: Logged, direction: str, scope: dict[str, Any], key: Callable[[Row], Any]
) -> None:
    found = logged.search({"sort": [{"scope": scope, "order": direction}]})
    wanted = ordered(key, descending=direction == "desc")
    values = {row.id: key(row) for row in ROWS}
    assert [values[id] for id in found] == [values[id] for id in wanted]
    assert sorted(found) == sorted(wanted)


def test_each_person_has_an_order_of_their_own_and_pages_fit_together(logged: Logged) -> None:
    one, again, two = (logged.search({}, person) for person in ("one", "one", "two"))
    assert one == again != two
    assert set(one) == set(two) == rows(lambda row: True)
    paged = []
    for offset in range(0, COUNT, 10):
        path = f"me/datasets/{logged.dataset.id}/records/search?limit=10&offset={offset}"
        found = call(logged.people["one"], "POST", path, {})
        assert found["total"] == COUNT
        paged += [item["record"]["external_id"] for item in found["items"]]
    assert paged == one


def test_progress(logged: Logged) -> None:
    assert logged.dataset.progress() == {"total": COUNT, "completed": 1, "pending": COUNT - 1}
    mine = {
        person: call(access, "GET", f"me/datasets/{logged.dataset.id}/metrics")["responses"]
        for person, access in logged.people.items()
    }
    for person, found in mine.items():
        counts = {
            status: len(rows(lambda row, p=person, s=status: row.responses.get(p, ("",))[0] == s))
            for status in ("submitted", "discarded", "draft")
        }
        assert found == {
            "total": COUNT,
            "pending": COUNT - sum(counts.values()),
            **counts,
        }


def metrics(logged: Logged, name: str) -> dict[str, Any]:
    path = f"me/datasets/{logged.dataset.id}/metadata-properties"
    [found] = [p for p in call(logged.access, "GET", path)["items"] if p["name"] == name]
    return call(logged.access, "GET", f"metadata-properties/{found['id']}/metrics")


def test_what_the_filters_of_metadata_offer(logged: Logged) -> None:
    people = len(rows(lambda row: "people" in row.sources))
    assert metrics(logged, "source") == {
        "type": "terms",
        "total": COUNT + people,
        "values": [{"term": "judge", "count": COUNT}, {"term": "people", "count": people}],
    }
    assert metrics(logged, "number") == {"type": "integer", "min": 0, "max": COUNT - 1}
    margins = [row.margin for row in ROWS if row.margin is not None]
    assert metrics(logged, "margin") == {"type": "float", "min": min(margins), "max": max(margins)}
    assert {value["term"] for value in metrics(logged, ODD)["values"]} == {"odd 0", "odd 1"}


@pytest.mark.parametrize("most", [True, False])
def test_similar_records(logged: Logged, most: bool) -> None:
    import argilla as rg

    probe = [3.0, 1.0]
    sign = 1 if most else -1
    wanted = sorted(ROWS, key=lambda row: -sign * cosine(row.vector, probe))[:5]
    similar = rg.Similar("place", probe, most_similar=most)
    found = list(logged.dataset.records(query=rg.Query(similar=similar), limit=5))
    assert [record.id for record, _ in found] == [row.id for row in wanted]
    for (_, score), row in zip(found, wanted, strict=True):
        assert score == pytest.approx((1 + sign * cosine(row.vector, probe)) / 2)


def test_similar_to_a_record_under_a_filter(logged: Logged) -> None:
    import argilla as rg

    [probe] = [record for record in logged.dataset.records if record.id == "row-04"]
    query = rg.Query(
        similar=rg.Similar("place", probe),
        filter=rg.Filter(("metadata.source", "==", "people")),
    )
    others = [row for row in ROWS if "people" in row.sources and row.number != 4]
    wanted = sorted(others, key=lambda row: -cosine(row.vector, ROWS[4].vector))
    found = [record.id for record, _ in logged.dataset.records(query=query)]
    assert found == [row.id for row in wanted]  # nearest first, without itself


def test_many_searches_at_once(logged: Logged) -> None:
    """Each holds a connection while it searches: with one pool they would wait for each other."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _: set(logged.search({}, "one")), range(40)))
    assert all(ids == rows(lambda row: True) for ids in found)
