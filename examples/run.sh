#!/usr/bin/env bash
# Serves examples/standalone with two small backends, until Ctrl-C or SIGTERM.
# Called by `make run`, which builds the programs first.
set -euo pipefail
cd "$(dirname "$0")/.."

# Ctrl-C reaches every process of the terminal. The backends must outlive the
# drain, so they get no SIGINT, and are ended when lintel is gone.
(trap '' INT; exec bin/backend -listen 127.0.0.1:9001 -name one) &
one=$!
(trap '' INT; exec bin/backend -listen 127.0.0.1:9002 -name two) &
two=$!
lintel=
end() {
    trap '' EXIT INT TERM
    [ -z "$lintel" ] || kill -TERM "$lintel" 2>/dev/null || true
    kill -TERM "$one" "$two" 2>/dev/null || true
    wait
}
trap end EXIT

bin/lintel run --manifests examples/standalone --http-port 8080 --https-port 8443 --log-format text "$@" &
lintel=$!
trap ':' INT
trap 'kill -TERM "$lintel" 2>/dev/null || true' TERM

# A signal interrupts wait: ask again as long as the process is there.
while :; do
    status=0
    wait "$lintel" || status=$?
    kill -0 "$lintel" 2>/dev/null || break
done
lintel=
exit "$status"
