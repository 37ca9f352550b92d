"""The STAC extensions that items of stations use, each with the properties that call for it."""

from __future__ import annotations

from rs_server.stations.model import Extension

FILE = Extension("https://stac-extensions.github.io/file/v2.1.0/schema.json")
TIMESTAMPS = Extension("https://stac-extensions.github.io/timestamps/v1.1.0/schema.json")
EXTERNAL_IDS = Extension("https://stac-extensions.github.io/external-ids/v1.0.0/schema.json")
CADIP = Extension("https://home.rs-python.eu/cadip-stac-extension/v1.4.0/schema.json")
AUXIP = Extension("https://home.rs-python.eu/auxip-stac-extension/v1.1.0/schema.json")
SAT = Extension(
    "https://stac-extensions.github.io/sat/v1.1.0/schema.json",
    frozenset(
        {
            "sat:absolute_orbit",
            "sat:relative_orbit",
            "sat:orbit_cycle",
            "sat:orbit_state",
            "sat:platform_international_designator",
        }
    ),
)
SAR = Extension(
    "https://stac-extensions.github.io/sar/v1.3.0/schema.json",
    frozenset({"sar:instrument_mode", "sar:polarizations", "sar:frequency_band"}),
)
GRID = Extension("https://stac-extensions.github.io/grid/v1.1.0/schema.json", frozenset({"grid:code"}))
EO = Extension("https://stac-extensions.github.io/eo/v2.0.0/schema.json", frozenset({"eo:cloud_cover"}))
ORDER = Extension("https://stac-extensions.github.io/order/v1.1.0/schema.json")
PRODUCT = Extension(
    "https://stac-extensions.github.io/product/v1.0.0/schema.json", frozenset({"product:type", "product:timeliness"})
)
PROCESSING = Extension(
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    frozenset(
        {"processing:datetime", "processing:facility", "processing:version", "processing:software", "processing:level"}
    ),
)
EOPF = Extension(
    "https://cs-si.github.io/eopf-stac-extension/v1.2.0/schema.json",
    frozenset({"eopf:origin_datetime", "eopf:datatake_id", "eopf:datastrip_id", "eopf:instrument_mode"}),
)

OF_PRODUCTS = (EXTERNAL_IDS, FILE, TIMESTAMPS, PRODUCT, PROCESSING, SAT, SAR, EO, GRID, EOPF)
