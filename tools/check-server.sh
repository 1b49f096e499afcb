#!/usr/bin/env bash
# Runs unmodified client libraries (openai, ollama) against the server with the demo model, its page in a headless browser
# (tools/server/page.py), then many connections and hostile clients (tools/server/load.py) for this many seconds. What cannot be installed is
# skipped and named.
#
#   tools/check-server.sh [seconds]
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf 'SKIPPED: server clients, %s\n' "$1"; exit 0; }
command -v python3 >/dev/null || skip "no python3"
cargo build --release -p diffulex-server
python3 tools/server/load.py target/release/diffulex-server --seconds "${1:-30}"
kit=target/server-clients
if ! "$kit/bin/python" -c 'import openai, ollama' 2>/dev/null; then
    python3 -m venv "$kit" 2>/dev/null || skip "no venv"
    timeout 300 "$kit/bin/pip" install --quiet openai ollama 2>/dev/null || skip "openai and ollama cannot be installed"
fi
logs=$(mktemp -d)
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -rf "$logs"' EXIT
# Starts a server with these options; its address is then in $address.
start() {
    local log=$logs/${#servers[@]}
    target/release/diffulex-server --port 0 "$@" 2>"$log" &
    servers+=($!)
    for _ in $(seq 100); do
        address=$(sed -n 's|.* on \(http://[^ ]*\)$|\1|p' "$log" | head -n 1)
        [ -z "$address" ] || return 0
        sleep 0.1
    done
    cat "$log" >&2
    exit 1
}
start
plain=$address
start --weights demo/sdar --chat-template crates/server/tests/tools.jinja
"$kit/bin/python" tools/server/clients.py "$plain" "$address"
"$kit/bin/python" -c 'import playwright' 2>/dev/null || timeout 120 "$kit/bin/pip" install --quiet playwright 2>/dev/null || true
"$kit/bin/python" tools/server/page.py "$plain"
for server in "${servers[@]}"; do
    kill -TERM "$server"
    wait "$server"
done
