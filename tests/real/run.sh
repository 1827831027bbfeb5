#!/bin/sh
# Runs real programs on our tasks: an aiohttp server and client, httpx, asyncpg against a real
# PostgreSQL, redis-py against a real Redis. Installs the two servers from Debian's packages if they
# are not there. The tests start them, on loopback, in a folder of their own.
set -eu
if ! command -v redis-server >/dev/null || ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        echo "tests/real needs redis-server and postgresql: install them, or run this as root on Debian" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        redis-server postgresql >/dev/null
fi
export AIONURSERY_REAL=1
exec tools/test.sh -n 0 tests/real "$@"
