"""Reads products from the bucket, newest first.

S3 lists names upwards only, and at most 1,000 at a time. The names are dates, so the newest are found by going down
the folders: the years, the last year's months, that month's days, that day's names. A day with more names than one
page is read hour by hour. At most 3,600 names (one hour, one a second) are in memory for a request, however many
objects there are.

Objects are read at most WINDOW at a time per request, and all requests share one pool of `s3_concurrency` threads.
Records are kept by (name, ETag): an object that was written again has another ETag, so nothing old is served.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from cachetools import LRUCache, TTLCache
from pydantic import ValidationError

from products_api.cursor import Cursor
from products_api.metrics import Metrics
from products_api.settings import Settings
from weather_common.products import WeatherProduct, parse_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

log = logging.getLogger(__name__)

WINDOW = 8  # objects read at a time for one request
MAX_OBJECTS = 400  # objects looked at for one page: a city that has no records must not read the whole bucket
MAX_OBJECT_BYTES = 1024 * 1024  # a report has about 400 bytes per city
LISTED_NAMES = 20_000  # names kept in the cache of listings
_YEAR, _MONTH, _DAY = re.compile(r"\d{4}/"), re.compile(r"(0[1-9]|1[0-2])/"), re.compile(r"(0[1-9]|[12]\d|3[01])/")
_NEWEST = "9999/"  # sorts after every name

T = TypeVar("T")


class StoreUnavailableError(Exception):
    """The object store cannot answer; the message says why, in words for the API's caller."""


class Record(NamedTuple):
    """One product: its city in lower case, and its JSON."""

    city: str
    json: bytes


class Page(NamedTuple):
    """Records, newest first, and where the next page starts (None: there are no more)."""

    records: list[Record]
    next: Cursor | None


class _Entry(NamedTuple):
    name: str
    etag: str
    size: int


class ProductStore:
    """The products of one bucket. To be used by one event loop; close() it at the end."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._bucket = settings.bucket
        self._prefix = settings.prefix
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(settings.s3_concurrency, thread_name_prefix="s3")
        self._s3: S3Client = boto3.client(
            "s3",
            config=Config(
                max_pool_connections=settings.s3_concurrency,
                connect_timeout=settings.s3_timeout_seconds,
                read_timeout=settings.s3_timeout_seconds,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        )
        # a record's JSON plus what Python keeps around it, per line of an object
        self._objects: LRUCache[tuple[str, str], tuple[Record, ...]] = LRUCache(
            settings.cache_mib * 2**20, getsizeof=lambda records: 300 + sum(200 + len(r.json) for r in records)
        )
        self._listings: TTLCache[str, Any] = TTLCache(
            LISTED_NAMES, settings.list_seconds, getsizeof=lambda names: 1 + len(names or ())
        )
        self._running: dict[object, asyncio.Task[Any]] = {}

    def close(self) -> None:
        """Let calls in progress end, and drop connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._s3.close()

    async def check(self) -> None:
        """Raise StoreUnavailableError when the bucket cannot be listed."""
        list_one = partial(self._s3.list_objects_v2, Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        await self._call("ListObjectsV2", list_one)

    async def page(self, limit: int, cursor: Cursor | None, city: str | None) -> Page:
        """Return up to `limit` records from `cursor` on, only those of `city` if given (upper or lower case).

        A page may have fewer records than `limit` and still a next one, when MAX_OBJECTS were looked at.
        Raises StoreUnavailableError.
        """
        wanted = city.casefold() if city is not None else None
        found: list[Record] = []
        looked_at = 0
        # without a filter, each object has one record at least: do not read more than can be needed
        width = WINDOW if wanted is not None else min(WINDOW, limit)
        async for entries in _chunks(self._descend(cursor.name if cursor else _NEWEST), width):
            cached = [self._objects.get((entry.name, entry.etag)) for entry in entries]
            if None in cached:  # a task per object is only worth it when one must be read
                cached = list(await asyncio.gather(*(self._read(entry) for entry in entries)))
            for entry, records in zip(entries, cached, strict=True):
                assert records is not None  # noqa: S101 - for mypy; _read returns none of them
                if looked_at == MAX_OBJECTS:
                    return Page(found, Cursor(entry.name, 0))
                looked_at += 1
                first = cursor.line if cursor is not None and cursor.name == entry.name else 0
                for line, record in enumerate(records[first:], start=first):
                    if wanted is not None and record.city != wanted:
                        continue
                    if len(found) == limit:
                        return Page(found, Cursor(entry.name, line))
                    found.append(record)
        return Page(found, None)

    async def _descend(self, last: str) -> AsyncIterator[_Entry]:
        """Yield the objects from the name `last` on, newest first."""
        for year in await self._folders("", _YEAR, last):
            for month in await self._folders(year, _MONTH, last):
                for day in await self._folders(month, _DAY, last):
                    async for entry in self._day(day, last):
                        yield entry

    async def _folders(self, parent: str, pattern: re.Pattern[str], last: str) -> list[str]:
        """Return the folders in `parent` (names without the prefix, with a slash at the end), newest first."""

        async def read() -> list[str]:
            names = []
            async for page in self._pages(parent, delimiter="/"):
                names += [p["Prefix"].removeprefix(self._prefix) for p in page.get("CommonPrefixes", [])]
            return sorted((n for n in names if pattern.fullmatch(n.removeprefix(parent))), reverse=True)

        return [f for f in await self._listed(parent, read) if f <= last]

    async def _day(self, day: str, last: str) -> AsyncIterator[_Entry]:
        """Yield the objects of a day, from the name `last` on, newest first."""

        async def first_page() -> list[_Entry] | None:
            async for page in self._pages(day):
                return None if page["IsTruncated"] else _entries(page, self._prefix)
            return []

        async def whole_hour(folder_and_hour: str) -> list[_Entry]:
            entries: list[_Entry] = []
            async for page in self._pages(folder_and_hour):
                entries += _entries(page, self._prefix)
            return entries

        entries = await self._listed(day, first_page)
        hours = [day] if entries is not None else [f"{day}{hour:02}" for hour in range(23, -1, -1)]
        for hour in hours:
            if hour > last:
                continue
            if entries is None or hour != day:
                entries = await self._listed(hour, partial(whole_hour, hour))
            for entry in reversed(entries):
                if entry.name <= last:
                    yield entry

    async def _read(self, entry: _Entry) -> tuple[Record, ...]:
        """Return the records of an object; none when it is gone, too large, or holds no products."""
        records = self._objects.get((entry.name, entry.etag))
        if records is None:
            records = await self._once(entry, partial(self._get, entry))
        return records

    async def _get(self, entry: _Entry) -> tuple[Record, ...]:
        if entry.size > MAX_OBJECT_BYTES:
            self._invalid("%s has %d bytes, more than %d", entry.name, entry.size, MAX_OBJECT_BYTES)
            return ()

        def get() -> tuple[str, bytes] | None:
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=self._prefix + entry.name)
                return answer["ETag"], answer["Body"].read()
            except self._s3.exceptions.NoSuchKey:
                return None  # deleted since it was listed

        got = await self._call("GetObject", get)
        if got is None:
            return ()
        etag, body = got
        records = tuple(self._parse(entry.name, body))
        with contextlib.suppress(ValueError):  # larger than the whole cache
            self._objects[entry.name, etag] = records
        return records

    def _parse(self, name: str, body: bytes) -> Iterator[Record]:
        for number, line in enumerate(body.splitlines(), start=1):
            try:
                product = WeatherProduct.model_validate_json(line)
            except ValidationError as e:
                self._invalid("%s line %d is not a product: %s", name, number, e.errors()[0]["msg"])
            else:
                yield Record(product.city.casefold(), product.model_dump_json().encode())

    def _invalid(self, message: str, *args: object) -> None:
        self._metrics.invalid_records.inc()
        log.warning(message, *args)

    async def _listed(self, key: str, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return a listing, at most `list_seconds` old."""
        if key in self._listings:
            with contextlib.suppress(KeyError):  # it may expire in between
                return cast("T", self._listings[key])
        listing = await self._once(key, read)
        with contextlib.suppress(ValueError):
            self._listings[key] = listing
        return listing

    async def _once(self, key: object, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what make() gives; callers that ask for the same at the same time share one call."""
        task: asyncio.Task[T] | None = self._running.get(key)
        if task is None:
            task = asyncio.create_task(make())
            self._running[key] = task

            def done(t: asyncio.Task[T]) -> None:
                del self._running[key]
                if not t.cancelled():
                    t.exception()  # mark as seen: every caller may have gone by now

            task.add_done_callback(done)
        return await asyncio.shield(task)

    async def _pages(self, folder: str, delimiter: str | None = None) -> AsyncIterator["ListObjectsV2OutputTypeDef"]:
        read = partial(self._s3.list_objects_v2, Bucket=self._bucket, Prefix=self._prefix + folder)
        if delimiter is not None:
            read = partial(read, Delimiter=delimiter)
        page = await self._call("ListObjectsV2", read)
        yield page
        while page["IsTruncated"]:
            page = await self._call("ListObjectsV2", partial(read, ContinuationToken=page["NextContinuationToken"]))
            yield page

    async def _call(self, operation: str, function: Callable[[], T]) -> T:
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._pool, function)
        except (BotoCoreError, ClientError) as e:
            self._metrics.s3_calls.labels(operation, "error").inc()
            reason = _reason(e, self._bucket)
            log.error("%s: %s (%s)", operation, reason, e)  # noqa: TRY400 - the trace says nothing more
            raise StoreUnavailableError(reason) from None
        self._metrics.s3_calls.labels(operation, "ok").inc()
        return result


def _entries(page: "ListObjectsV2OutputTypeDef", prefix: str) -> list[_Entry]:
    found = (_Entry(o["Key"].removeprefix(prefix), o["ETag"], o["Size"]) for o in page.get("Contents", []))
    return [e for e in found if parse_key(e.name) is not None]


async def _chunks(items: AsyncIterator[T], size: int) -> AsyncIterator[list[T]]:
    chunk: list[T] = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _reason(e: BotoCoreError | ClientError, bucket: str) -> str:
    if isinstance(e, (EndpointConnectionError, ConnectTimeoutError, ConnectionClosedError)):
        return "cannot connect to the object store"
    if isinstance(e, ReadTimeoutError):
        return "the object store does not answer in time"
    if isinstance(e, NoCredentialsError):
        return "no AWS credentials for the object store"
    if not isinstance(e, ClientError):
        return f"the object store cannot be read ({type(e).__name__})"
    code = e.response["Error"]["Code"]
    known = {"AccessDenied": f"access to bucket {bucket} is denied", "NoSuchBucket": f"bucket {bucket} does not exist"}
    return known.get(code, f"the object store answered {code}")
