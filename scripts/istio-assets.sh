#!/usr/bin/env bash
# Prints a directory that holds pilot-discovery (istiod's program) and istioctl, for `npm run test:istio`.
#
#   HADAL_ISTIO_ASSETS   a directory that has both programs; nothing is built then
#   HADAL_ISTIO_CACHE    where they are kept otherwise: by default in ~/.cache, else in build/istio
#
# They are built from the Go module istio.io/istio, with the dependencies that its own go.mod names: some ten minutes with two
# cores, once. HADAL_ISTIO_BUILD=false only looks whether they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

# The module is served by commit, not by release; this one calls itself 1.31 and asks for the API of 1.31.0-rc.0.
istio=v0.0.0-20260827124520-eed52ebb66ad
programs=(istio.io/istio/pilot/cmd/pilot-discovery istio.io/istio/istioctl/cmd/istioctl)

say() { echo "istio-assets: $*" >&2; }
fail() { say "$@"; exit 1; }

cache_directory() {
  local general=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
  if [ -n "${HADAL_ISTIO_CACHE:-}" ]; then echo "$HADAL_ISTIO_CACHE"
  elif mkdir -p "$general/hadal/istio" 2>/dev/null && [ -w "$general/hadal/istio" ]; then echo "$general/hadal/istio"
  else echo "$PWD/build/istio"; fi
}

both_in() { [ -x "$1/pilot-discovery" ] && [ -x "$1/istioctl" ]; }

# Everything that Istio's go.mod requires is required here too, at the same version, with the same sums: nothing is resolved.
module_like_istio() {
  local mod directory
  directory=$(go mod download -json "istio.io/istio@$istio" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [ -d "$directory" ] || fail "cannot fetch the Go module istio.io/istio $istio; is there a way to a Go proxy (GOPROXY)?"
  mod=$directory/go.mod
  sed 's|^module .*|module hadal.io/istio-assets|' "$mod" >"$1/go.mod"
  printf '\nrequire istio.io/istio %s\n' "$istio" >>"$1/go.mod"
  install -m 644 "$directory/go.sum" "$1/go.sum"
}

if [ -n "${HADAL_ISTIO_ASSETS:-}" ]; then
  both_in "$HADAL_ISTIO_ASSETS" || fail "HADAL_ISTIO_ASSETS=$HADAL_ISTIO_ASSETS has no pilot-discovery and istioctl; unset it or put them there"
  echo "$HADAL_ISTIO_ASSETS"
  exit
fi
home=$(cache_directory)/$istio
if both_in "$home"; then echo "$home"; exit; fi
[ "${HADAL_ISTIO_BUILD:-true}" = true ] || fail "not built yet: run scripts/istio-assets.sh, or set HADAL_ISTIO_ASSETS"
command -v go >/dev/null || fail "go is missing, and with it istiod; install Go 1.26 or newer, or set HADAL_ISTIO_ASSETS"

mkdir -p "$home/module"
# Two checkouts that begin at once build once.
exec 9>"$home/.lock"
flock 9
if ! both_in "$home"; then
  say "building pilot-discovery and istioctl of $istio into $home: ten minutes or more, once"
  module_like_istio "$home/module"
  stamp=istio.io/istio/pkg/version
  (cd "$home/module" && CGO_ENABLED=0 go build -p 2 -mod=mod -buildvcs=false -trimpath -o "$home/new/" \
    -ldflags "-s -w -X $stamp.buildVersion=$istio -X $stamp.buildGitRevision=${istio##*-} -X $stamp.buildStatus=Clean" \
    "${programs[@]}") || fail "building ${programs[*]} of $istio failed"
  mv "$home/new/"* "$home/" && rmdir "$home/new"
fi
echo "$home"
