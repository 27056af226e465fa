#!/bin/bash
# Runs in the virtual machine, as root, when it has booted. Says on the second serial port what is so:
# `ok NAME` or `not ok NAME`, and after a failure what was seen.
imds=http://169.254.169.254/latest
listing=$imds/meta-data/iam/security-credentials/
policy=/etc/alppaca/policy.yaml

# check NAME COMMAND...: it has to succeed.
check() {
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "ok $name"
    else
        echo "not ok $name"
        { echo "$* said: $said"; journal alppaca --lines=20; } | sed 's/^/  /'
    fi
}

# After a 503 it asks again, as SDKs do: on a slow machine it may not have been found out yet who asks.
get=(curl -sf -m 5 --retry 5 -w ' %{http_code}')
# What a process in a place of its own gets: systemd-run's arguments. 404 is "no role".
listed() { systemd-run --quiet --wait --pipe --collect "$@" "${get[@]}" "$listing"; }
gets() {
    local expected=$1 got
    shift
    got=$(listed "$@" 2>&1)
    case $expected in
        404) [[ $got == *' 404' ]] ;;
        *) [[ $got == "$expected 200" ]] ;;
    esac || { echo "$got"; return 1; }
}
main_pid() { systemctl show --property=MainPID --value alppaca; }
wait_for() {
    local end=$((SECONDS + 120))
    until "$@" > /dev/null 2>&1; do
        [[ $SECONDS -lt $end ]] || break
        sleep 0.2
    done
    "$@"
}
journal() { journalctl --no-pager --output=cat --unit="$@"; }

# In a unit of its own that may make groups below itself.
if [[ $1 == forge ]]; then
    set -e
    cd /sys/fs/cgroup/system.slice/other.service
    mkdir web-1.service
    echo $$ > web-1.service/cgroup.procs
    cat /proc/self/cgroup
    grep -q '/other.service/web-1.service$' /proc/self/cgroup
    code=$("${get[@]}" "$listing" || true)
    echo "$code"
    [[ $code == *' 404' ]]
    exit
fi
exec > /dev/ttyS1 2>&1

# --- The machine

of_systemd_and_cgroup2() { [[ $(< /proc/1/comm) == systemd && $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; }
check machine of_systemd_and_cgroup2

# --- The units, as the machine booted with them

wait_for systemctl is-active alppaca
booted() {
    systemctl is-active alppaca alppaca.socket alppaca-capture || { systemctl status alppaca alppaca-capture; return 1; }
    [[ $(systemctl show --property=NRestarts --value alppaca) == 0 ]]
}
check booted booted
no_complaint() { ! journalctl --no-pager --boot _PID=1 | grep -iE 'alppaca.*(unknown|invalid|ignor|deprecat|fail)'; }
check no_complaint no_complaint
confined() {
    local pid status
    pid=$(main_pid)
    status=$(< "/proc/$pid/status")
    echo "$status"
    [[ $(ps -o user= -p "$pid") == alppaca ]] &&
        grep -q $'^CapEff:\t0000000000000000$' <<< "$status" && grep -q $'^CapBnd:\t0*400$' <<< "$status" &&
        grep -q $'^NoNewPrivs:\t1$' <<< "$status" && grep -q $'^Seccomp:\t2$' <<< "$status" &&
        ! grep -q $'^VmLck:\t *0 kB$' <<< "$status"
}
check confined confined

# --- Who asks

check unit gets web --unit=web-7.service
check slice gets batch --slice=batch-night.slice
check user gets ops --uid=anna
check nobody_else gets 404 --unit=other.service
other_user() { gets 404 --uid=bert; }
check other_user other_user
by_name() {
    local code
    code=$(systemd-run --quiet --wait --pipe --collect --unit=web-8.service "${get[@]}" "${listing}batch")
    [[ $code == *' 404' ]] || { echo "$code"; return 1; }
}
check another_role_by_name by_name

# Whoever manages a subtree gives names in it; they must not count.
of_user_manager() { systemd-run --quiet --wait --pipe --collect --user --machine=bert@ "$@"; }
forged_by_user() {
    local group got
    group=$(of_user_manager --unit=web-9.service cat /proc/self/cgroup)
    [[ $group == */user@*.service/*/web-9.service* ]] || { echo "not forged: $group"; return 1; }
    got=$(of_user_manager --unit=web-9.service "${get[@]}" "$listing")
    [[ $got == *' 404' ]] || { echo "$got"; return 1; }
}
wait_for systemctl is-active user@1002.service
check name_forged_below_a_user_manager forged_by_user
forged_by_delegation() {
    systemd-run --quiet --wait --pipe --collect --unit=other.service --property=Delegate=yes "$0" forge
}
check name_forged_in_a_delegated_group forged_by_delegation
explained() {
    local pid said
    systemd-run --quiet --collect --unit=web-5.service sleep 100
    pid=$(systemctl show --property=MainPID --value web-5.service)
    said=$(alppaca policy explain --pid "$pid")
    systemctl stop web-5.service
    echo "$said"
    grep -q 'web-5.service' <<< "$said" && grep -q 'rule 2 (of web): applies' <<< "$said"
}
check explained explained
status_of() { setpriv --reuid="$1" --regid="$1" --clear-groups alppaca status; }
status_by_policy() {
    local anna root
    anna=$(status_of anna) && root=$(alppaca status) || { echo "$anna $root"; return 1; }
    echo "anna: $anna; root: $root"
    grep -q ops <<< "$anna" && ! grep -q batch <<< "$anna" && grep -q ops <<< "$root" && grep -q batch <<< "$root"
}
check status_by_policy status_by_policy

# --- Containers with the host's network, known by their control group

hears_podman() {
    local run
    run=$(systemctl show --property=InvocationID --value alppaca)
    journalctl --quiet --grep='containers: Podman' "_SYSTEMD_INVOCATION_ID=$run" || { journal alppaca --lines=5; return 1; }
}
check podman wait_for hears_podman
tar -cC /usr/bin busybox | podman import --quiet - box > /dev/null
# PATTERN PODMAN-OPTIONS...: whether a container gets that, before long.
in_container() {
    local wanted=$1 said
    shift
    said=$(podman run --rm --network=host "$@" box /busybox sh -c "
        for try in 1 2 3 4 5 6 7 8 9; do
            said=\$(/busybox wget -qO- $listing 2>&1)
            case \$said in $wanted) break ;; esac
            /busybox sleep \$try
        done
        echo \"\$said\"
        cat /proc/self/cgroup")
    [[ ${said%%$'\n'*} == $wanted ]] || { echo "$said"; return 1; }
}
unverified() {
    in_container '*503*' --label=team=web &&
        podman run --quiet --detach --name=stays --network=host --label=team=web box /busybox sleep 1000 &&
        wait_for journalctl --quiet --unit=alppaca --priority=err --grep='gets no credentials.*containers.conf' &&
        podman exec stays /busybox wget -qO- "$listing" 2>&1 | grep ' 503 '
    local code=$?
    podman rm --force --time=0 stays
    return $code
}
# Before Linux 6.13 the unit's ProtectProc= hides a container's process. What cannot be verified gets nothing, until the drop-in
# is where the log says.
if [[ $(printf '%s\n' 6.13 "$(uname -r)" | sort -V | head -n 1) != 6.13 ]]; then
    check unverified_container unverified
else
    echo 'ok unverified_container'
fi
with_dropin() {
    local dropin=alppaca.service.d/containers.conf
    install -D -m 644 "/usr/share/doc/alppaca/systemd/$dropin" "/etc/systemd/system/$dropin"
    systemctl daemon-reload && systemctl restart alppaca
    [[ $(systemctl show --property=ProtectProc --value alppaca) == default ]] && wait_for hears_podman
}
check dropin with_dropin
contained() { in_container web --label=team=web && in_container '*404*' --label=team=other; }
check container contained

# --- Doctor, where it is safe to ask the real address

doctored() { systemd-run --quiet --wait --pipe --collect --unit=web-6.service alppaca doctor; }
check doctor doctored

# --- Reload

reloaded() {
    local pid
    pid=$(main_pid)
    sed -i 's/web-\*/site-*/' $policy
    systemctl reload alppaca && [[ $(main_pid) == "$pid" ]] && wait_for gets web --unit=site-1.service &&
        gets 404 --unit=web-7.service
}
check reload reloaded
refused_reload() {
    local pid
    pid=$(main_pid)
    cp $policy /root/good
    echo 'nonsense: {' >> $policy
    if systemctl reload alppaca; then echo "it took nonsense"; return 1; fi
    [[ $(main_pid) == "$pid" ]] && gets web --unit=site-1.service && journal alppaca | grep 'policy.yaml:.*:'
    local code=$?
    cp /root/good $policy
    return $code
}
check refused_reload refused_reload
# Who searches the journal for warnings finds that, and neither start nor reload, which are notices.
only_trouble() {
    local notices='serves at |the configuration has been reloaded' warnings
    [[ $(journal alppaca --priority=notice | grep -oE "$notices" | sort -u | wc -l) == 2 ]] || { journal alppaca; return 1; }
    warnings=$(journal alppaca --priority=warning)
    echo "$warnings"
    grep -q 'policy.yaml:.*:' <<< "$warnings" && ! grep -E "$notices" <<< "$warnings"
}
check only_trouble only_trouble
[[ $(systemctl is-active alppaca) == active ]] || systemctl restart alppaca

# --- Restarts and crashes

token() { curl -sS -X PUT "$imds/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 600'; }
token_ok() { [[ $("${get[@]}" -o /dev/null -H "X-aws-ec2-metadata-token: $1" "$imds/meta-data/") == *' 200' ]]; }
crashed() {
    local pid kept
    pid=$(main_pid)
    kept=$(token)
    kill -KILL "$pid"
    wait_for gets web --unit=site-1.service && [[ $(main_pid) != "$pid" ]] || return 1
    token_ok "$kept" || { echo "the token from before is not taken"; return 1; }
}
check crash crashed
port_kept() {
    systemctl kill --signal=KILL alppaca
    # 127.0.0.1:25772 in the state LISTEN, without the daemon: systemd holds it, so nobody else can.
    grep -q '0100007F:64AC 00000000:0000 0A' /proc/net/tcp || { cat /proc/net/tcp; return 1; }
    wait_for gets web --unit=site-1.service
}
check port_kept port_kept
restarted_with_socket() {
    local failed=0 asked=0 restart i
    for i in 1 2 3 4 5 6; do
        systemctl restart alppaca &
        restart=$!
        # At least once during each restart, however slow the machine is.
        while
            curl -s -m 20 -o /dev/null http://127.0.0.1:25772/latest/meta-data/ ||
                { echo "restart $i: curl: $?"; failed=$((failed + 1)); }
            # Commands wait at the admin socket.
            alppaca status > /dev/null || { echo "restart $i: alppaca status: $?"; failed=$((failed + 1)); }
            asked=$((asked + 1))
            kill -0 $restart 2> /dev/null
        do :; done
        wait $restart || { echo "restart $i failed"; failed=$((failed + 1)); }
    done
    echo "$failed of $asked failed"
    [[ $failed == 0 ]]
}
check socket_activation restarted_with_socket

# With the upstream down: what was held is served on, whatever ends the daemon, and by the same key.
key_of_web() {
    systemd-run --quiet --wait --pipe --collect --unit=site-1.service curl -sf -m 20 --retry 5 "${listing}web" |
        grep -o '"AccessKeyId" *: *"[^"]*"'
}
kept_without_upstream() {
    local before after end i
    before=$(key_of_web) && [[ -n $before ]] || return 1
    systemctl stop mock
    for i in 1 2 3 4 5 6; do
        if ((i % 2)); then systemctl restart alppaca; else systemctl kill --signal=KILL alppaca; fi
        after=$(key_of_web)
        [[ $after == "$before" ]] || { echo "round $i: $after, not $before"; systemctl start mock; return 1; }
        end=$((SECONDS + 30))
        until systemctl is-active --quiet alppaca || [[ $SECONDS -gt $end ]]; do sleep 0.1; done
    done
    systemctl start mock
    journal alppaca | grep 'were held before the restart'
}
check no_gap kept_without_upstream

oom_killed() { journal alppaca | grep -q 'oom-kill'; }
limited_memory() {
    local before after
    before=$(key_of_web) && [[ -n $before ]] || return 1
    systemctl stop mock
    systemctl set-property --runtime alppaca MemoryMax=3M
    wait_for oom_killed
    local code=$?
    systemctl set-property --runtime alppaca MemoryMax=infinity
    after=$(key_of_web)
    systemctl start mock
    [[ $code == 0 && $after == "$before" ]] || { echo "$code: $after, not $before"; journal alppaca --lines=20; return 1; }
}
check memory_limit limited_memory

# What stands still is ended by the watchdog, and another goes on with what was held.
timed_out() { journal alppaca | grep 'Watchdog timeout'; }
watched() {
    local before after pid dropin=/run/systemd/system/alppaca.service.d/watchdog.conf
    before=$(key_of_web) && [[ -n $before ]] || return 1
    install -D -m 644 /dev/stdin $dropin <<< $'[Service]\nWatchdogSec=20'
    systemctl daemon-reload && systemctl restart alppaca
    pid=$(main_pid)
    systemctl stop mock
    kill -STOP "$pid"
    wait_for timed_out
    local code=$? next
    after=$(key_of_web)
    next=$(main_pid)
    rm $dropin
    systemctl daemon-reload && systemctl restart alppaca
    systemctl start mock
    [[ $code == 0 && $after == "$before" && $next != "$pid" ]] || { echo "$code: $after, not $before"; return 1; }
}
check watchdog watched

# --- Another version of the package

upgraded() {
    local pid kept
    # As the units of before had it.
    systemctl stop alppaca.socket alppaca && systemctl start alppaca || return 1
    pid=$(main_pid)
    kept=$(token)
    dpkg --force-confold -i /alppaca.deb && wait_for gets web --unit=site-1.service || return 1
    [[ $(main_pid) != "$pid" ]] || { echo "the old program goes on"; return 1; }
    systemctl is-active alppaca.socket || return 1
    token_ok "$kept" || { echo "the token from before is not taken"; return 1; }
}
check upgrade upgraded

# --- What a laptop goes through

captured() { ip address | grep -q 169.254.169.254; }
serves() { captured && gets web --unit=site-1.service; }
connected() { [[ $(nmcli --terse --fields STATE general) == connected* ]]; }
managed() {
    wait_for connected && nmcli --terse device || return 1
    nmcli general reload && serves || return 1
    # It does the same before a suspend.
    nmcli networking off && ! connected && serves || return 1
    nmcli networking on && wait_for connected && serves || return 1
    systemctl restart NetworkManager && wait_for connected && serves
}
check network_manager managed
suspended() {
    # The test wakes it up.
    systemctl suspend || return 1
    wait_for journalctl --quiet --boot --grep='PM: suspend exit' && wait_for serves || return 1
    journalctl --no-pager --output=cat --unit=NetworkManager | grep 'sleep requested'
}
check suspend suspended
recaptured() {
    ip link delete alppaca0 && wait_for serves && systemctl is-active alppaca-capture || return 1
    nmcli device delete alppaca0 && wait_for serves
}
check deleted_link recaptured

# --- The daemon of a user

of_carl() { systemctl --user --machine=carl@ "$@"; }
by_carl() { systemd-run --quiet --wait --pipe --collect --user --machine=carl@ "$@"; }
carls_pid() { of_carl show --property=MainPID --value alppaca; }
carls_role() { [[ $(by_carl curl -sf -m 5 http://127.0.0.1:25780/latest/meta-data/iam/security-credentials/) == web ]]; }
activated() {
    install -d -o carl -g carl -m 700 /home/carl /home/carl/.config /home/carl/.config/alppaca
    printf '%s\n' 'ims_host: localhost' 'ims_port: 8080' 'ims_protocol: http' 'listen: 127.0.0.1:25780' \
        'capture_listen: none' > /home/carl/.config/alppaca/alppaca.yaml
    loginctl enable-linger carl && wait_for of_carl is-active default.target || return 1
    of_carl enable --now alppaca.socket || return 1
    [[ $(of_carl is-active alppaca.service) == inactive ]] || { echo "it runs already"; return 1; }
    # The first command starts it.
    by_carl alppaca status; wait_for carls_role && by_carl alppaca status | grep web && of_carl is-active alppaca.service
}
check user_activated activated
user_confined() {
    local pid status
    pid=$(carls_pid)
    status=$(< "/proc/$pid/status")
    echo "$status"
    [[ $(ps -o user= -p "$pid") == carl ]] && grep -q $'^CapEff:\t0000000000000000$' <<< "$status" &&
        grep -q $'^NoNewPrivs:\t1$' <<< "$status" && grep -q $'^Seccomp:\t2$' <<< "$status"
}
check user_confined user_confined
user_crashed() {
    local pid
    pid=$(carls_pid)
    kill -KILL "$pid"
    wait_for carls_role && [[ $(carls_pid) != "$pid" ]]
}
check user_crash user_crashed
ended() {
    of_carl disable --now alppaca.socket alppaca.service || return 1
    # systemd leaves the file of a socket where it was.
    ! { pgrep -u carl -x alppaca || carls_role ||
        find /home/carl/.config/systemd /run/user/1003/alppaca -name '*alppaca.*' -not -type s | grep .; }
}
check user_end ended

# --- Clocks

expiration() {
    systemd-run --quiet --wait --pipe --collect --unit=site-1.service curl -sf -m 5 --retry 5 "${listing}web" |
        sed -n 's/.*"Expiration" *: *"\([^"]*\)".*/\1/p'
}
valid() { [[ $(date -d "$(expiration)" +%s) -gt $(date +%s) ]]; }
stepped() {
    local before
    before=$(expiration)
    date -s "$1" > /dev/null
    wait_for valid || { echo "$before, then $(expiration) at $(date)"; return 1; }
}
check clock_steps_forward stepped '+1 day'
check clock_steps_back stepped '-1 day'
# A machine without a clock of its own: NTP sets it when all runs.
of_1970() {
    local now
    now=$(date +%s)
    date -s '1970-01-02' > /dev/null
    systemctl restart alppaca && wait_for valid || { date -s "@$now" > /dev/null; return 1; }
    stepped "@$now"
}
check clock_of_1970 of_1970

# --- Logs

no_secrets() {
    local document key secret
    document=$(systemd-run --quiet --wait --pipe --collect --unit=site-1.service curl -sf -m 5 --retry 5 "${listing}web")
    for key in SecretAccessKey Token; do
        secret=$(sed -n "s/.*\"$key\" *: *\"\([^\"]*\)\".*/\1/p" <<< "$document")
        [[ ${#secret} -gt 20 ]] || { echo "no $key in $document"; return 1; }
        ! journalctl --no-pager | grep -qF "$secret" || { echo "$key in the journal"; return 1; }
    done
}
check no_secrets no_secrets

# --- The end

stopped() {
    systemctl stop alppaca.socket alppaca
    [[ $(systemctl show --property=Result --value alppaca) == success ]] || return 1
    # Captured, and nobody listens: refused, at once.
    curl -s -m 5 "$listing"
    [[ $? == 7 ]]
}
check stop stopped
forgotten() {
    local before code
    before=$(journal alppaca | grep -c 'were held before the restart')
    systemctl stop mock
    systemctl start --no-block alppaca.socket alppaca
    wait_for systemctl is-active --quiet alppaca.socket
    code=$(systemd-run --quiet --wait --pipe --collect --unit=site-1.service curl -s -m 20 -o /dev/null -w '%{http_code}' "${listing}web")
    [[ $code != 200 && $(journal alppaca | grep -c 'were held before the restart') == "$before" ]] || { echo "$code"; return 1; }
    systemctl start mock
    systemctl stop alppaca.socket alppaca
}
check wiped forgotten
released() { captured && systemctl stop alppaca-capture && ! captured && ! nft list ruleset 2>&1 | grep -i alppaca; }
check release released
removed() {
    of_carl start alppaca.socket alppaca && systemctl start alppaca-capture alppaca && captured && dpkg -r alppaca || return 1
    if pgrep -u carl -x alppaca; then echo "the daemon of a user runs on"; return 1; fi
    if systemctl is-active alppaca alppaca.socket alppaca-capture || systemctl is-enabled alppaca alppaca.socket || captured; then return 1; fi
    [[ ! -e /usr/bin/alppaca && -e /etc/alppaca/alppaca.yaml ]]
}
check removal removed
purged() {
    rm /etc/alppaca/policy.yaml
    loginctl disable-linger carl
    dpkg -P alppaca || return 1
    # What the test itself has made, and the account's group of its own.
    ! find / -xdev -name '*alppaca*' -not -path '/alppaca*' -not -path '/etc/systemd/system/*.d*' -not -path '/home/*' \
        -not -path '/sys/*' | grep .
}
check purge purged
check nothing_failed bash -c '! systemctl --failed --no-legend | grep .'
echo end
systemctl poweroff --force
