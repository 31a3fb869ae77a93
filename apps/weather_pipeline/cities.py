"""The cities that the pipeline reports on."""

import json

from pydantic import TypeAdapter, ValidationError

from weather_common.products import Place
from weather_common.secrets import SecretError, read_setting

MAX_CITIES = 50
DEFAULT_CITIES = (
    Place(city="Luxembourg", country="LU", latitude=49.6117, longitude=6.1319),
    Place(city="Chicago", country="US", latitude=41.8781, longitude=-87.6298),
)
_CITIES = TypeAdapter(tuple[Place, ...])


def read_cities() -> tuple[Place, ...]:
    """Return the cities of the setting WEATHER_CITIES, a JSON list of places; Luxembourg and Chicago by default.

    Raises SecretError naming the setting, the entry and the field that is wrong.
    """
    text = read_setting("WEATHER_CITIES", default="")
    if not text:
        return DEFAULT_CITIES
    try:
        cities = _CITIES.validate_python(json.loads(text))
    except json.JSONDecodeError as e:
        raise SecretError(f"WEATHER_CITIES is not JSON: {e}") from None
    except ValidationError as e:
        raise SecretError(f"WEATHER_CITIES: {describe(e)}") from None
    if not 1 <= len(cities) <= MAX_CITIES:
        raise SecretError(f"WEATHER_CITIES has {len(cities)} cities; 1 to {MAX_CITIES} are possible")
    names = [(c.city.casefold(), c.country) for c in cities]
    if len(set(names)) < len(names):
        raise SecretError("WEATHER_CITIES names a city twice")
    return cities


def describe(error: ValidationError) -> str:
    """Return the first three faults as `path: what is wrong (got value)`, short enough for one line of a log."""
    faults = error.errors(include_url=False, include_context=False)
    parts = [
        f"{'.'.join(str(p) for p in f['loc']) or 'body'}: {f['msg']} (got {ascii(f['input'])[:60]})"
        if f["type"] != "missing"
        else f"{'.'.join(str(p) for p in f['loc'])}: missing"
        for f in faults[:3]
    ]
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return "; ".join(parts) + more
