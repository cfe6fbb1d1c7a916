"""What a shell starts in place of `python -m swarm`, to be there at once: it hands its arguments, environment, folder
and standard streams to whoever listens at a socket, see shells.py, and ends as that says. For `python -I -S`."""

import json
import os
import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(sys.argv[1])
        request = {"arguments": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd()}
        socket.send_fds(line, [b"."], [0, 1, 2])
        line.sendall(json.dumps(request).encode())
        line.shutdown(socket.SHUT_WR)
        sys.exit(int(line.recv(16)))
