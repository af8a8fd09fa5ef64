# syntax=docker/dockerfile:1
# One image for everything: `python -m services.<name>` runs one process of one service; the default command
# runs all of them and the gateway on port 3005, with DATABASE_URL, NATS_URL and REDIS_HOST naming the servers.
#
#   docker build -t crown-notification-service .
#   docker run --read-only -p 3005:3005 -e DATABASE_URL=… -e NATS_URL=… -e REDIS_HOST=… crown-notification-service

# Anything with Python 3.11 to 3.13, its pip and venv, and glibc 2.30 or newer.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Two environments, so that neither pip nor what builds the wheel is in the image.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/crown
WORKDIR /build
# The locked packages change seldom: layers of their own.
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN /opt/build/bin/pip install --require-hashes --only-binary=:all: -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/crown/bin/python install \
      --require-hashes --only-binary=:all: -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY buf buf
COPY crown crown
COPY gateway gateway
COPY services services
COPY stack stack
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build/wheel . \
 && /opt/build/bin/pip --python /opt/crown/bin/python install --no-deps /build/wheel/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="Crown Notification Service" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/crown /opt/crown
# In /servers it writes what servers in containers of their own need to know; a new volume gets its folder's owner.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin crown \
 && install --directory --owner=crown /var/lib/crown /servers/mongod /servers/nats /servers/valkey
# The gateway listens on all addresses of the container; everything else stays on loopback.
ENV PATH=/opt/crown/bin:$PATH PYTHONUNBUFFERED=1 \
    CROWN_STACK_HOME=/var/lib/crown CROWN_STACK_HOST=0.0.0.0
USER 10001
WORKDIR /var/lib/crown
# Nothing else is written to: the root may be read-only.
VOLUME /var/lib/crown
EXPOSE 3005
CMD ["crown", "up", "--foreground"]
