# syntax=docker/dockerfile:1
# One image for everything: `python -m services.<name>` runs one process of one service; the default command
# runs all of them and the gateway on port 3005, with DATABASE_URL, NATS_URL and REDIS_HOST naming the servers.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/crown
WORKDIR /build
# The locked packages change seldom: a layer of their own.
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/crown/bin/pip install --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY buf buf
COPY crown crown
COPY gateway gateway
COPY services services
COPY stack stack
RUN /opt/crown/bin/pip install --no-deps .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/crown /opt/crown
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin crown \
 && install --directory --owner=crown /var/lib/crown
# The gateway listens on all addresses of the container; everything else stays on loopback.
ENV PATH=/opt/crown/bin:$PATH PYTHONUNBUFFERED=1 \
    CROWN_STACK_HOME=/var/lib/crown CROWN_STACK_HOST=0.0.0.0
USER 10001
WORKDIR /var/lib/crown
VOLUME /var/lib/crown
EXPOSE 3005
CMD ["crown", "up", "--foreground"]
