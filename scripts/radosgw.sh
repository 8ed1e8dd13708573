#!/usr/bin/env bash
# An object store of one node in memory, for specs and the bench: Ceph's radosgw with one monitor and one OSD.
# Needs Debian's ceph-mon, ceph-osd, ceph-common and radosgw, and root. Says "ready URL" once it answers, and ends with
# everything that it started when its standard input ends.
#
#   scripts/radosgw.sh DIR PORT MONITOR-PORT [GIB]
set -euo pipefail

dir=$(mkdir -p "$1" && cd "$1" && pwd)
port=$2 monitor=$3 gib=${4:-3}
conf=$dir/ceph.conf

cat > "$conf" << END
[global]
fsid = $(uuidgen)
mon host = v2:127.0.0.1:$monitor
public addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
mon allow pool size one = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = $((gib * 1024 * 1024 * 1024))
run dir = $dir
admin socket = $dir/\$name.asok
log file = $dir/\$name.log
[mon.a]
mon data = $dir/mon
[osd.0]
osd data = $dir/osd
[client.gateway]
rgw data = $dir/gateway
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
ms mon client mode = crc secure
END
mkdir -p "$dir/mon" "$dir/osd" "$dir/gateway"

started=()
# shellcheck disable=SC2317 # called by trap
finish() {
  [ ${#started[@]} = 0 ] || kill "${started[@]}" 2> /dev/null || true
  wait
}
trap finish EXIT

fsid=$(sed -n 's/^fsid = //p' "$conf")
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor]" "$dir/monmap" > /dev/null
ceph-mon --mkfs -i a --monmap "$dir/monmap" -c "$conf"
ceph-mon -f -i a -c "$conf" > /dev/null 2>&1 < /dev/null &
started+=($!)
osd=$(uuidgen)
ceph -c "$conf" --connect-timeout 30 osd new "$osd" 0 > /dev/null 2>&1
ceph-osd -i 0 --mkfs --osd-uuid "$osd" -c "$conf" > /dev/null 2>&1
ceph -c "$conf" osd crush add osd.0 1 root=default host=localhost > /dev/null 2>&1
ceph-osd -f -i 0 -c "$conf" > /dev/null 2>&1 < /dev/null &
started+=($!)
radosgw -f -n client.gateway -c "$conf" > /dev/null 2>&1 < /dev/null &
started+=($!)
radosgw-admin -n client.gateway -c "$conf" user create --uid=sendall --display-name=sendall \
  --access-key=SENDALLSPEC --secret=secret-of-specs > /dev/null 2>&1
until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do sleep 0.1; done
echo "ready http://127.0.0.1:$port"
cat > /dev/null
