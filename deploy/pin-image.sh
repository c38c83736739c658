#!/bin/sh
# Pins the base image of the Containerfile to the digest that its registry names today. Needs docker with buildx, or skopeo.
# sh deploy/pin-image.sh
set -eu
cd "$(dirname "$0")"
image=$(sed -n 's/^FROM \([^ @]*\)\(@[^ ]*\)\{0,1\}.*/\1/p' Containerfile | sort -u)
[ "$(printf '%s\n' "$image" | wc -l)" -eq 1 ] || { echo "more than one base image: $image" >&2; exit 1; }
if command -v skopeo >/dev/null; then
    digest=$(skopeo inspect --format '{{.Digest}}' "docker://$image")
else
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
fi
case $digest in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "no digest of $image: $digest" >&2; exit 1 ;;
esac
sed -i "s#^FROM $image\(@[^ ]*\)\{0,1\}#FROM $image@$digest#" Containerfile
echo "pinned $image to $digest"
