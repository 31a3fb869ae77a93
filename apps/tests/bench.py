"""Load on the products API: requests/s, p99 and memory at 10,000 objects and 50 clients. `make -C apps bench`."""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import boto3

from products_api.app import EXAMPLE
from products_api.cursor import Cursor
from tests.support import Process, api_process, ministack
from weather_common.products import WeatherProduct, object_key, to_jsonl

NEWEST = datetime(2026, 1, 31, 7, tzinfo=UTC)
BUCKET = "bench-products"
MAX_GROWTH = 1.15  # of resident memory, from the end of the first quarter to the end


def fill(url: str, count: int) -> None:
    """Write one object an hour, two cities in each."""
    s3 = boto3.client("s3", endpoint_url=url)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    template = [WeatherProduct.model_validate(EXAMPLE | {"city": c}) for c in ("Chicago", "Luxembourg")]

    def put(hour: int) -> None:
        at = NEWEST - timedelta(hours=hour)
        body = to_jsonl(p.model_copy(update={"product_time": at}) for p in template)
        s3.put_object(Bucket=BUCKET, Key=object_key(at), Body=body)

    with ThreadPoolExecutor(8) as pool:
        for done, _ in enumerate(pool.map(put, range(count)), start=1):
            if done % 2000 == 0:
                print(f"  {done} of {count} objects written", flush=True)


def targets(count: int, rng: random.Random) -> list[str]:
    """Return 1,000 requests: most for the newest page, some for one city, some from anywhere in the history."""
    anywhere = [
        "/products?limit=20&cursor="
        + quote(Cursor(object_key(NEWEST - timedelta(hours=rng.randrange(count)), ""), rng.randrange(2)).encode())
        for _ in range(200)
    ]
    return ["/products?limit=20"] * 500 + ["/products?limit=100"] * 100 + ["/products?city=Chicago"] * 200 + anywhere


async def client(port: int, paths: list[str], end: float, took: list[float], errors: list[str]) -> None:
    """Ask one thing after the other on one connection, until `end`. By hand: an HTTP library would be the limit."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    rng = random.Random()
    while time.monotonic() < end:
        path = rng.choice(paths)
        start = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        took.append(time.perf_counter() - start)
        if b" 200 " not in head[:16] or not body.startswith(b"[{"):
            errors.append(f"{path}: {head[:40]!r} {body[:100]!r}")
    writer.close()


def resident_mib(pid: int) -> float:
    """Return a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")


async def load(process: Process, port: int, paths: list[str], clients: int, seconds: int) -> bool:
    """Run the load and print what was measured; returns whether all is well."""
    took: list[float] = []
    errors: list[str] = []
    start = time.monotonic()
    tasks = [asyncio.create_task(client(port, paths, start + seconds, took, errors)) for _ in range(clients)]
    memory = []
    for quarter in range(1, 5):
        await asyncio.sleep(start + seconds * quarter / 4 - time.monotonic())
        memory.append(resident_mib(process.pid))
        print(f"  {seconds * quarter / 4:.0f} s: {len(took)} requests, {memory[-1]:.0f} MiB", flush=True)
    await asyncio.gather(*tasks)
    took.sort()
    p = statistics.quantiles(took, n=1000)
    print(
        f"{len(took) / seconds:.0f} requests/s, p50 {p[499] * 1000:.0f} ms, p99 {p[989] * 1000:.0f} ms, "
        f"longest {took[-1] * 1000:.0f} ms, {len(errors)} errors, memory {memory[0]:.0f} to {memory[-1]:.0f} MiB"
    )
    print("\n".join(errors[:3]), end="\n" if errors else "")
    flat = memory[-1] <= memory[0] * MAX_GROWTH
    if not flat:
        print(f"memory grew by more than {MAX_GROWTH - 1:.0%}")
    return flat and not errors


def main() -> int:
    """Run the bench; 1 when a request failed or memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=40)
    options = parser.parse_args()
    for name in [n for n in os.environ if n.startswith(("AWS_", "API_", "S3_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder, ministack(Path(folder)) as url:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-2",
            "AWS_ENDPOINT_URL_S3": url,
            "S3_BUCKET_NAME": BUCKET,
            "RATE_LIMIT_REQUESTS_PER_MINUTE": "1000000",
        }
        print(f"writing {options.objects} objects to MiniStack", flush=True)
        fill(url, options.objects)
        process, api = api_process(Path(folder), API_DRAIN_SECONDS="0")
        try:
            print(f"{options.clients} clients for {options.seconds} s", flush=True)
            paths = targets(options.objects, random.Random(1))
            port = int(api.rsplit(":", 1)[1])
            return int(not asyncio.run(load(process, port, paths, options.clients, options.seconds)))
        finally:
            process.stop()


if __name__ == "__main__":
    sys.exit(main())
