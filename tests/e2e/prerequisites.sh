#!/bin/sh
# Names what must be installed before anything can be built, each with how to get it.
# make runs it first, and so does the lab before it builds a component.
set -u
missing=0

# need PROGRAM WHY REMEDY
need() {
  if ! command -v "$1" >/dev/null 2>&1; then
    echo "missing: $1, which $2" >&2
    echo "    $3" >&2
    missing=1
  fi
}

need cargo 'builds this project' 'install Rust by rustup: https://rustup.rs'
need cc 'compiles the C parts of zstd and ring' \
  'Debian: apt-get install gcc libc6-dev; macOS: xcode-select --install'
need make "runs the project's commands" \
  'Debian: apt-get install make; macOS: xcode-select --install'
need git 'lets Go fetch modules that its proxy does not hold' \
  'Debian: apt-get install git; macOS: xcode-select --install'
need go "builds the lab's components: etcd, kube-apiserver, the S3 server" \
  'install Go 1.26 or newer: https://go.dev/doc/install'

if command -v go >/dev/null 2>&1; then
  version=$(go env GOVERSION 2>/dev/null)
  case $version in
    go1.2[6-9]* | go1.[3-9][0-9]* | go1.[1-9][0-9][0-9]* | go[2-9]*) ;;
    *)
      echo "too old: Go is $version, and the lab's components need 1.26" >&2
      echo '    install Go 1.26 or newer: https://go.dev/doc/install' >&2
      missing=1
      ;;
  esac
fi

exit "$missing"
