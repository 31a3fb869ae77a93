"""Dagster code location: the job `weather_product_job` and its hourly schedule."""

from datetime import UTC

from dagster import (
    DefaultScheduleStatus,
    Definitions,
    Failure,
    InMemoryIOManager,
    InputContext,
    RunRequest,
    ScheduleEvaluationContext,
    define_asset_job,
    in_process_executor,
    io_manager,
    load_asset_checks_from_modules,
    load_assets_from_modules,
    schedule,
)

from weather_common.logs import install_redaction
from weather_pipeline import assets
from weather_pipeline.openweather import OpenWeatherResource
from weather_pipeline.storage import ProductsBucket

install_redaction()


class RunMemory(InMemoryIOManager):
    """Hands values from step to step within the run's process; nothing is left behind in the pod or the bucket."""

    def load_input(self, context: InputContext) -> object:
        """Return the value; without it (a re-execution from failure), say what to do instead of a KeyError."""
        try:
            return super().load_input(context)
        except KeyError:
            raise Failure(
                "the values of an earlier run are not kept: re-execute all steps (the report gets the same name)",
                allow_retries=False,
            ) from None


@io_manager
def run_memory() -> RunMemory:
    """Make a new store for each run."""
    return RunMemory()  # type: ignore[no-untyped-call]


weather_product_job = define_asset_job(
    "weather_product_job",
    selection=[assets.weather_observations, assets.weather_products, assets.weather_report],
    description="Fetches the weather for each city, makes typed records of it, and writes them to the bucket.",
    executor_def=in_process_executor,  # seconds of work: a process per step would only cost memory
    tags={
        "dagster/max_runtime": 900,  # seconds; the longest that all tries of all steps can take is less
        "dagster/retry_strategy": "ALL_STEPS",  # see RunMemory
    },
)


@schedule(
    job=weather_product_job,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.STOPPED,
)
def weather_product_hourly(context: ScheduleEvaluationContext) -> RunRequest:
    """Every hour on the hour. A tick always has the same product time, so that running it again is harmless."""
    tick = context.scheduled_execution_time.astimezone(UTC).isoformat()
    return RunRequest(run_key=tick, tags={assets.TIME_TAG: tick})


defs = Definitions(
    assets=load_assets_from_modules([assets]),
    asset_checks=load_asset_checks_from_modules([assets]),
    jobs=[weather_product_job],
    schedules=[weather_product_hourly],
    resources={
        # each field can also be set for one run, in the launchpad's run configuration
        "openweather": OpenWeatherResource(),
        "bucket": ProductsBucket(),
        "io_manager": run_memory,
    },
)
