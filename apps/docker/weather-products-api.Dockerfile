# The products API, without a shell or a package manager.
# Build from the repository's top folder: scripts/build_and_push_images.sh does.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
# Debian 12 too, with the same minor version of Python: what is built above runs here
ARG RUNTIME_IMAGE=gcr.io/distroless/python3-debian12:nonroot@sha256:7d1042ce588ab97019fe95c24ffca7bc5a82ccdac572511d5e09bda4435c89c5

FROM ${PYTHON_IMAGE} AS build
COPY apps/requirements/weather-products-api.txt /tmp/requirements.txt
# --no-deps: the lock file is complete
RUN python3 -m venv /tmp/venv \
    && /tmp/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
        --target=/opt/packages -r /tmp/requirements.txt
COPY apps/weather_common /opt/weather/weather_common
COPY apps/products_api /opt/weather/products_api
# /app stays empty: the Vault Agent's /app/.env is mounted there, over the whole folder or as one file
RUN /tmp/venv/bin/python -m compileall -q /opt/weather && mkdir /app

FROM ${RUNTIME_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="weather-products-api" \
    org.opencontainers.image.description="HTTP API over the weather products in the bucket" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt /opt
COPY --from=build /app /app
# Nothing is written: the root file system can be read-only.
ENV PYTHONPATH=/opt/weather:/opt/packages \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 65532:65532
EXPOSE 8080
# For docker and podman; Kubernetes has probes of its own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["/usr/bin/python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["/usr/bin/python3", "-m", "products_api"]
