#!/usr/bin/env bash
# A second object store of one node, for specs: OpenStack Swift with s3api, which answers a PUT with If-None-Match by
# 501. Needs Debian's swift-proxy, swift-account, swift-container and swift-object, and a DIR on a disk that keeps
# extended attributes. Says "ready URL" once it answers, and ends with everything that it started when its standard
# input ends.
#
#   scripts/swift.sh DIR PORT
set -euo pipefail

dir=$(mkdir -p "$1" && cd "$1" && pwd)
port=$2
mkdir -p "$dir/devices/disk" "$dir/cache"

cat > "$dir/swift.conf" << END
[swift-hash]
swift_hash_path_prefix = sendall
swift_hash_path_suffix = sendall
[storage-policy:0]
name = one
default = yes
END

# All of them have the same port, each on an address of this machine of its own.
declare -A address=([account]=127.0.0.2 [container]=127.0.0.3 [object]=127.0.0.4)
for kind in account container object; do
  cat > "$dir/$kind.conf" << END
[DEFAULT]
bind_ip = ${address[$kind]}
bind_port = $port
workers = 0
user = $(id -un)
swift_dir = $dir
devices = $dir/devices
mount_check = false
[pipeline:main]
pipeline = $kind-server
[app:$kind-server]
use = egg:swift#$kind
recon_cache_path = $dir/cache
END
done

# What swift-ring-builder does, which takes half a second each of nine times.
/usr/bin/python3 - "$dir" "$port" "${address[account]}" "${address[container]}" "${address[object]}" << END
import sys
from swift.common.ring import RingBuilder
dir, port, *addresses = sys.argv[1:]
for kind, ip in zip(('account', 'container', 'object'), addresses):
    builder = RingBuilder(2, 1, 0)
    place = {'ip': ip, 'port': int(port), 'replication_ip': ip, 'replication_port': int(port)}
    builder.add_dev({'region': 1, 'zone': 1, 'device': 'disk', 'weight': 1, **place})
    builder.rebalance()
    builder.get_ring().save(f'{dir}/{kind}.ring.gz')
END

# No memcached is needed: nobody answers there, and it is asked once. What it would remember of the bucket may be old.
cat > "$dir/proxy.conf" << END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
workers = 0
user = $(id -un)
swift_dir = $dir
[pipeline:main]
pipeline = catch_errors cache s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.5:$port
error_suppression_limit = 0
error_suppression_interval = 86400
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_sendall_spec = secret-of-specs .admin
[filter:slo]
use = egg:swift#slo
END

started=()
# shellcheck disable=SC2317 # called by trap
finish() {
  [ ${#started[@]} = 0 ] || kill "${started[@]}" 2> /dev/null || true
  wait
}
trap finish EXIT

for kind in account container object proxy; do
  "swift-$kind-server" "$dir/$kind.conf" > "$dir/$kind.log" 2>&1 < /dev/null &
  started+=($!)
done
for host in "${address[@]}" 127.0.0.1; do
  until (exec 3<> "/dev/tcp/$host/$port") 2> /dev/null; do
    # One that ended has said why.
    [ "$(jobs -pr | wc -l)" = 4 ] || { cat "$dir"/*.log >&2; exit 1; }
    sleep 0.1
  done
done
echo "ready http://127.0.0.1:$port"
cat > /dev/null
