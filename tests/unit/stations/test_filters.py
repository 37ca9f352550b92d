"""Reading CQL2: what is understood, and how what is not is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rs_server.errors import BadInput
from rs_server.stations import filters
from rs_server.stations.filters import MOST_TERMS, TEMPORAL
from rs_server.stations.kinds import KINDS
from rs_server.stations.residual import Check, describe
from tests.unit.stations import oracle

CADIP = KINDS["cadip"]
ITEM: dict[str, Any] = {
    "id": "S1A_1",
    "collection": "c",
    "start_datetime": "2024-11-14T14:30:44.018Z",
    "datetime": "2024-11-14T14:30:44.018Z",
    "end_datetime": "2024-11-14T14:33:48Z",
    "published": "2024-11-14T14:31:11.032000Z",
    "platform": "sentinel-1a",
    "sat:absolute_orbit": 56552,
    "cadip:retransfer": False,
    "cadip:antenna_id": "Été 50%_\\",
}


def _matches(text: str) -> bool:
    return Check(filters.parse(CADIP, text, "cql2-text")).matches(ITEM)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("platform = 'sentinel-1a'", True),
        ("'sentinel-1a' = platform", True),
        ("properties.platform = 'sentinel-1a'", True),
        ('56552 <= "sat:absolute_orbit"', True),
        ('"sat:absolute_orbit" = 56552.0', True),
        ('"sat:absolute_orbit" * 2 > 100000', True),
        ("published = TIMESTAMP('2024-11-14T14:31:11.032Z')", True),
        ("published = '2024-11-14T15:31:11.032+01:00'", True),
        ("published in (TIMESTAMP('2024-11-14T14:31:11.032Z'))", True),
        ("published = DATE('2024-11-14')", True),
        ("published > DATE('2024-11-14')", False),
        ("published <> DATE('2024-11-14')", False),
        ("published between '2024-11-13' and '2024-11-14'", True),
        ('"cadip:retransfer"', False),
        ('not "cadip:retransfer"', True),
        ('"cadip:num_channels" = 2', False),
        ('"cadip:num_channels" <> 2', False),
        ('not ("cadip:num_channels" = 2)', False),
        ('"cadip:num_channels" is null', True),
        ("not (\"cadip:num_channels\" = 2 and platform = 'x')", True),
        ("\"cadip:num_channels\" = 2 or platform = 'sentinel-1a'", True),
        ("platform = 'x' or true", True),
        ("1 < 2", True),
        ("casei(\"cadip:antenna_id\") like casei('ÉTÉ%')", True),
        ("accenti(\"cadip:antenna_id\") like 'Ete%'", True),
        ("\"cadip:antenna_id\" like '%50\\%\\_%'", True),
        ("\"cadip:antenna_id\" like '%50\\_%'", False),
        ("id like 's1a%'", False),
        ("t_after(datetime, TIMESTAMP('2024-11-14T14:30:44Z'))", True),
        ("t_before(end_datetime, INTERVAL('2024-11-15T00:00:00Z', '..'))", True),
        ("t_intersects(INTERVAL(start_datetime, end_datetime), DATE('2024-11-14'))", True),
        ("start_datetime < end_datetime", True),
        ("s_intersects(geometry, BBOX(-180, -90, 180, 90))", False),
        ("geometry is null", True),
    ],
)
def test_meaning(text: str, *, expected: bool) -> None:
    assert _matches(text) is expected


@pytest.mark.parametrize("op", TEMPORAL)
@pytest.mark.parametrize("negated", [False, True])
def test_temporal_operators(op: str, *, negated: bool) -> None:
    hours = [f"2024-11-14T{hour:02}:00:00Z" for hour in range(1, 5)]
    for start in hours:
        for end in [each for each in hours if each >= start] + [None]:
            item = {"start_datetime": start} | ({"end_datetime": end} if end else {})
            spans: list[Any] = [{"timestamp": hours[1]}, {"interval": [hours[1], hours[2]]}]
            spans += [{"interval": ["..", hours[1]]}, {"interval": [hours[2], ".."]}, {"interval": ["..", ".."]}]
            for span in spans:
                own = {"interval": [{"property": "start_datetime"}, {"property": "end_datetime"}]}
                expression: Any = {"op": op, "args": [own, span]}
                expression = {"op": "not", "args": [expression]} if negated else expression
                found = Check(filters.read(CADIP, expression)).matches(item)
                assert found is (oracle.holds(expression, item) is True), (item, expression)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 'red'", "'colour'"),
        ("colour is null", "'colour'"),
        ("platform = colour", "'colour'"),
        ("published > 'soon'", "'soon'"),
        ("published > 5", "published"),
        ("published = TIMESTAMP('2024-13-01T00:00:00Z')", "2024-13-01"),
        ('"cadip:retransfer" < true', "cadip:retransfer"),
        ("\"sat:absolute_orbit\" = 'x'", "sat:absolute_orbit"),
        ("\"sat:absolute_orbit\" like '5%'", "sat:absolute_orbit"),
        ("platform like id", "platform"),
        ("casei(\"sat:absolute_orbit\") = 'x'", "casei"),
        ("platform + 1 = 2", "+"),
        ("a_equals(platform, ('x'))", "a_equals"),
        ("s_within(POINT(0 0), POINT(0 0))", "s_within"),
        ("foo(platform)", "foo"),
        ("geometry = 'x'", "geometry"),
        ("t_after(platform, DATE('2024-01-01'))", "platform"),
        ("platform", "platform"),
        ("5", "5"),
        ("platform =", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_refusal_names_the_term(text: str, named: str) -> None:
    with pytest.raises(BadInput) as refused:
        filters.parse(CADIP, text, "cql2-text")
    assert named in refused.value.detail


@pytest.mark.parametrize(
    "expression",
    [
        {},
        {"op": "="},
        {"op": "=", "args": []},
        {"op": "and", "args": []},
        {"op": "not", "args": [True, False]},
        {"op": "in", "args": [{"property": "id"}, "x"]},
        {"op": "between", "args": [{"property": "id"}, "x"]},
        {"op": "like", "args": [{"property": "id"}]},
        {"op": "isNull", "args": ["id"]},
        {"op": "t_after", "args": [{"property": "datetime"}]},
        {"op": "t_after", "args": [{"property": "datetime"}, {"interval": ["a"]}]},
        {"op": "=", "args": [{"property": "id"}, {"property": 5}]},
        {"op": "=", "args": [{"property": "id"}, None]},
        {"op": "=", "args": [{"date": "2024-01-01"}, {"date": "2024-01-01"}]},
        {"op": "=", "args": [{"bbox": [1, 2, 3, 4]}, 1]},
        "id = 'x'",
        [],
        None,
        5,
    ],
)
def test_crooked_json_is_refused(expression: Any) -> None:
    with pytest.raises(BadInput):
        filters.parse(CADIP, json.dumps(expression), "cql2-json")


def test_bounds() -> None:
    for text in ("(" * 5000, "not " * 3000 + "id='x'", "id = '" + "x" * filters.LONGEST + "'"):
        with pytest.raises(BadInput):
            filters.parse(CADIP, text, "cql2-text")
    many = {"op": "in", "args": [{"property": "id"}, ["x"] * (MOST_TERMS + 1)]}
    with pytest.raises(BadInput, match="terms"):
        filters.read(CADIP, many)


def test_a_term_is_told_as_text() -> None:
    found = filters.leaves(filters.parse(CADIP, "casei(id) = 'x' and published > '2024-01-01T00:00:00Z'", "cql2-text"))
    assert [describe(leaf) for leaf in found] == [
        "casei(id) = 'x'",
        "published > TIMESTAMP('2024-01-01T00:00:00Z')",
    ]
