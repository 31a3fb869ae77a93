"""The product record (one line of an object) and the names of the objects.

Objects are `<prefix>YYYY/MM/DD/HHMMSS.jsonl`, in UTC: the time that the weather is reported for, not when the object
was written. Reports of one time always have the same name, and names sort by time.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

DEFAULT_BUCKET = "dagster-weather-products"
PREFIX = "weather-products/"
_KEY = re.compile(r"(\d{4})/(\d{2})/(\d{2})/(\d{2})(\d{2})(\d{2})\.jsonl")

UtcDatetime = Annotated[AwareDatetime, AfterValidator(lambda t: t.astimezone(UTC))]


class Place(BaseModel):
    """Where a report is for."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    city: str = Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$", description="Name of the city")
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2 code")
    latitude: float = Field(ge=-90, le=90, description="Degrees north (WGS 84)")
    longitude: float = Field(ge=-180, le=180, description="Degrees east (WGS 84)")


class WeatherProduct(Place):
    """The weather in one city at one time. The ranges are what has been measured on Earth, with some room."""

    schema_version: Literal[1] = 1
    product_time: UtcDatetime = Field(description="The report's time (UTC): the tick of the schedule, or the run's")
    observed_at: UtcDatetime = Field(description="When the provider computed the values (UTC)")
    condition: str = Field(min_length=1, max_length=80, description="Group of the weather, such as Rain")
    condition_code: int = Field(ge=200, le=899, description="OpenWeather condition id")
    description: str = Field(max_length=200, description="The weather within the group, in English")
    temperature_c: float = Field(ge=-95, le=65, description="Air temperature, degrees Celsius")
    feels_like_c: float = Field(ge=-120, le=90, description="Perceived temperature, degrees Celsius")
    humidity_percent: float = Field(ge=0, le=100, description="Relative humidity, percent")
    pressure_hpa: float = Field(ge=850, le=1100, description="Pressure at sea level, hectopascal")
    wind_speed_m_s: float = Field(ge=0, le=120, description="Wind speed, metres per second")
    wind_direction_deg: float | None = Field(default=None, ge=0, le=360, description="Direction the wind is from")
    cloud_cover_percent: float = Field(ge=0, le=100, description="Cloud cover, percent")
    visibility_m: float | None = Field(default=None, ge=0, le=100_000, description="Visibility, metres")
    rain_mm_1h: float | None = Field(default=None, ge=0, le=500, description="Rain, millimetres in the last hour")
    snow_mm_1h: float | None = Field(default=None, ge=0, le=500, description="Snow, millimetres in the last hour")
    source: Literal["openweather"] = "openweather"


def object_key(product_time: datetime, prefix: str = PREFIX) -> str:
    """Return the key for a report; `product_time` must be aware, and is cut to the second."""
    if product_time.tzinfo is None:
        raise ValueError(f"product_time must have a time zone, got {product_time.isoformat()}")
    return f"{prefix}{product_time.astimezone(UTC):%Y/%m/%d/%H%M%S}.jsonl"


def parse_key(name: str) -> datetime | None:
    """Return the time of a key (without its prefix), None for anything that is not a product's name."""
    match = _KEY.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime(*(int(part) for part in match.groups()), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:  # such as the 31st of February
        return None


def to_jsonl(products: Iterable[WeatherProduct]) -> bytes:
    """Return the products as JSON Lines, ordered by city, so that the same reports give the same bytes."""
    ordered = sorted(products, key=lambda p: (p.city, p.country))
    return "".join(p.model_dump_json() + "\n" for p in ordered).encode()
