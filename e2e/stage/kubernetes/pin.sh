#!/usr/bin/env bash
# Pins another version: ./pin.sh 34.4 writes go.mod and go.sum for Kubernetes 1.34.4. Kubernetes names the modules of
# its own repository v0.0.0 and replaces them by folders that its module does not contain; each is released as v0.34.4.
set -euo pipefail
version=${1:?minor.patch, as 34.4}
cd "$(dirname "$0")"
upstream=$(GOFLAGS=-mod=mod go mod download -json "k8s.io/kubernetes@v1.$version" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
{
  printf 'module onceward.test/kube\n\n'
  sed -n '/^go /p;/^godebug /p' "$upstream"
  printf '\nrequire k8s.io/kubernetes v1.%s\n\nreplace (\n' "$version"
  sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging/.*|\t\1 => \1 v0.$version|p" "$upstream"
  printf ')\n'
} >go.mod.new
mv go.mod.new go.mod
go mod tidy
