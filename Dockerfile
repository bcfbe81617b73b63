# One image for every stage: `docker run goaway worker`, `… sink`, `… shim`, …
FROM python:3.13-slim AS build
# the index may be replaced where PyPI is not reached: --build-arg PIP_INDEX_URL=… --build-arg UV_DEFAULT_INDEX=…
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=/opt/goaway
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
# dependencies change seldom, the code often: a layer each
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project --no-cache
COPY README.md LICENSE ./
COPY streams streams
COPY schemas schemas
COPY sql sql
RUN uv sync --frozen --no-dev --no-editable --no-cache

FROM python:3.13-slim
RUN groupadd --gid 10001 goaway \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/goaway --shell /usr/sbin/nologin goaway \
 && install -d -o goaway -g goaway -m 0750 /var/lib/goaway /run/goaway
COPY --from=build /opt/goaway /opt/goaway
ENV PATH=/opt/goaway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GOAWAY_DATA=/var/lib/goaway
USER 10001:10001
WORKDIR /var/lib/goaway
ENTRYPOINT ["goaway"]
CMD ["--help"]
