"""From OpenWeather's answer to a product record."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weather_common.products import Place, WeatherProduct
from weather_common.secrets import redact
from weather_pipeline.cities import describe

KELVIN_OFFSET = 273.15
# Coldest and warmest air ever measured are 184 K and 330 K. Celsius and Fahrenheit never reach 170 on Earth.
KELVIN_RANGE = (170.0, 345.0)
MAX_DISTANCE_DEG = 1.0  # OpenWeather answers with the coordinates that were asked for, rounded
MAX_FUTURE = timedelta(minutes=10)  # clocks differ
MAX_AGE = timedelta(hours=2)  # OpenWeather says that it updates every 10 minutes; older is stale

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_RANGE_FAULTS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


class DataError(Exception):
    """The answer for one city cannot be used; `kind` is malformed, units or range."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(redact(message))
        self.kind = kind


@dataclass(frozen=True)
class CityFailure:
    """Why a city is not in the report. `kind` is that of UpstreamError or DataError."""

    city: str
    kind: str
    message: str


class _Answer(BaseModel):
    """What we read of the answer; OpenWeather may add fields at any time, so others are ignored."""

    model_config = ConfigDict(extra="ignore")

    class Coord(BaseModel):
        lat: Number
        lon: Number

    class Condition(BaseModel):
        id: Annotated[int, Field(strict=True)]
        main: Annotated[str, Field(strict=True)]
        description: Annotated[str, Field(strict=True)]

    class Main(BaseModel):
        temp: Number
        feels_like: Number
        pressure: Number
        humidity: Number

    class Wind(BaseModel):
        speed: Number
        deg: Number | None = None

    class Clouds(BaseModel):
        all: Number

    class LastHour(BaseModel):
        mm: Number | None = Field(default=None, alias="1h")

    coord: Coord
    weather: list[Condition] = Field(min_length=1)
    main: Main
    wind: Wind
    clouds: Clouds
    dt: Annotated[int, Field(strict=True, ge=0, le=4_102_444_800)]  # Unix time; until the year 2100
    visibility: Number | None = None
    rain: LastHour = LastHour()
    snow: LastHour = LastHour()


def to_product(place: Place, answer: dict[str, Any], product_time: datetime, now: datetime) -> WeatherProduct:
    """Return the record for one answer; temperatures become Celsius. `now` is when the answer was received.

    Raises DataError when a field is missing or of the wrong type, the unit is wrong, a value is outside its range,
    or the answer is about another place or the future.
    """
    try:
        a = _Answer.model_validate(answer)
    except ValidationError as e:
        raise DataError("malformed", describe(e)) from None
    for name, kelvin in (("temp", a.main.temp), ("feels_like", a.main.feels_like)):
        if not KELVIN_RANGE[0] <= kelvin <= KELVIN_RANGE[1]:
            low, high = KELVIN_RANGE
            raise DataError("units", f"main.{name} is {kelvin:g}: not kelvin ({low:g} to {high:g})")
    off = (abs(a.coord.lat - place.latitude), abs(a.coord.lon - place.longitude))
    if max(off[0], min(off[1], 360 - off[1])) > MAX_DISTANCE_DEG:
        raise DataError("range", f"coord is {a.coord.lat:g}, {a.coord.lon:g}: not {place.city}")
    observed_at = datetime.fromtimestamp(a.dt, UTC)
    if observed_at > now + MAX_FUTURE:
        raise DataError("range", f"dt is {observed_at.isoformat()}: in the future")
    try:
        return WeatherProduct(
            **place.model_dump(),
            product_time=product_time,
            observed_at=observed_at,
            condition=a.weather[0].main,
            condition_code=a.weather[0].id,
            description=a.weather[0].description,
            temperature_c=round(a.main.temp - KELVIN_OFFSET, 2),
            feels_like_c=round(a.main.feels_like - KELVIN_OFFSET, 2),
            humidity_percent=a.main.humidity,
            pressure_hpa=a.main.pressure,
            wind_speed_m_s=a.wind.speed,
            wind_direction_deg=a.wind.deg,
            cloud_cover_percent=a.clouds.all,
            visibility_m=a.visibility,
            rain_mm_1h=a.rain.mm,
            snow_mm_1h=a.snow.mm,
        )
    except ValidationError as e:
        ranges = {f["type"] for f in e.errors()} <= _RANGE_FAULTS
        raise DataError("range" if ranges else "malformed", describe(e)) from None
