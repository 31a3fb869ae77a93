"""The pipeline's assets: fetch -> transform -> upload, and the checks on their data.

A city that fails at any step is left out with its reason, and the others go on. The report is then written with
what there is, and the run ends as a failure that names the city: `every_city_is_written` is a blocking check.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    Backoff,
    Failure,
    Jitter,
    MetadataValue,
    Output,
    RetryPolicy,
    asset,
    asset_check,
)

from weather_common.products import Place, WeatherProduct, object_key, to_jsonl
from weather_common.secrets import SecretError, read_secret
from weather_pipeline.cities import read_cities
from weather_pipeline.openweather import OpenWeatherResource, UpstreamError
from weather_pipeline.storage import ProductsBucket
from weather_pipeline.transform import MAX_AGE, CityFailure, DataError, to_product

GROUP = "weather"
# The tag that fixes a run's product time (ISO 8601 with a time zone). The schedule sets it; re-executions inherit it.
TIME_TAG = "weather/product_time"
FETCH_THREADS = 4


@dataclass(frozen=True)
class Observations:
    """Raw answers by city, as received at `received_at`."""

    product_time: datetime
    received_at: datetime
    answers: tuple[tuple[Place, dict[str, Any]], ...]
    failures: tuple[CityFailure, ...]


@dataclass(frozen=True)
class Report:
    """The records of one product time, and what is missing."""

    received_at: datetime
    product_time: datetime
    products: tuple[WeatherProduct, ...]
    failures: tuple[CityFailure, ...]


@dataclass(frozen=True)
class WrittenReport:
    """What is in the bucket under `uri`; `kept` when an earlier, at least as full one was left in place."""

    uri: str
    kept: bool
    failures: tuple[CityFailure, ...]


@asset(group_name=GROUP, kinds={"python"})
def weather_observations(context: AssetExecutionContext, openweather: OpenWeatherResource) -> Output[Observations]:
    """OpenWeather's answer for each city."""
    product_time = _product_time(context)
    try:
        key, cities = read_secret("OPENWEATHER_API_KEY"), read_cities()
    except SecretError as e:
        raise Failure(f"the pipeline's configuration is not usable: {e}", allow_retries=False) from None

    def fetch(place: Place) -> dict[str, Any] | CityFailure:
        try:
            return openweather.current_weather(place, key)
        except UpstreamError as e:
            return CityFailure(place.city, e.kind, str(e))

    with ThreadPoolExecutor(FETCH_THREADS) as pool:
        results = list(zip(cities, pool.map(fetch, cities), strict=True))
    failures = tuple(r for _, r in results if isinstance(r, CityFailure))
    answers = tuple((place, r) for place, r in results if not isinstance(r, CityFailure))
    _log_failures(context, failures)
    context.log.info("%d of %d cities answered", len(answers), len(cities))
    return Output(
        Observations(product_time, datetime.now(UTC), answers, failures),
        metadata={"cities": len(cities), "answered": len(answers), **_failure_metadata(failures)},
    )


@asset(group_name=GROUP, kinds={"python"})
def weather_products(context: AssetExecutionContext, weather_observations: Observations) -> Output[Report]:
    """The typed records: one per city whose answer is usable."""
    products, failures = [], []
    for place, answer in weather_observations.answers:
        try:
            products.append(
                to_product(place, answer, weather_observations.product_time, weather_observations.received_at)
            )
        except DataError as e:
            failures.append(CityFailure(place.city, e.kind, str(e)))
    _log_failures(context, failures)
    everything = (*weather_observations.failures, *failures)
    return Output(
        Report(weather_observations.received_at, weather_observations.product_time, tuple(products), everything),
        metadata={"records": len(products), **_failure_metadata(everything)},
    )


@asset(
    group_name=GROUP,
    kinds={"s3"},
    retry_policy=RetryPolicy(max_retries=2, delay=5, backoff=Backoff.EXPONENTIAL, jitter=Jitter.PLUS_MINUS),
)
def weather_report(
    context: AssetExecutionContext, weather_products: Report, bucket: ProductsBucket
) -> Output[WrittenReport]:
    """The report in the bucket, as JSON Lines.

    A full report replaces what a former try wrote under the same name; one that lacks a city never does, so that
    running again cannot lose a city.
    """
    if not weather_products.products:
        raise Failure(f"nothing is written: {_sentence(weather_products.failures)}", allow_retries=False)
    key = object_key(weather_products.product_time, bucket.prefix)
    body = to_jsonl(weather_products.products)
    full = not weather_products.failures
    try:
        uri = f"s3://{bucket.bucket_name()}/{key}"
        written = bucket.put(key, body, replace=full)
    except SecretError as e:
        raise Failure(f"the pipeline's configuration is not usable: {e}", allow_retries=False) from None
    except (BotoCoreError, ClientError) as e:
        code = e.response["Error"]["Code"] if isinstance(e, ClientError) else type(e).__name__
        lasting = code in {"AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "NoCredentialsError"}
        raise Failure(f"cannot write {uri}: {code}: {e}", allow_retries=not lasting) from None
    context.log.info("%s %s", "wrote" if written else "kept the earlier", uri)
    return Output(
        WrittenReport(uri, not written, weather_products.failures),
        metadata={
            "uri": MetadataValue.text(uri),
            "written": written,
            "records": len(weather_products.products),
            "bytes": len(body),
            **_failure_metadata(weather_products.failures),
        },
    )


@asset_check(asset=weather_products)
def values_are_in_range(weather_products: Report) -> AssetCheckResult:
    """No value was outside what can be measured on Earth (a city that has one is not written)."""
    return _no_failure_of("range", weather_products)


@asset_check(asset=weather_products)
def units_are_right(weather_products: Report) -> AssetCheckResult:
    """Temperatures came in kelvin, as asked (a city that has others is not written)."""
    return _no_failure_of("units", weather_products)


@asset_check(asset=weather_products)
def observations_are_fresh(weather_products: Report) -> AssetCheckResult:
    """No observation is older than two hours. A warning: the record says when it was observed, and is written."""
    stale = {
        p.city: p.observed_at.isoformat()
        for p in weather_products.products
        if weather_products.received_at - p.observed_at > MAX_AGE
    }
    return AssetCheckResult(
        passed=not stale,
        severity=AssetCheckSeverity.WARN,
        metadata={"max_age_seconds": MAX_AGE.total_seconds(), "stale": MetadataValue.json(stale)},
    )


@asset_check(asset=weather_report)  # type: ignore[arg-type] # it also takes generators
def every_city_is_written(weather_report: WrittenReport) -> Iterator[AssetCheckResult]:
    """Every configured city is in the report; if not, the run fails and says which city is missing, and why."""
    yield AssetCheckResult(passed=not weather_report.failures, metadata=_failure_metadata(weather_report.failures))
    if weather_report.failures:
        # not `blocking=True`: the error of that names the check, but not what it found
        kept = " (of an earlier try)" if weather_report.kept else ""
        raise Failure(f"{weather_report.uri}{kept} lacks: {_sentence(weather_report.failures)}", allow_retries=False)


def _product_time(context: AssetExecutionContext) -> datetime:
    """Return the time to report for: the tag's, or else when the first run of this chain of re-executions was made."""
    tag = context.run.tags.get(TIME_TAG)
    if tag is not None:
        try:
            time = datetime.fromisoformat(tag)
        except ValueError:
            time = None
        if time is None or time.tzinfo is None:
            raise Failure(
                f'the tag {TIME_TAG}="{tag}" is not a time with a time zone, such as 2026-01-31T07:00:00Z',
                allow_retries=False,
            )
        return time.astimezone(UTC).replace(microsecond=0)
    first = context.run.root_run_id or context.run.run_id
    record = context.instance.get_run_record_by_id(first) or context.instance.get_run_record_by_id(context.run.run_id)
    if record is None:
        raise Failure(f"run {context.run.run_id} is not in the instance's storage", allow_retries=False)
    created: datetime = record.create_timestamp
    return created.astimezone(UTC).replace(microsecond=0)


def _no_failure_of(kind: str, report: Report) -> AssetCheckResult:
    found = {f.city: f.message for f in report.failures if f.kind == kind}
    return AssetCheckResult(passed=not found, metadata={"cities": MetadataValue.json(found)})


def _log_failures(context: AssetExecutionContext, failures: list[CityFailure] | tuple[CityFailure, ...]) -> None:
    for f in failures:
        context.log.error("%s is left out (%s): %s", f.city, f.kind, f.message)


def _failure_metadata(failures: tuple[CityFailure, ...]) -> dict[str, MetadataValue[Any]]:
    return {"failed": MetadataValue.json({f.city: f"{f.kind}: {f.message}" for f in failures})}


def _sentence(failures: tuple[CityFailure, ...]) -> str:
    return "; ".join(f"{f.city} ({f.kind}: {f.message})" for f in failures)
