#!/usr/bin/env bash
# A smoke test with a real Cloudflare account, for a person to run: it is not part of any test, as it leaves the machine.
#
#   TUNNEL_TOKEN   of a tunnel that nothing else serves (dashboard: Networks, Tunnels)
#   TUNNEL_HOST    a hostname whose DNS record is a proxied CNAME to <tunnel id>.cfargotunnel.com
#   PROTOCOL       HTTP2 (default), QUIC or Auto
#
# It needs bin/lintel and bin/backend: make build && go build -o bin/backend ./examples/backend
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${TUNNEL_TOKEN:?set it to the token of a tunnel}" "${TUNNEL_HOST:?set it to a hostname that leads to the tunnel}"
folder=$(mktemp -d)
admin=127.0.0.1:19180
pids=()
end() {
    trap - EXIT
    [ ${#pids[@]} = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null || true
    wait || true
    rm -rf "$folder"
}
trap end EXIT
chmod 700 "$folder"
sed "s/app\.example\.com/$TUNNEL_HOST/" examples/tunnel/gateway.yaml >"$folder/gateway.yaml"
sed "s/PUT-THE-TOKEN-HERE/$TUNNEL_TOKEN/; s/^spec:/spec:\n  protocol: ${PROTOCOL:-HTTP2}/" examples/tunnel/tunnel.yaml >"$folder/tunnel.yaml"
bin/lintel check "$folder"
bin/backend -listen 127.0.0.1:9001 -name app &
pids+=($!)
bin/lintel run --manifests "$folder" --http-port 0 --https-port 0 --admin-address "$admin" --log-format text &
pids+=($!)
for _ in $(seq 60); do
    status=$(bin/lintel tunnel status --admin-address "$admin" -o json 2>/dev/null || true)
    case $status in *'"location"'*) break ;; esac
    sleep 1
done
bin/lintel tunnel status --admin-address "$admin"
echo "--- through Cloudflare"
curl -fsS --retry 5 --retry-all-errors "https://$TUNNEL_HOST/hello"
echo "--- on this machine"
curl -fsS -H "Host: $TUNNEL_HOST" http://127.0.0.1:8080/hello
echo "--- a megabyte up, and back through Cloudflare"
head -c 1048576 /dev/urandom | curl -fsS --data-binary @- -o /dev/null -w '%{http_code} after %{time_total} s\n' "https://$TUNNEL_HOST/upload"
echo "all is well"
