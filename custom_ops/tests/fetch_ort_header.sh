#!/bin/sh
# Prints the folder of the official onnxruntime_c_api.h, after fetching it into FOLDER if need be.
#
#   fetch_ort_header.sh FOLDER
#
# Takes the one installed (libonnxruntime-dev), else the package of Debian trixie, from the mirror
# that this machine's own sources name; needs apt-get and dpkg, no root. Where that does not work,
# says so in one line on stderr and exits with 1. Nothing is installed.
set -eu

fail() {
  echo "fetch_ort_header.sh: $1" >&2
  exit 1
}

[ $# -eq 1 ] || fail "usage: fetch_ort_header.sh FOLDER"
for installed in /usr/include/onnxruntime /usr/local/include/onnxruntime; do
  if [ -f "$installed/onnxruntime_c_api.h" ]; then
    echo "$installed"
    exit 0
  fi
done
command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "needs apt-get and dpkg"

mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/sources"
cd "$1"
here=$(pwd)
mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null |
  grep -v security | head -n 1)
[ -n "$mirror" ] || mirror=$(sed -n 's/^deb \(\[.*\] \)\{0,1\}\(http[^ ]*\) .*/\2/p' \
  /etc/apt/sources.list 2>/dev/null | grep -v security | head -n 1)
[ -n "$mirror" ] || fail "this machine names no Debian mirror"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keyring" ] || fail "no $keyring"
printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: %s\n' \
  "$mirror" "$keyring" >sources/trixie.sources

apt() {
  apt-get -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$here/sources" \
    -o "Dir::State::lists=$here/lists" -o "Dir::Cache=$here/cache" -qq "$@" >>apt.log 2>&1
}
apt update || fail "cannot read the package lists of trixie from $mirror"
apt download libonnxruntime-dev || fail "cannot download libonnxruntime-dev"
dpkg -x libonnxruntime-dev_*.deb package || fail "cannot unpack libonnxruntime-dev"
[ -f package/usr/include/onnxruntime/onnxruntime_c_api.h ] || fail "the package has no C header"
echo "$here/package/usr/include/onnxruntime"
