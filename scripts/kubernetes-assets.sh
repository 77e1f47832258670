#!/usr/bin/env bash
# Prints a directory that holds etcd, kube-apiserver, kube-controller-manager and crds/*.yaml, for tests against a real API server.
#
#   KUBEBUILDER_ASSETS        a directory that has the three programs; then only the CRDs are fetched
#   HADAL_KUBERNETES_CACHE    where the others are kept: by default in ~/.cache, else in build/kubernetes
#
# Without that variable etcd comes from the machine or from Debian's package (unpacked, never installed: it would start a
# server), the other two are built from their Go modules: 4 minutes with two cores, once, whatever the number of checkouts.
set -euo pipefail
cd "$(dirname "$0")/.."

kubernetes=1.34.2
gateway_api=1.5.1
istio_api=1.31.1
go_modules=(k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager)

say() { echo "kubernetes-assets: $*" >&2; }
fail() { say "$@"; exit 1; }

cache_directory() {
  local general=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
  if [ -n "${HADAL_KUBERNETES_CACHE:-}" ]; then echo "$HADAL_KUBERNETES_CACHE"
  elif mkdir -p "$general/hadal/kubernetes" 2>/dev/null && [ -w "$general/hadal/kubernetes" ]; then echo "$general/hadal/kubernetes"
  else echo "$PWD/build/kubernetes"; fi
}

need_go() { command -v go >/dev/null || fail "go is missing, and with it $1; install Go 1.24 or newer, or set KUBEBUILDER_ASSETS"; }

etcd_program() {
  if command -v etcd >/dev/null; then ln -sfn "$(command -v etcd)" "$home/etcd"; return; fi
  local work
  work=$(mktemp -d "$cache/fetch.XXXXXX")
  chmod 755 "$work"
  (
    cd "$work"
    apt-get download -qq etcd-server >/dev/null 2>&1 || { apt-get update -qq >/dev/null && apt-get download -qq etcd-server >/dev/null; }
    dpkg -x ./*.deb tree
  ) || { rm -rf "$work"; fail "there is no etcd here and Debian's package etcd-server cannot be fetched; install etcd or set KUBEBUILDER_ASSETS"; }
  install -m 755 "$work/tree/usr/bin/etcd" "$home/etcd"
  rm -rf "$work"
}

# k8s.io/kubernetes names its own libraries at v0.0.0, so it builds only inside a module that says which ones are meant.
api_server_programs() {
  need_go 'kube-apiserver'
  local module=$home/module mod libraries
  say "building kube-apiserver and kube-controller-manager $kubernetes into $home: some minutes, once"
  mkdir -p "$module"
  mod=$(go mod download -json "k8s.io/kubernetes@v$kubernetes" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  [ -f "$mod" ] || fail "cannot fetch the Go module k8s.io/kubernetes v$kubernetes; is there a way to a Go proxy (GOPROXY)?"
  libraries=$(awk '$1 ~ /^k8s.io\// && $2 == "v0.0.0" {print $1}' "$mod" | sort -u)
  {
    printf 'module hadal.io/kubernetes-assets\n\ngo %s\n\nrequire k8s.io/kubernetes v%s\n\n' "$(awk '$1 == "go" {print $2}' "$mod")" "$kubernetes"
    printf "replace %s => %s v0.${kubernetes#*.}\n" $(awk '{print $1, $1}' <<<"$libraries")
  } >"$module/go.mod"
  (cd "$module" && go build -mod=mod -buildvcs=false -trimpath -o "$home/new/" \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$kubernetes" "${go_modules[@]}") \
    || fail "building ${go_modules[*]} v$kubernetes failed"
  mv "$home/new/"* "$home/" && rmdir "$home/new"
}

custom_resources() {
  need_go 'the custom resource definitions'
  local crds=$home/crds-of-$gateway_api-$istio_api directory
  if [ ! -d "$crds" ]; then
    rm -rf "$crds.new" && mkdir -p "$crds.new"
    directory=$(module_directory "sigs.k8s.io/gateway-api@v$gateway_api")
    install -m 644 "$directory"/config/crd/standard/gateway.networking.k8s.io_*.yaml "$crds.new/"
    directory=$(module_directory "istio.io/api@v$istio_api")
    install -m 644 "$directory/kubernetes/customresourcedefinitions.gen.yaml" "$crds.new/istio.yaml"
    mv "$crds.new" "$crds"
  fi
  ln -sfn "$crds" "$home/crds"
}

module_directory() {
  local directory
  directory=$(go mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [ -d "$directory" ] || fail "cannot fetch the Go module $1; is there a way to a Go proxy (GOPROXY)?"
  echo "$directory"
}

cache=$(cache_directory)
home=$cache/$kubernetes
mkdir -p "$home"
# Two checkouts that begin at once build once.
exec 9>"$cache/.lock"
flock 9

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  home=$cache/given
  mkdir -p "$home"
  for program in etcd kube-apiserver kube-controller-manager; do
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || fail "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no program $program; unset it or put it there"
    ln -sfn "$(realpath "$KUBEBUILDER_ASSETS/$program")" "$home/$program"
  done
else
  [ -x "$home/etcd" ] || etcd_program
  { [ -x "$home/kube-apiserver" ] && [ -x "$home/kube-controller-manager" ]; } || api_server_programs
fi
custom_resources
echo "$home"
