#!/bin/sh
# SET NX PX and a script that deletes the key if it is ours, on one Redis server. Needs: redis-cli (Debian: redis-tools)
server=${FENCEPOST_SERVERS%%,*}
cli() { timeout 2 redis-cli -h "${server%:*}" -p "${server##*:}" "$@" 2>&1; }
delete="if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end"
tries=0

echo '{"hello":{"name":"redis-cli","version":"1","capabilities":[]}}'
while read -r line; do
    id=${line#*'"id":'} id=${id%%,*}
    lock=${line#*'"lock":"'} lock=${lock%%'"'*}
    case $line in
    *'"op":"acquire"'*)
        tries=$((tries + 1)) mine=$FENCEPOST_CLIENT-$$-$tries
        wait=${line#*'"wait_ms":'} wait=${wait%'}'}
        end=$(($(date +%s%3N) + wait))
        while :; do
            case $(cli SET "$lock" "$mine" NX PX "$FENCEPOST_LEASE_MS") in
            OK) result=ok && break ;;
            '') result=fail ;;
            *) result=unknown && break ;;
            esac
            [ "$(date +%s%3N)" -lt "$end" ] || break
            sleep 0.05
        done ;;
    *)
        case $(cli EVAL "$delete" 1 "$lock" "$mine") in
        1) result=released ;;
        0) result=expired ;;
        *) result=unknown ;;
        esac ;;
    esac
    echo "{\"id\":$id,\"result\":\"$result\"}"
done
