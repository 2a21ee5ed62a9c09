"""The real data that the compatibility tests load: three data sets that come with the `vega_datasets` package."""

from __future__ import annotations

import csv
import datetime
import io
import json
from typing import Any

from vega_datasets import local_data

UTC = datetime.UTC


def airports() -> list[dict[str, Any]]:
    """3,376 airports of the USA; `iata` is unique. Coordinates are numbers."""
    rows = []
    for row in csv.DictReader(io.StringIO(local_data.airports.raw().decode())):
        rows.append({**row, "latitude": float(row["latitude"]), "longitude": float(row["longitude"])})
    return rows


def cars() -> list[dict[str, Any]]:
    """406 cars, some with null for miles per gallon or horsepower. They are numbered by `id`."""
    return [{"id": number, **car} for number, car in enumerate(json.loads(local_data.cars.raw()))]


def temperatures() -> list[dict[str, Any]]:
    """8,759 hourly temperatures of Seattle in 2010, with real times."""
    rows = []
    for number, row in enumerate(csv.DictReader(io.StringIO(local_data.seattle_temps.raw().decode()))):
        when = datetime.datetime.strptime(row["date"], "%Y/%m/%d %H:%M").replace(tzinfo=UTC)
        rows.append({"id": number, "date": when, "temp": float(row["temp"])})
    return rows
