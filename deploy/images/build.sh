#!/usr/bin/env bash
# Builds the container images of the lab as OCI archives, without a network and without a container engine.
#
# usage: deploy/images/build.sh [OUT]        (OUT: target/images)
#
# The same sources give the same bytes: entries are sorted, owned by 0:0 and dated 1970. An archive that is newer than
# everything it is made from is left alone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/../../target/images}
mkdir -p "$out"
out=$(cd "$out" && pwd)
busybox=${BUSYBOX:-/bin/busybox}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { echo "images: $*" >&2; }

# fresh ARCHIVE SOURCE... : succeeds where the archive is newer than all of its sources.
fresh() {
    local archive=$1 source
    shift
    [[ -s $archive ]] || return 1
    for source in "$@" "$here/build.sh"; do
        [[ $archive -nt $source ]] || return 1
    done
}

# pack FOLDER FILE : an ordered, dateless tar.
pack() {
    tar --create --file "$2" --directory "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
        --format=gnu --transform 's,^\./,,' .
}

# blob LAYOUT FILE : moves FILE among the layout's blobs, prints "digest size".
blob() {
    local digest size
    digest=$(sha256sum "$2" | cut -d' ' -f1)
    size=$(stat -c %s "$2")
    mv "$2" "$1/blobs/sha256/$digest"
    echo "$digest $size"
}

# image LAYOUT CONFIG NAMES LAYER... : adds one image under each of the NAMES; CONFIG is the inside of "config".
image() {
    local layout=$1 config=$2 names=$3 layers="" diffs="" digest size entry name
    shift 3
    mkdir -p "$layout/blobs/sha256"
    for layer in "$@"; do
        cp "$layer" "$layout/layer"
        read -r digest size < <(blob "$layout" "$layout/layer")
        diffs+="${diffs:+,}\"sha256:$digest\""
        layers+="${layers:+,}{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":$size}"
    done
    printf '{"created":"1970-01-01T00:00:00Z","architecture":"amd64","os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "$config" "$diffs" >"$layout/blob"
    read -r digest size < <(blob "$layout" "$layout/blob")
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
        "$digest" "$size" "$layers" >"$layout/blob"
    read -r digest size < <(blob "$layout" "$layout/blob")
    for name in $names; do
        entry="{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size,"
        entry+="\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"},"
        entry+="\"annotations\":{\"io.containerd.image.name\":\"$name\",\"org.opencontainers.image.ref.name\":\"${name##*:}\"}}"
        echo "$entry" >>"$layout/entries"
    done
}

# archive LAYOUT FILE : writes the index and packs the layout.
archive() {
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' \
        "$(paste -sd, "$1/entries")" >"$1/index.json"
    rm "$1/entries"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
    pack "$1" "$2.new"
    mv "$2.new" "$2"
    say "built $2"
}

# The file system that busybox and demo share: one static program and a name for each of its applets.
busybox_layer() {
    local root=$work/busybox-root applet
    [[ -s $work/busybox.tar ]] && return
    mkdir -p "$root"/{bin,etc,root,home,tmp,var/www,usr/bin,usr/sbin,sbin,dev,proc,sys}
    install -m 0755 "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
    done
    chmod 1777 "$root/tmp"
    chmod 0700 "$root/root"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    pack "$root" "$work/busybox.tar"
}

path='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'

if ! fresh "$out/pause.tar" "$here/pause/pause.c"; then
    mkdir -p "$work/pause-root"
    musl-gcc -static -Os -s -Wall -Wextra -Werror -o "$work/pause-root/pause" "$here/pause/pause.c"
    pack "$work/pause-root" "$work/pause.tar"
    image "$work/pause" '"User":"65535:65535","Entrypoint":["/pause"],"WorkingDir":"/"' "timonel.dev/pause:1.0" "$work/pause.tar"
    archive "$work/pause" "$out/pause.tar"
fi

if ! fresh "$out/busybox.tar" "$busybox"; then
    busybox_layer
    image "$work/busybox" "\"Env\":[$path],\"Cmd\":[\"sh\"]" \
        "docker.io/library/busybox:1.35 docker.io/library/busybox:latest" "$work/busybox.tar"
    archive "$work/busybox" "$out/busybox.tar"
fi

if ! fresh "$out/demo.tar" "$busybox" "$here/demo/main.rs"; then
    busybox_layer
    mkdir -p "$work/demo-root/usr/bin"
    (cd "$work" && rustc --edition 2024 --crate-name demo -D warnings -C opt-level=s -C panic=abort -C strip=symbols \
        -C target-feature=+crt-static --target x86_64-unknown-linux-gnu --remap-path-prefix "$here=/demo" \
        -o "$work/demo-root/usr/bin/demo" "$here/demo/main.rs")
    pack "$work/demo-root" "$work/demo.tar"
    for version in 1.0 2.0; do
        image "$work/demo" "\"Env\":[$path,\"DEMO_VERSION=$version\"],\"Entrypoint\":[\"/usr/bin/demo\"],\"ExposedPorts\":{\"8080/tcp\":{}}" \
            "timonel.dev/demo:$version" "$work/busybox.tar" "$work/demo.tar"
    done
    archive "$work/demo" "$out/demo.tar"
fi
