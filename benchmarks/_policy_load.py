"""The load of `shim.py`, a process of its own: policy requests over persistent connections, closed loop.

    _policy_load.py load HOST PORT CONNECTIONS SECONDS FIRST   one round; a line of JSON on stdout
    _policy_load.py null HOST PORT                             a server that answers DUNNO to each read

The null server is what the load generator is measured against: no policy server can look faster than that.
"""

import json
import select
import socket
import sys
import time

REQUEST_HEAD = b"""request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address="""
REQUEST_TAIL = b"""
client_name=unknown
client_port=50504
reverse_client_name=host.example.net
server_address=127.0.0.1
server_port=25
helo_name=host.example.net
sender=somebody@example.net
recipient=user@example.com
recipient_count=0
queue_id=
instance=%x.65540000.c0ffee.0
size=0
etrn_domain=
stress=
sasl_method=
sasl_username=
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=

"""


def load(host: str, port: int, connections: int, seconds: float, first: int) -> dict[str, float]:
    """Requests answered and their latencies. Client addresses start with number `first` of 10.0.0.0/8."""
    poll, peers = select.epoll(), {}
    for _ in range(connections):
        peer = socket.create_connection((host, port))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(peer.fileno(), select.EPOLLIN)
        peers[peer.fileno()] = peer
    clock, number = time.perf_counter, first
    took: list[float] = []
    sent: dict[int, float] = {}
    partial: dict[int, bytes] = {}

    def ask(fd: int) -> None:
        nonlocal number
        number += 1
        address = b"10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)
        request = REQUEST_HEAD + address + REQUEST_TAIL % number
        sent[fd] = clock()
        peers[fd].sendall(request)

    began = clock()
    for fd in peers:
        ask(fd)
    ends = began + seconds
    while (now := clock()) < ends:
        for fd, _ in poll.poll(1.0):
            answer = peers[fd].recv(4096)
            now = clock()
            if not answer.endswith(b"\n\n") or fd in partial:
                answer = partial.pop(fd, b"") + answer
                if not answer.endswith(b"\n\n"):
                    if not answer:
                        raise SystemExit("the server closed a connection")
                    partial[fd] = answer
                    continue
            if not answer.startswith(b"action="):
                raise SystemExit(f"not an answer: {answer[:80]!r}")
            took.append(now - sent[fd])
            ask(fd)
    lasted = now - began
    took.sort()
    if not took:
        raise SystemExit("no answer at all")
    return {
        "requests": len(took),
        "requests_per_s": len(took) / lasted,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "next": number,
    }


def null(host: str, port: int) -> None:
    """Answers DUNNO to each read, until killed."""
    listener = socket.create_server((host, port))
    poll, peers = select.epoll(), dict[int, socket.socket]()
    poll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                peer, _ = listener.accept()
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[peer.fileno()] = peer
                poll.register(peer.fileno(), select.EPOLLIN)
                continue
            try:
                if peers[fd].recv(65536):
                    peers[fd].sendall(b"action=DUNNO\n\n")
                    continue
            except OSError:
                pass  # a round ends with its last requests unanswered
            poll.unregister(fd)
            peers.pop(fd).close()


if __name__ == "__main__":
    if sys.argv[1] == "null":
        null(sys.argv[2], int(sys.argv[3]))
    else:
        answered = load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))
        print(json.dumps(answered))
