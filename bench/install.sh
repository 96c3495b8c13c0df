#!/usr/bin/env bash
# Installs by apt what bench needs and is not here. Traefik and Caddy are built by
# bench itself.
set -euo pipefail

missing=()
# want PACKAGE COMMAND
want() { command -v "$2" >/dev/null || missing+=("$1"); }
want nginx nginx
want haproxy haproxy
want nghttp2-client h2load
want util-linux taskset
want gcc gcc
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
[ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
[ -e /usr/include/nghttp2/nghttp2.h ] || missing+=(libnghttp2-dev)
[ ${#missing[@]} -gt 0 ] || exit 0

echo "bench: installing ${missing[*]}" >&2
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
# Debian starts services that it installs, and they would take a core's time.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
fi
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
