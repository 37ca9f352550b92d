"""CQL2 → OData: what a station is asked, and what it is spared."""

from __future__ import annotations

import random

import pytest
from odata_query.grammar import ODataLexer, ODataParser

from rs_server.simulators import auxiliary, sessions
from rs_server.simulators import odata as simulated
from rs_server.simulators.odata import Compare, TextMatch
from rs_server.stations import filters, odata
from rs_server.stations.instants import Instant
from rs_server.stations.kinds import KINDS
from rs_server.stations.model import ValueType
from rs_server.stations.odata import SortKey

TYPE = "Attributes/OData.CSC.StringAttribute/any(att:att/Name eq '{}' and att/OData.CSC.StringAttribute/Value eq '{}')"
PLATFORM = f"({TYPE.format('platformShortName', 'SENTINEL-1')} and {TYPE.format('platformSerialIdentifier', 'A')})"

MIDNIGHT = "2024-11-14T00:00:00.000Z"
PP1 = f"({TYPE.format('productType', 'AUX_PP1')} or contains(Name,'AUX_PP1'))"
FACILITY = "Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'processingCenter')"

AREA = "area=geography'SRID=4326;"
UNIT = "POLYGON((1.0 0.0,1.0 2.0,0.0 2.0,0.0 0.0,1.0 0.0))"
CLOUDS = (
    "Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover'"
    " and att/OData.CSC.DoubleAttribute/Value lt 12.5)"
)

# kind, CQL2 text, $filter (True: everything, False: no row can match), how many terms are left out
TABLE: list[tuple[str, str, str | bool, int]] = [
    (
        "prip",
        "\"grid:code\" = 'MGRS-33TWN'",
        f"({TYPE.format('tileId', '33TWN')} or {TYPE.format('tileId', 'T33TWN')})",
        0,
    ),
    ("prip", "\"processing:level\" = 'L7'", False, 0),
    ("prip", "\"processing:level\" <> 'L1'", True, 1),
    ("prip", "\"product:timeliness\" = 'PT24H'", TYPE.format("timeliness", "Fast-24h"), 0),
    ("prip", "a_equals(\"sar:polarizations\", ('HH'))", TYPE.format("polarisationChannels", "HH"), 0),
    ("prip", "a_contains(\"sar:polarizations\", ('HH'))", True, 1),
    ("prip", "s_within(geometry, POINT(1 2))", f"OData.CSC.Intersects({AREA}POINT(1.0 2.0)')", 0),
    ("prip", "s_contains(POINT(1 2), geometry)", f"OData.CSC.Intersects({AREA}POINT(1.0 2.0)')", 0),
    ("prip", "s_intersects(geometry, BBOX(0, 0, 1, 2))", f"OData.CSC.Intersects({AREA}{UNIT}')", 0),
    ("prip", "s_disjoint(geometry, POINT(1 2))", True, 1),
    ("prip", "not s_intersects(geometry, POINT(1 2))", True, 1),
    ("prip", "geometry is null", True, 1),
    ("prip", '"eo:cloud_cover" < 12.5', CLOUDS, 0),
    ("cadip", "id = 'S1A_1'", "SessionId eq 'S1A_1'", 0),
    ("cadip", "id <> 'S1A_1'", "SessionId ne 'S1A_1'", 0),
    ("cadip", "id in ('a', 'b')", "(SessionId eq 'a' or SessionId eq 'b')", 0),
    ("cadip", "id < 'S1A_1'", True, 1),
    ("cadip", "platform = 'sentinel-1a'", "Satellite eq 'S1A'", 0),
    ("cadip", "platform <> 'sentinel-1a'", "Satellite ne 'S1A'", 0),
    ("cadip", "platform = 'landsat-8'", False, 0),
    ("cadip", "platform = 'SENTINEL-1A'", False, 0),
    ("cadip", "platform <> 'landsat-8'", True, 1),
    ("cadip", "platform like 'sentinel-1%'", True, 1),
    ("cadip", "constellation = 'sentinel-1'", "startswith(Satellite,'S1')", 0),
    ("cadip", '"cadip:retransfer"', "Retransfer eq true", 0),
    ("cadip", 'not "cadip:retransfer"', "Retransfer ne true", 0),
    ("cadip", '"sat:absolute_orbit" between 1 and 2.5', "(DownlinkOrbit ge 1 and DownlinkOrbit le 2)", 0),
    ("cadip", '"sat:absolute_orbit" = 2.5', False, 0),
    ("cadip", '"sat:absolute_orbit" + 1 = 2', True, 1),
    ("cadip", "\"cadip:station_id\" = 'INS_'", True, 1),
    ("cadip", "end_datetime is null", "DownlinkStop eq null", 0),
    ("cadip", "end_datetime is not null", "DownlinkStop ne null", 0),
    ("cadip", "id is null", False, 0),
    (
        "cadip",
        "published > TIMESTAMP('2024-11-14T15:30:00.5+01:00')",
        "PublicationDate gt 2024-11-14T14:30:00.500Z",
        0,
    ),
    ("cadip", "published > '2024-11-14T14:30:00.000001Z'", "PublicationDate gt 2024-11-14T14:30:00.000001Z", 0),
    (
        "cadip",
        "published = DATE('2024-11-14')",
        "(PublicationDate ge 2024-11-14T00:00:00.000Z and PublicationDate le 2024-11-14T23:59:59.999999Z)",
        0,
    ),
    (
        "cadip",
        "datetime <= '2024-11-14T00:00:00Z'",
        f"(DownlinkStart le {MIDNIGHT} or (DownlinkStart eq null and PublicationDate le {MIDNIGHT}))",
        0,
    ),
    (
        "cadip",
        "t_during(INTERVAL(start_datetime, end_datetime), INTERVAL('2024-11-14T00:00:00Z', '..'))",
        "(DownlinkStart gt 2024-11-14T00:00:00.000Z and DownlinkStop ne null)",
        0,
    ),
    ("cadip", "id like 'S1A%'", "startswith(SessionId,'S1A')", 0),
    ("cadip", "id like '%a\\_b_c'", "(contains(SessionId,'a_b') and contains(SessionId,'c'))", 0),
    ("cadip", "id like '%'", True, 1),
    ("cadip", "id not like 'S1A%'", True, 1),
    ("cadip", "casei(id) = casei('x')", True, 1),
    ("cadip", "start_datetime < end_datetime", True, 1),
    ("cadip", "id = 'a' and casei(id) = 'a'", "SessionId eq 'a'", 1),
    ("cadip", "id = 'a' or casei(id) = 'a'", True, 1),
    ("cadip", "not (id = 'a' or id = 'b')", "(SessionId ne 'a' and SessionId ne 'b')", 0),
    ("cadip", "id = 'a' or 1 = 1", True, 0),
    ("cadip", "id = 'a' and s_within(geometry, POINT(0 0))", False, 0),
    ("auxip", "id = 'S1A_AUX'", "startswith(Name,'S1A_AUX')", 0),
    ("auxip", "id = 'S1A_AUX.EOF'", False, 0),
    ("auxip", "id <> 'S1A_AUX'", True, 1),
    ("auxip", "platform = 'sentinel-1a'", PLATFORM, 0),
    ("auxip", "\"processing:facility\" = 'O''Neill'", TYPE.format("processingCenter", "O''Neill"), 0),
    (
        "auxip",
        "\"product:type\" = 'AUX_PP1'",
        f"({TYPE.format('productType', 'AUX_PP1')} or contains(Name,'AUX_PP1'))",
        0,
    ),
    ("auxip", "\"product:type\" = 'OPER_AUX_RESORB_OPOD'", False, 0),
    ("auxip", "\"product:type\" like '%RESORB'", "contains(Name,'RESORB')", 0),
    ("auxip", "\"processing:datetime\" > '2024-01-01T00:00:00Z'", True, 1),
    ("auxip", "\"auxip:id\" = '2e25ea88-ab33-11ef-8630-fa163e75e309'", "Id eq 2e25ea88-ab33-11ef-8630-fa163e75e309", 0),
    ("auxip", "\"auxip:id\" = 'no key'", False, 0),
    (
        "auxip",
        '"processing:facility" is not null',
        FACILITY,
        0,
    ),
]


@pytest.mark.parametrize(("service", "text", "expected", "left_out"), TABLE)
def test_pushed(service: str, text: str, expected: str | bool, left_out: int) -> None:
    pushed = odata.push(filters.parse(KINDS[service], text, "cql2-text"))
    assert pushed.filter == expected
    assert len(pushed.left_out) == left_out


@pytest.mark.parametrize(("service", "text", "expected", "left_out"), TABLE)
def test_what_is_pushed_is_odata(service: str, text: str, expected: str | bool, left_out: int) -> None:
    """Two parsers that are not ours understand it."""
    if isinstance(expected, str):
        if "Intersects" not in expected:  # the simulated products have no footprint
            simulated.parse(expected, sessions.SESSION if service == "cadip" else auxiliary.PRODUCT)
        ODataParser().parse(ODataLexer().tokenize(expected))


ODD = "'\"()\\/%_&?#+;:=,.\n\t\x00 ü𝄞 or eq null"


def test_no_text_breaks_out_of_its_literal() -> None:
    dice = random.Random(1)
    for _ in range(300):
        text = "".join(dice.choice(ODD) for _ in range(dice.randrange(1, 12)))
        asked = odata.push(filters.one_of(KINDS["cadip"].by_name["id"], [text])).filter
        assert isinstance(asked, str)
        assert simulated.parse(asked, sessions.SESSION) == Compare("SessionId", "eq", text)
        asked = odata.push(filters.one_of(KINDS["auxip"].by_name["processing:facility"], [text])).filter
        assert asked == TYPE.format("processingCenter", text.replace("'", "''"))


def test_no_pattern_breaks_out_of_its_literal() -> None:
    asked = odata.push(filters.parse(KINDS["cadip"], "id like 'a'') or (1 eq 1%'", "cql2-text")).filter
    assert isinstance(asked, str)
    assert simulated.parse(asked, sessions.SESSION) == TextMatch("startswith", "SessionId", "a') or (1 eq 1")


@pytest.mark.parametrize(
    ("type_", "value"),
    [(ValueType.GUID, "x' or true"), (ValueType.INSTANT, "now"), (ValueType.INTEGER, "1"), (ValueType.BOOLEAN, 1)],
)
def test_a_literal_of_the_wrong_type_is_no_literal(type_: ValueType, value: str | int) -> None:
    with pytest.raises(ValueError, match="is not a"):
        odata.literal(type_, value)


def test_a_place_in_an_order() -> None:
    kind = KINDS["cadip"]
    published, end = kind.by_name["published"], kind.by_name["end_datetime"]
    newest = [SortKey(published, descending=True)]
    moment = "2024-11-14T14:31:11.032Z"
    tie = odata.beyond_id("6894eb36-416e-469e-8788-9a0a2b8f3a8d", descending=False)
    assert odata.after(newest, [moment], tie) == (
        f"(PublicationDate lt {moment} or (PublicationDate eq {moment} and Id gt 6894eb36-416e-469e-8788-9a0a2b8f3a8d))"
    )
    assert odata.order_by(newest, id_descending=False) == "PublicationDate desc,Id asc"
    assert odata.after([SortKey(end)], [None], tie) == f"(DownlinkStop ne null or (DownlinkStop eq null and {tie}))"
    assert odata.after([SortKey(end, descending=True)], [moment], tie) == (
        f"((DownlinkStop lt {moment} or DownlinkStop eq null) or (DownlinkStop eq {moment} and {tie}))"
    )
    assert str(Instant.of("2024-11-14T14:31:11.032Z")) == moment


LISTED: list[tuple[str, str, str, str]] = [
    ("cadip", "id in ('a', 'b''c')", "SessionId in ('a','b''c')", "(SessionId eq 'a' or SessionId eq 'b''c')"),
    ("cadip", "id = 'a' or id = 'a'", "SessionId in ('a','a')", "(SessionId eq 'a' or SessionId eq 'a')"),
    (
        "cadip",
        "platform in ('sentinel-1a', 'sentinel-1c')",
        "Satellite in ('S1A','S1C')",
        "(Satellite eq 'S1A' or Satellite eq 'S1C')",
    ),
    (
        "cadip",
        "id = 'a' or \"cadip:num_channels\" in (1, 2)",
        "(SessionId eq 'a' or NumChannels in (1,2))",
        "(SessionId eq 'a' or NumChannels eq 1 or NumChannels eq 2)",
    ),
    (
        "prip",
        "\"product:type\" in ('A', 'B')",
        TYPE.format("productType", "A").replace("Value eq 'A'", "Value in ('A','B')"),
        f"({TYPE.format('productType', 'A')} or {TYPE.format('productType', 'B')})",
    ),
]


@pytest.mark.parametrize(("kind", "text", "listed", "spelt_out"), LISTED)
def test_several_values_go_out_as_in_where_the_station_understands_it(
    kind: str, text: str, listed: str, spelt_out: str
) -> None:
    found = filters.parse(KINDS[kind], text, "cql2-text")
    asked = odata.push(found, lists=True)
    assert asked.filter == listed
    assert odata.push(found).filter == spelt_out
    assert asked.exact == odata.push(found).exact
    ODataParser().parse(ODataLexer().tokenize(str(asked.filter)))


def test_a_list_of_one_is_none() -> None:
    assert odata.any_equal("SessionId", ["a"], lists=True) == "SessionId eq 'a'"
    assert odata.any_equal("SessionId", ["a", "b"], lists=True) == "SessionId in ('a','b')"
